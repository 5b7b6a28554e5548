# SPDX-License-Identifier: Apache-2.0
"""Calls the broker as many users: crowd.py CHANNEL N '[PATH, INTERFACE, METHOD, SIGNATURE, ARGUMENT...]' UID...

Run by root. Each uid, in a process of its own, sends the call N times on one connection to the channel, then reads the
answers. Prints how many answers there were, by error name.
"""

import collections
import json
import os
import sys

import dbus
import dbus.connection
import dbus.lowlevel


def take(value):
    return dbus.ByteArray(bytes.fromhex(value["hex"])) if isinstance(value, dict) else value


def call_as(uid, address, n, path, interface, method, signature, *arguments):
    os.setresgid(uid, uid, uid)
    os.setgroups([])
    os.setresuid(uid, uid, uid)
    connection, answers, pending = dbus.connection.Connection(address), collections.Counter(), []
    for _ in range(n):
        message = dbus.lowlevel.MethodCallMessage(None, path, interface, method)
        message.append(*map(take, arguments), signature=signature)
        pending.append(connection.send_message_with_reply(
            message, lambda reply: answers.update([reply.get_error_name() or "ok"]), 60))
        if len(pending) >= 32:  # fewer than one user may have in flight
            pending.pop(0).block()
    for call in pending:
        call.block()
    return answers


def main():
    address, n, call, *uids = sys.argv[1:]
    answers = collections.Counter()
    for uid in map(int, uids):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, json.dumps(call_as(uid, address, int(n), *json.loads(call))).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            answers.update(json.loads(told.read()))
        os.waitpid(child, 0)
    print(json.dumps(answers))


main()
