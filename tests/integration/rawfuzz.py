# SPDX-License-Identifier: Apache-2.0
"""Sends what no honest client sends, as whoever runs it, to a unix socket: rawfuzz.py SOCKET SEED SECONDS [bus|descriptors]

Calls come on standard input, as JSON: [[PATH, INTERFACE, METHOD, SIGNATURE, TEXTS], ...], with texts that make sense as
the first arguments that are texts. From them and from itself it makes a
stock of D-Bus messages, valid but for what they mean, and sends those: as they are, with bytes changed, cut, doubled,
with descriptors that fit or do not, behind log-ins that fit or do not, read from or not. With `bus` it logs in to a
message bus, and sends what that lets through; with `descriptors` it sends the bus as many as the policy lets anybody send. Prints what it did, as JSON. The same seed makes the same stock; what
becomes of it depends on the other side, too.
"""

import array
import contextlib
import json
import os
import random
import socket
import struct
import sys
import time

NAME = "org.certbroker1"
ROOT = "/org/certbroker1"
STOCK = 1500
BURST = 32  # messages on a connection, at most
HELD = 40   # connections that are left half open

TEXTS = ["", "own-1", "own-2", "own-2", "client", "absent", "orders", "hsm", "own", "own", "nobody", "a b", "größer", "x" * 127,
         "x" * 4000, "ec-p256", "ed25519", "ecdsa-sha256", "rsa-pss-sha256", "rsa-oaep-sha256", "server", "client", "pkcs11:object=x",
         "pkcs11:token=test;id=%01", "https://localhost/", "CN=x", "DNS:x", "a" * 64, NAME + ".Certificate", NAME,
         "org.freedesktop.DBus.Properties", "State", "Url", "ServerNames", "pem", "pkcs12", "read", "\u202e", "%s%n"]
KEYS = ["Url", "Certificate", "ServerNames", "SkipReason", "SkipUntil", "force", "replace", "destroy-key", "source", "uid",
        "destination", "", "nonsense"]
PATHS = ["/", "/org", ROOT, ROOT + "/certificate", ROOT + "/certificate/own_2d1", ROOT + "/certificate/client",
         ROOT + "/certificate/_", ROOT + "/backend/orders", ROOT + "/source/hsm", ROOT + "/source/own", "/x" * 100]
NUMBERS = [0, 1, 2, 3, 255, 1 << 31, (1 << 32) - 1, (1 << 63) - 1, (1 << 64) - 1]
SIGNATURES = ["", "s", "ay", "h", "v", "a{sv}", "aay", "(" * 31 + "y" + ")" * 31, "a" * 31 + "y", "sshha{sv}", "d", "aas",
              "a(tst)", "g", "a{s(bv)}", "hhhhhhhh", "y" * 255]
NUMERIC = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q"}


def split(signature):
    """The first complete type of it, and the rest."""
    n = 0
    while n < len(signature) and signature[n] == "a":
        n += 1
    depth = 0
    while n < len(signature):
        depth += (signature[n] in "({") - (signature[n] in ")}")
        n += 1
        if depth == 0:
            break
    return signature[:n], signature[n:]


class Marshaller:
    def __init__(self, rng, order):
        self.rng, self.order, self.out, self.n_fds, self.texts = rng, order, bytearray(), 0, []

    def align(self, n):
        self.out.extend(bytes(-len(self.out) % n))

    def number(self, kind, value):
        size = struct.calcsize(kind)
        self.align(size)
        self.out += struct.pack(self.order + kind.upper(), value & ((1 << 8 * size) - 1))

    def text(self, value):
        data = value.encode()
        self.number("I", len(data))
        self.out += data + b"\0"

    def signature(self, value):
        self.out += bytes([len(value)]) + value.encode() + b"\0"

    def array(self, item, depth):
        length = self.number("I", 0) or len(self.out) - 4
        self.align(8 if item[0] in "({xtd" else 1)
        start = len(self.out)
        n = self.rng.choice((0, 0, 0, 1, 2) if item == "{sv}" else (0, 1, 1, 2, 3)) if depth < 5 else 0
        if item == "y":
            n = self.rng.choice((0, 1, 31, 32, 48, 64, 256, 3000))
            self.out += self.rng.randbytes(n)
        else:
            for _ in range(n):
                self.value(item, depth + 1)
        struct.pack_into(self.order + "I", self.out, length, len(self.out) - start)

    def value(self, kind, depth=0):
        first, rng = kind[0], self.rng
        if first == "a":
            self.array(kind[1:], depth)
        elif first in "({":
            self.align(8)
            inner = kind[1:-1]
            if first == "{" and inner[0] == "s":
                self.text(rng.choice(KEYS))
                inner = inner[1:]
            self.values(inner, depth + 1)
        elif first == "v":
            inner = "v" if depth < 40 and rng.random() < 0.3 else rng.choice(("s", "b", "u", "as", "t", "ay", "(s)", "h"))
            self.signature(inner)
            self.value(inner, depth + 1)
        elif first == "s":
            self.text(self.texts.pop(0) if self.texts and depth == 0 else rng.choice(TEXTS))
        elif first == "o":
            self.text(rng.choice(PATHS))
        elif first == "g":
            self.signature(rng.choice(SIGNATURES))
        elif first == "d":
            self.align(8)
            self.out += rng.randbytes(8)
        elif first == "b":
            self.number("I", rng.choice((0, 1)))
        elif first == "h":
            self.number("I", self.n_fds)
            self.n_fds += 1
        else:
            self.number(NUMERIC[first], rng.choice(NUMBERS))

    def values(self, signature, depth=0):
        while signature:
            kind, signature = split(signature)
            self.value(kind, depth)


def header(rng, order, kind, fields, n_body):
    m = Marshaller(rng, order)
    m.out += bytes([ord("l" if order == "<" else "B"), kind, rng.choice((0, 0, 0, 1, 2, 4, 255)), 1])
    m.number("I", n_body)
    m.number("I", rng.randrange(1, 1 << 32))
    m.number("I", 0)
    start = len(m.out)
    for code, signature, value in fields:
        m.align(8)
        m.out.append(code)
        m.signature(signature)
        if signature == "u":
            m.number("I", value)
        elif signature == "g":
            m.signature(value)
        else:
            m.text(value)
    struct.pack_into(order + "I", m.out, 12, len(m.out) - start)
    m.align(8)
    return bytes(m.out)


def make(rng, calls, on_bus):
    """One message: (bytes, how many descriptors it says that it has)."""
    order = rng.choice("<<<>")
    path, interface, method, signature, texts = rng.choice(calls)
    if rng.random() < 0.2:
        signature = rng.choice(SIGNATURES)
    if rng.random() < 0.1:
        path = rng.choice(PATHS)
    body = Marshaller(rng, order)
    body.texts = list(texts) if rng.random() < 0.7 else []
    body.values(signature)
    n_fds = body.n_fds if rng.random() < 0.98 else rng.randrange(6)
    kind = 1 if rng.random() < 0.9 else rng.choice((2, 3, 4, 5, 77))
    fields = [(1, "o", path), (2, "s", interface), (3, "s", method)]
    if on_bus:
        fields.append((6, "s", NAME))
    if signature:
        fields.append((8, "g", signature))
    if n_fds:
        fields.append((9, "u", n_fds))
    if kind in (2, 3) or rng.random() < 0.02:
        fields.append((5, "u", rng.randrange(1, 50)))
    if kind == 3:
        fields.append((4, "s", "org.certbroker1.Error.Failed"))
    if rng.random() < 0.03:
        fields.append((rng.choice((4, 7, 10, 254)), "s", "org.freedesktop.DBus"))
    return header(rng, order, kind, fields, len(body.out)) + bytes(body.out), n_fds


def change(rng, data):
    """Bytes changed, cut, doubled; the lengths in the header more often than others."""
    data = bytearray(data)
    what = rng.randrange(8)
    if what == 0:
        del data[rng.randrange(len(data)):]
    elif what == 1:
        at = rng.randrange(len(data))
        data[at:at] = data[at:at + rng.randrange(64)]
    elif what == 2:
        struct.pack_into("<I", data, rng.choice((4, 12)), rng.choice((0, 1, 0x1fffff, 0x200001, 0x4000000, 0xffffffff)))
    elif what == 3:
        struct.pack_into("<I", data, 4 * rng.randrange(len(data) // 4), rng.randrange(1 << 32))
    else:
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def log_in(rng):
    """What to say, and what to wait for: libdbus takes descriptors only from who has logged in."""
    me = str(os.getuid()).encode().hex().encode()
    good = b"\0AUTH EXTERNAL " + me + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
    if rng.random() < 0.85:
        return good, b"AGREE_UNIX_FD\r\n"
    return rng.choice((
        b"", b"\0", b"\1AUTH EXTERNAL\r\n", b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n", b"\0AUTH ANONYMOUS 78\r\nBEGIN\r\n",
        b"\0AUTH DBUS_COOKIE_SHA1 " + me + b"\r\nDATA 00\r\n", b"\0BEGIN\r\n", b"\0AUTH\r\n" * 20,
        b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", b"\0AUTH EXTERNAL " + b"30" * 20000, b"\0" + rng.randbytes(400),
        b"\0CANCEL\r\nERROR \"\r\nDATA zz\r\nAUTH EXTERNAL " + me + b"\r\nCANCEL\r\nAUTH EXTERNAL " + me + b"\r\nBEGIN\r\n",
        good.replace(b"\r\n", b"\n"), good[:rng.randrange(len(good))], good.replace(b"AUTH", b"auth"),
        good, b"\0NEGOTIATE_UNIX_FD\r\n" + good[1:])), b""


HELLO = header(random.Random(3), "<", 1, [(1, "o", "/org/freedesktop/DBus"), (2, "s", "org.freedesktop.DBus"),
                                          (3, "s", "Hello"), (6, "s", "org.freedesktop.DBus")], 0)


class Attacker:
    def __init__(self, path, seed, on_bus, calls):
        self.path, self.on_bus, self.rng = path, on_bus, random.Random(seed)
        self.stock = [make(self.rng, calls, on_bus) for _ in range(STOCK)]
        self.held, self.count = [], {"connections": 0, "refused": 0, "messages": 0, "answers": 0, "bytes": 0}
        self.fds = [os.open("/dev/null", os.O_RDWR), os.memfd_create("x"), *os.pipe(), *[s.detach() for s in
                    socket.socketpair()], os.open("/", os.O_RDONLY)]

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(1)
        self.count["connections"] += 1
        try:
            s.connect(self.path)
        except OSError:
            self.count["refused"] += 1
            s.close()
            return None
        return s

    def send(self, s, data, n_fds):
        fds = [self.rng.choice(self.fds) for _ in range(n_fds)]
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = s.sendmsg([data], control)
        s.sendall(data[sent:])
        self.count["messages"] += 1
        self.count["bytes"] += len(data)

    def burst(self, s):
        """Good ones only, or bad ones too: whoever sends one that is none is disconnected."""
        rng = self.rng
        is_bad = rng.random() < (0.1 if self.on_bus else 0.5)
        for _ in range(rng.randrange(1, BURST)):
            data, n_fds = rng.choice(self.stock)
            if is_bad and rng.random() < 0.3:
                data = change(rng, data) or b"l"
            if is_bad and rng.random() < 0.2:
                n_fds = rng.randrange(8)
            self.send(s, data, n_fds)

    def read(self, s):
        s.settimeout(0.004)
        with contextlib.suppress(socket.timeout):
            while True:
                data = s.recv(1 << 16)
                if not data:
                    return
                self.count["answers"] += data.count(b"org.certbroker1") + data.count(b"org.freedesktop.DBus")

    def open_on_bus(self):
        s = self.connect()
        s.sendall(log_in(random.Random(0))[0])
        while not s.recv(4096).endswith(b"AGREE_UNIX_FD\r\n"):
            pass
        self.send(s, HELLO, 0)
        s.setblocking(False)
        return s

    def flood(self, end):
        """One message, with two descriptors, from several connections, as fast as they go."""
        body = Marshaller(self.rng, "<")
        body.texts = ["own-9", "own"]
        body.values("sshh")
        body.align(4)
        body.number("I", 0)
        body.align(8)
        fields = [(1, "o", ROOT), (2, "s", NAME + ".Manager"), (3, "s", "ImportCertificate"), (6, "s", NAME),
                  (8, "g", "sshha{sv}"), (9, "u", 2)]
        message = bytearray(header(self.rng, "<", 1, fields, len(body.out)) + bytes(body.out))
        message[2] = 1  # no answer is wanted
        sockets = [self.open_on_bus() for _ in range(8)]
        while time.monotonic() < end:
            for i, s in enumerate(sockets):
                try:
                    for _ in range(4):
                        self.send(s, bytes(message), 2)
                except BlockingIOError:
                    pass
                except OSError:
                    sockets[i] = self.open_on_bus()
                with contextlib.suppress(OSError):
                    self.count["answers"] += s.recv(1 << 16).count(b"org.certbroker1")

    def visit(self):
        s = self.connect()
        if not s:
            time.sleep(0.01)
            return
        try:
            words, answer = log_in(self.rng)
            s.sendall(words)
            while answer and not s.recv(4096).endswith(answer):
                pass
            if self.on_bus:
                self.send(s, HELLO, 0)
            for _ in range(self.rng.choice((1, 1, 2, 8))):
                self.burst(s)
                if self.rng.random() < 0.8:
                    self.read(s)
        except OSError:
            pass
        if self.rng.random() < 0.1:
            self.held.append(s)
            if len(self.held) > HELD:
                self.held.pop(self.rng.randrange(HELD)).close()
        else:
            s.close()


def main():
    path, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    attacker = Attacker(path, seed, sys.argv[4:] == ["bus"], json.load(sys.stdin))
    end = time.monotonic() + seconds
    if sys.argv[4:] == ["descriptors"]:
        attacker.flood(end)
    while time.monotonic() < end:
        attacker.visit()
    print(json.dumps(attacker.count))


if __name__ == "__main__":
    main()
