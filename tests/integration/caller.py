# SPDX-License-Identifier: Apache-2.0
"""Calls the broker as whoever runs it: caller.py ADDRESS '[[PATH, INTERFACE, METHOD, SIGNATURE, ARGUMENT...], ...]'

With "-" for the calls it reads them from standard input, a list a line, and answers each line with one.

Prints a JSON list: for each call {"value": ...}, or {"error": NAME, "message": TEXT}. Bytes are given as
{"hex": "..."} and come back as hex; a descriptor as {"memfd": "..."}, of a file that holds them. An address that begins with "p2p:" is one without a message bus.
"""

import json
import os
import sys

import dbus
import dbus.bus
import dbus.connection
import dbus.exceptions


def take(value):
    if isinstance(value, dict) and "hex" in value:
        return dbus.ByteArray(bytes.fromhex(value["hex"]))
    if isinstance(value, dict) and "memfd" in value:
        fd = os.memfd_create("caller")
        os.write(fd, bytes.fromhex(value["memfd"]))
        os.lseek(fd, 0, os.SEEK_SET)
        return dbus.types.UnixFd(fd)
    if isinstance(value, dict):
        return dbus.Dictionary(value, signature="sv")
    return value


def give(value):
    if isinstance(value, dbus.types.UnixFd):
        os.close(value.take())
        return "descriptor"
    if isinstance(value, dbus.ByteArray):
        return bytes(value).hex()
    if isinstance(value, dbus.Array) and value.signature == "y":
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [give(v) for v in value]
    if isinstance(value, dict):
        return {str(k): give(v) for k, v in value.items()}
    if isinstance(value, (bool, dbus.Boolean)):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    return None if value is None else str(value)


def main():
    address = sys.argv[1]
    if address.startswith("p2p:"):
        connection, destination = dbus.connection.Connection(address[4:]), None
    else:
        connection, destination = dbus.bus.BusConnection(address), "org.certbroker1"
    if sys.argv[2] != "-":
        print(json.dumps(make(connection, destination, json.loads(sys.argv[2]))))
        return
    for line in sys.stdin:
        print(json.dumps(make(connection, destination, json.loads(line))), flush=True)


def make(connection, destination, calls):
    results = []
    for path, interface, method, signature, *arguments in calls:
        try:
            value = connection.call_blocking(destination, path, interface, method, signature,
                                             [take(a) for a in arguments], timeout=60)
            results.append({"value": give(value)})
        except dbus.exceptions.DBusException as error:
            results.append({"error": error.get_dbus_name(), "message": error.get_dbus_message()})
    return results


main()
