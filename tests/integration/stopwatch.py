# SPDX-License-Identifier: Apache-2.0
"""Times calls on the channel, as whoever runs it: stopwatch.py CHANNEL ROUNDS '{NAME: [CALL, CALL, CALL], ...}'

A CALL is [PATH, INTERFACE, METHOD, SIGNATURE, ARGUMENT...]. The three of a name are sent in turn, in an order that is
drawn anew for each round. Prints for each name what the first answers were, the medians in microseconds, and how often
the first, and the third, took longer than the second: in how many standard deviations from half of the rounds.
"""

import json
import os
import random
import socket
import statistics
import struct
import sys
import time

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402


def log_in(address):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address.removeprefix("unix:path=").split(",")[0])
    connection.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
    assert connection.recv(200).startswith(b"OK")
    connection.sendall(b"BEGIN\r\n")
    return connection


def take(argument):
    if not isinstance(argument, dict):
        return argument
    if "variant" in argument:
        return GLib.Variant(*argument["variant"])
    return {key: take(value) for key, value in argument.items()}


def blob(path, interface, method, signature, *arguments):
    message = Gio.DBusMessage.new_method_call(None, path, interface, method)
    if signature:
        message.set_body(GLib.Variant(f"({signature})", tuple(map(take, arguments))))
    message.set_serial(7)
    return message.to_blob(Gio.DBusCapabilityFlags.NONE)


def receive(connection):
    data = connection.recv(65536)
    while len(data) < 16:
        data += connection.recv(65536)
    n_body, _, n_fields = struct.unpack_from("<III", data, 4)
    while len(data) < 16 + n_fields + -n_fields % 8 + n_body:
        data += connection.recv(65536)
    return data


def answer(connection, call):
    connection.sendall(call)
    message = Gio.DBusMessage.new_from_blob(receive(connection), Gio.DBusCapabilityFlags.NONE)
    body = message.get_body()
    return [message.get_error_name(), body.unpack()[0] if body and message.get_error_name() else None]


def rounds(connection, calls, n):
    times = []
    for _ in range(n):
        order, took = random.sample(range(len(calls)), len(calls)), [0] * len(calls)
        for i in order:
            began = time.perf_counter_ns()
            connection.sendall(calls[i])
            receive(connection)
            took[i] = time.perf_counter_ns() - began
        times.append(took)
    return times


def deviations(times, i, k):
    more = sum((t[i] > t[k]) - (t[i] < t[k]) for t in times)
    return more / len(times) ** 0.5


def main():
    address, n, names = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    connection, told = log_in(address), {}
    for name, calls in names.items():
        blobs = [blob(*call) for call in calls]
        answers = [answer(connection, call) for call in blobs]
        times = rounds(connection, blobs, n)
        told[name] = {"answers": answers, "medians": [statistics.median(t[i] for t in times) / 1000 for i in range(3)],
                      "first": deviations(times, 0, 1), "third": deviations(times, 2, 1)}
    print(json.dumps(told))


main()
