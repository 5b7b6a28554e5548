# SPDX-License-Identifier: Apache-2.0
"""Sits at a socket's address, and writes down what it is sent: squatter.py ADDRESS FILE BEHAVIOUR

ADDRESS is a path, or @NAME for an abstract one. For each connection that ends there is a line in FILE: the number of
bytes that came, and the bytes. BEHAVIOUR: "mute" says nothing; "late" speaks only after a tenth of a second; "channel" lets
everybody in and knows no Hello; "bus" lets everybody in and answers Hello, and every other call, as a message bus does.
Prints "ready" when it listens.
"""

import socket
import struct
import sys
import threading
import time

LOGIN = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n"


def text(value):
    return struct.pack("<I", len(value)) + value + b"\0"


def answer(serial, error):
    """Of a bus: that the caller is :1.7, whatever was asked; or an error."""
    fields = b"\x05\x01u\0" + struct.pack("<I", serial)
    body = b"" if error else text(b":1.7")
    for code, kind, value in ((7, b"s", b"org.freedesktop.DBus"), (4, b"s", error), (8, b"g", b"" if error else b"s")):
        if value:
            fields += b"\0" * (-len(fields) % 8) + bytes([code, 1]) + kind + b"\0"
            fields += bytes([len(value)]) + value + b"\0" if kind == b"g" else text(value)
    head = struct.pack("<BBBBIII", ord("l"), 3 if error else 2, 0, 1, len(body), 1, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8) + body


def talk(connection, behaviour):
    """All that comes until the other side ends it."""
    received = b""
    connection.settimeout(20)
    try:
        if behaviour == "late":
            time.sleep(0.1)
        if behaviour != "mute":
            connection.sendall(LOGIN)
        error = b"org.freedesktop.DBus.Error.UnknownMethod" if behaviour == "channel" else b""
        while True:
            data = connection.recv(65536)
            if not data:
                return received
            received += data
            if behaviour != "mute" and data[:1] in b"lB" or b"BEGIN\r\n" in data:
                call = data.split(b"BEGIN\r\n", 1)[-1]
                if len(call) >= 12:
                    connection.sendall(answer(struct.unpack("<I", call[8:12])[0], error))
    except OSError:
        return received


def serve(connection, behaviour, log, lock):
    received = talk(connection, behaviour)
    connection.close()
    with lock, open(log, "a") as file:
        file.write(f"{len(received)} {received!r}\n")


def main():
    address, log, behaviour = sys.argv[1:]
    lock = threading.Lock()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + address[1:] if address[0] == "@" else address)
        server.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection, behaviour, log, lock), daemon=True).start()


if __name__ == "__main__":
    main()
