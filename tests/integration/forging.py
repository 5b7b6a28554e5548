# SPDX-License-Identifier: Apache-2.0
"""Between certbrokerd and its bus: passes everything on, and adds what a liar on the bus would send.

A bus that lets replies through that nobody asked for, or a policy with a hole, looks like this to certbrokerd.
"""

import contextlib
import os
import socket
import struct
import threading


def pad(data, to):
    return data + bytes(-len(data) % to)


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def field(code, kind, value):
    return pad(bytes([code, len(kind)]) + kind.encode() + b"\0", 4 if kind in "sou" else 1) + value


def message(kind, sender, fields, signature, body):
    """One of kind 2 (reply) or 4 (signal), in little endian."""
    parts = [*fields, field(7, "s", string(sender))]
    parts.append(field(8, "g", bytes([len(signature)]) + signature.encode() + b"\0"))
    block = b""
    for part in parts:
        block = pad(block, 8) + part
    head = struct.pack("<4sIII", bytes([ord("l"), kind, 1, 1]), len(body), 77, len(block))
    return pad(head + block, 8) + body


def reply(serial, destination, signature, body, sender=":1.4242"):
    return message(2, sender, [field(5, "u", struct.pack("<I", serial)), field(6, "s", string(destination))],
                   signature, body)


def credentials(serial, destination, uid, sender=":1.4242"):
    """The answer to GetConnectionCredentials that says `uid`, of somebody who is not the bus."""
    entry = string("UnixUserID") + b"\x01u\0"
    entry = pad(entry, 4) + struct.pack("<I", uid)
    body = pad(struct.pack("<I", len(entry)), 8) + entry
    return reply(serial, destination, "a{sv}", body, sender)


def name_lost(name, destination, sender=":1.4242"):
    return message(4, sender, [field(1, "o", string("/org/freedesktop/DBus")),
                               field(2, "s", string("org.freedesktop.DBus")), field(3, "s", string("NameLost")),
                               field(6, "s", string(destination))], "s", string(name))


def owner_gone(name, destination, sender=":1.4242"):
    body = pad(pad(string(name), 4) + string(name), 4) + string("")
    return message(4, sender, [field(1, "o", string("/org/freedesktop/DBus")),
                               field(2, "s", string("org.freedesktop.DBus")),
                               field(3, "s", string("NameOwnerChanged")), field(6, "s", string(destination))],
                   "sss", body)


def split(data):
    """The whole messages at the start of the data, and what is left."""
    out = []
    while len(data) >= 16:
        order = "<" if data[:1] == b"l" else ">"
        n_body, serial, n_fields = struct.unpack(order + "III", data[4:16])
        n = 16 + n_fields + (-n_fields % 8) + n_body
        if len(data) < n:
            break
        out.append((serial, data[:n]))
        data = data[n:]
    return out, data


def receive(s):
    try:
        return s.recv(65536)
    except OSError:
        return b""


def send(s, data):
    """What is for somebody who has gone is nobody's."""
    with contextlib.suppress(OSError):
        s.sendall(data)


class Liar:
    """Listens at `path`, and is the bus at `address` to whoever comes; lie(serial, message) → what is added."""

    def __init__(self, path, address):
        self.lie = lambda serial, message: b""
        self.n_lies = 0
        self.address = address[len("unix:path="):]
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        os.chmod(path, 0o666)
        self.listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            bus = socket.socket(socket.AF_UNIX)
            bus.connect(self.address)
            lock = threading.Lock()
            threading.Thread(target=self._pass_up, args=(client, bus, lock), daemon=True).start()
            threading.Thread(target=self._pass_down, args=(client, bus, lock), daemon=True).start()

    def _pass_up(self, client, bus, lock):
        """What certbrokerd says; a lie is told before the bus can answer."""
        data, framed = b"", False
        while True:
            got = receive(client)
            if not got:
                with contextlib.suppress(OSError):
                    bus.shutdown(socket.SHUT_RDWR)
                return
            if not framed and b"BEGIN\r\n" in got:
                framed = True
                head, data = got.split(b"BEGIN\r\n", 1)
                send(bus, head + b"BEGIN\r\n")
            elif framed:
                data += got
            else:
                # no descriptors here
                send(bus, got.replace(b"NEGOTIATE_UNIX_FD\r\n", b""))
                if b"NEGOTIATE_UNIX_FD" in got:
                    send(client, b"ERROR\r\n")
                continue
            whole, data = split(data)
            for serial, one in whole:
                lie = self.lie(serial, one)
                if lie:
                    self.n_lies += 1
                    with lock:
                        send(client, lie)
                send(bus, one)

    def _pass_down(self, client, bus, lock):
        data, framed = b"", False
        while True:
            got = receive(bus)
            if not got:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                return
            if not framed:
                send(client, got)
                framed = got.startswith(b"OK ")
                continue
            data += got
            whole, data = split(data)
            for _, one in whole:
                with lock:
                    send(client, one)

    def close(self):
        self.listener.close()
