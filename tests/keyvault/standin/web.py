# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on asyncio, by hand, because a fault must be able to break every rule of it.

A Listener accepts connections on one port of the loopback interface, records each of them, and asks an application for
the answer to each request. What a Response's `play` writes goes out as it is: late, cut, or wrong.
"""

import asyncio
import hashlib
import json
import socket
import ssl
import struct
import time
import traceback
import urllib.parse

HEAD_MAX = 64 * 1024
BODY_MAX = 1024 * 1024

REASONS = {100: "Continue", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 301: "Moved Permanently",
           302: "Found", 307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized",
           403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
           410: "Gone", 412: "Precondition Failed", 413: "Payload Too Large", 415: "Unsupported Media Type",
           429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable",
           504: "Gateway Timeout"}


def abort(transport):
    """asyncio's TLS transport forgets its protocol when it has closed by itself, and then cannot be aborted."""
    try:
        transport.abort()
    except AttributeError:
        pass


class Response(Exception):
    """An answer; may be raised, so that a check ends the request."""

    def __init__(self, status=200, body=b"", headers=(), play=None, content_type="application/json; charset=utf-8"):
        super().__init__(status)
        self.status = status
        self.headers = list(headers)
        self.json = None
        self.play = play
        self.content_type = content_type
        if isinstance(body, (dict, list)):
            self.json = body
        self._body = body

    @property
    def body(self):
        if self.json is not None:
            return json.dumps(self.json, separators=(",", ":")).encode()
        return self._body.encode() if isinstance(self._body, str) else self._body

    @body.setter
    def body(self, value):
        self.json = None
        self._body = value

    def head(self, length=True):
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}"]
        if self.body and self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if length and self.status != 204:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


class Request:
    def __init__(self, listener, connection, method, target, headers, body):
        self.listener = listener
        self.connection = connection
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        path, _, query = target.partition("?")
        self.path = urllib.parse.unquote(path)
        self.query_string = query
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.entry = None

    def header(self, name, default=None):
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[0] if found else default

    @property
    def host(self):
        return self.header("Host", "")

    @property
    def host_name(self):
        return self.host.rsplit(":", 1)[0].lower().rstrip(".")

    def json(self):
        try:
            value = json.loads(self.body or b"null")
        except ValueError:
            value = None
        return value if isinstance(value, dict) else None

    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


SECRET_HEADERS = ("authorization", "x-identity-header", "secret")


def hide(name, value):
    """A header's value as the log has it: of a secret, its scheme and hash."""
    if name.lower() not in SECRET_HEADERS:
        return value
    scheme, blank, token = value.partition(" ")
    if not blank:
        scheme, token = "", value
    return f"{scheme} sha256:{hashlib.sha256(token.encode()).hexdigest()}".strip()


class Log:
    """Everything that reached a listener: connections, and the requests on them, in order."""

    def __init__(self):
        self.entries = []

    def add(self, kind, listener, **fields):
        entry = {"n": len(self.entries) + 1, "time": time.time(), "kind": kind, "at": listener.name, **fields}
        self.entries.append(entry)
        return entry

    def add_request(self, request):
        authorization = request.header("Authorization")
        request.entry = self.add(
            "request", request.listener, connection=request.connection, scheme=request.listener.scheme,
            method=request.method, host=request.host, path=request.path, query=request.query,
            headers=[[name, hide(name, value)] for name, value in request.headers],
            token=hide("authorization", authorization) if authorization else None,
            body_size=len(request.body), status=None, fault=None, identity=None)


class Listener:
    """One port. mode: open, refuse (closed), drop (no answer to SYN), stall (accepts, and is silent then)."""

    def __init__(self, name, application, log, port=0, context=None, idle_seconds=120):
        self.name = name
        self.application = application
        self.log = log
        self.port = port
        self.context = context
        self.scheme = "https" if context else "http"
        self.mode = "open"
        self.n_open = 0
        self.idle_seconds = idle_seconds
        self._socket = None
        self._accepting = None
        self._stuffing = []
        self._tasks = {}

    def _bind(self):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", self.port))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def open(self):
        self.set_mode("open")

    def close(self):
        if self._accepting:
            self._accepting.cancel()
            self._accepting = None
        for filler in self._stuffing:
            filler.close()
        self._stuffing = []
        if self._socket:
            self._socket.close()
            self._socket = None
        self.disconnect()

    def disconnect(self):
        for task, transport in list(self._tasks.items()):
            abort(transport)
            task.cancel()

    def set_mode(self, mode):
        if mode not in ("open", "refuse", "drop", "stall"):
            raise ValueError(f"no such mode: {mode}")
        self.close()
        self._bind()
        self.mode = mode
        if mode == "drop":
            # A full queue of connections that nobody accepts: the kernel drops further SYNs.
            self._socket.listen(0)
            for _ in range(2):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
                self._stuffing.append(filler)
        elif mode != "refuse":
            self._socket.listen(1024)
            self._accepting = asyncio.create_task(self._accept())
        # A bound socket that does not listen refuses, and keeps the port from being anybody else's meanwhile.

    async def _accept(self):
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(self._socket)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            task = asyncio.create_task(self._take(peer))
            self._tasks[task] = _Aborted(peer)
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _take(self, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        entry = self.log.add("connection", self, tls=None, error=None)
        if self.mode == "stall":
            await asyncio.sleep(3600)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_MAX)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, peer, ssl=self.context)
        except (OSError, ssl.SSLError, asyncio.TimeoutError) as problem:
            entry["error"] = str(problem) or type(problem).__name__
            peer.close()
            return
        if self.context:
            entry["tls"] = transport.get_extra_info("ssl_object").version()
        self._tasks[asyncio.current_task()] = transport
        self.n_open += 1
        try:
            await self._serve(entry["n"], reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        except (OSError, ssl.SSLError, EOFError, ValueError, asyncio.LimitOverrunError, asyncio.TimeoutError) as problem:
            entry["error"] = str(problem) or type(problem).__name__
        finally:
            self.n_open -= 1
            transport.close()

    async def _serve(self, connection, reader, writer):
        while True:
            request = await asyncio.wait_for(self._read(connection, reader, writer), self.idle_seconds)
            if request is None:
                return
            self.log.add_request(request)
            try:
                response = await self.application(request)
            except Response as raised:
                response = raised
            except Exception:  # a mistake of the stand-in's own, which a test has to get to see
                traceback.print_exc()
                response = Response(500, "The stand-in failed.", content_type="text/plain")
            request.entry["status"] = response.status
            if response.play:
                await response.play(writer, response)
                return
            writer.write(response.head() + (b"" if request.method == "HEAD" else response.body))
            await writer.drain()
            if (request.header("Connection") or "").lower() == "close":
                return

    async def _read(self, connection, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, _ = (first.split(" ", 2) + ["", ""])[:3]
        headers = [tuple(part.strip() for part in line.partition(":")[::2]) for line in lines]
        request = Request(self, connection, method, target, headers, b"")
        if (request.header("Expect") or "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (request.header("Transfer-Encoding") or "").lower():
            request.body = await self._read_chunks(reader)
        elif length := int(request.header("Content-Length") or 0):
            if length > BODY_MAX:
                raise OSError("body too long")
            request.body = await reader.readexactly(length)
        return request

    @staticmethod
    async def _read_chunks(reader):
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
            if len(body) > BODY_MAX:
                raise OSError("body too long")
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body


class _Aborted:
    """What closes a connection that has no transport yet."""

    def __init__(self, peer):
        self._peer = peer

    def abort(self):
        self._peer.close()


def reset(writer):
    """The connection's end with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    abort(writer.transport)
