# SPDX-License-Identifier: Apache-2.0
"""A client of the test vault that hides nothing: it gives back what was on the wire, or how the connection ended."""

import base64
import json
import re
import socket
import ssl
import time
import urllib.parse

READ_MAX = 4 << 20
DIGEST = base64.urlsafe_b64encode(b"d" * 32).decode().rstrip("=")


class Answer:
    """status is None where none came; error says how it ended then."""

    def __init__(self, data=b"", error=None, seconds=0.0):
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        found = re.match(r"HTTP/1\.1 (\d+)", first)
        self.data = data
        self.status = int(found.group(1)) if found else None
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.error = error
        self.seconds = seconds

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]

    @property
    def inner(self):
        return self.json["error"]["innererror"]["code"]


def _length(data):
    """How long the whole of it is going to be, as far as its head tells."""
    end = data.find(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", data[:end], re.IGNORECASE) if end >= 0 else None
    return end + 4 + int(found.group(1)) if found else READ_MAX


def _read(stream, deadline):
    data, length = bytearray(), READ_MAX
    while len(data) < min(length, READ_MAX):
        left = deadline - time.monotonic()
        if left <= 0:
            return data, "timeout"
        stream.settimeout(left)
        try:
            part = stream.recv(65536)
        except (TimeoutError, socket.timeout):
            return data, "timeout"
        except (ConnectionError, ssl.SSLError) as problem:
            return data, type(problem).__name__
        if not part:
            return data, "closed"
        data += part
        if len(data) - len(part) < 65536:
            length = _length(data)
    return data, None if len(data) < READ_MAX else "endless"


def ask(url, method="GET", headers=(), body=None, ca_file=None, seconds=5.0):
    """One request on a connection of its own."""
    parts = urllib.parse.urlsplit(url)
    begun = time.monotonic()
    lines = [f"{method} {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}",
             *[f"{name}: {value}" for name, value in dict(headers).items()]]
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines.append(f"Content-Length: {len(body)}")
    message = ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")
    try:
        stream = socket.create_connection(("127.0.0.1", parts.port), seconds)
        with stream:
            if parts.scheme == "https":
                context = ssl.create_default_context(cafile=ca_file)
                stream = context.wrap_socket(stream, server_hostname=parts.hostname)
            stream.sendall(message)
            data, error = _read(stream, begun + seconds)
            if parts.scheme == "https":
                stream.close()
    except (OSError, ssl.SSLError) as problem:
        return Answer(error=type(problem).__name__, seconds=time.monotonic() - begun)
    return Answer(bytes(data), error, time.monotonic() - begun)


class Client:
    """Asks the vault with a token of an identity."""

    def __init__(self, vault, url=None, token=None, api="7.4"):
        self.vault = vault
        self.url = url or vault.named_url
        self.token = token
        self.api = api

    def ask(self, path, method="GET", body=None, token=None, seconds=5.0, **headers):
        token = self.token or token or self.vault.token()
        url = path if "://" in path else self.url + path
        if self.api and "api-version=" not in url:
            url += ("&" if "?" in url else "?") + f"api-version={self.api}"
        every = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **headers}
        if token == "none":
            del every["Authorization"]
        return ask(url, method, every, body, self.vault.ca_file, seconds)

    def get(self, path, **how):
        return self.ask(path, **how)

    def post(self, path, body, **how):
        return self.ask(path, "POST", body, **how)


def sign(client, made, algorithm="ES256", value=DIGEST, **how):
    return client.post(f"/keys/{made['name']}/{made['version']}/sign", {"alg": algorithm, "value": value}, **how)


def imds(vault, extra="", version="2018-02-01", seconds=5.0, **headers):
    return ask(f"{vault.imds}/metadata/identity/oauth2/token?api-version={version}"
               f"&resource=https%3A%2F%2Fvault.azure.net{extra}", headers={"Metadata": "true", **headers},
               seconds=seconds)


def entra(vault, **form):
    whole = {"grant_type": "client_credentials", "client_id": vault.identity("application")["client_id"],
             "scope": "https://vault.azure.net/.default", **form}
    return ask(f"{vault.authority}/{vault.tenant}/oauth2/v2.0/token", "POST",
               {"Content-Type": "application/x-www-form-urlencoded"}, urllib.parse.urlencode(whole).encode(),
               vault.ca_file)
