# SPDX-License-Identifier: Apache-2.0
"""case-host LISTENER PID: forks a process for each case that run-case.py asks for, until process PID (Meson) ends.

What cases import that is not ours is imported here, once. Nothing of ours is: a case reads it anew, as it is then and in
its own environment. No case runs in this process, which has one thread and only waits; so each begins with the same state
whatever was before it, and takes none with it when it crashes.
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys

import pytest

IMPORTED = (
    "base64", "concurrent.futures", "ctypes", "hashlib", "http.client", "http.server", "random", "ssl", "sqlite3", "tempfile",
    "cryptography.hazmat.primitives.asymmetric.dsa", "cryptography.hazmat.primitives.asymmetric.ed448",
    "cryptography.hazmat.primitives.serialization.pkcs12", "cryptography.x509",
    "dbus.bus", "dbus.lowlevel", "dbus.mainloop.glib", "gi.repository.GLib",
)


def prepare():
    for name in IMPORTED:
        importlib.import_module(name)
    pytest.main(["--version"])  # imports its own plugins
    gc.freeze()  # pages stay shared


class Host:
    """Waits for cases to be asked for, to end, and to be given up by who asked."""

    def __init__(self, listener, owner):
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.running = {}  # process: its descriptor, and the connection of who asked
        self.owned = True
        self.watch(listener.fileno(), self.on_request)
        self.watch(os.pidfd_open(owner), self.on_owner_ended)

    def watch(self, descriptor, callback, *arguments):
        self.selector.register(descriptor, selectors.EVENT_READ, (callback, arguments))

    def forget(self, descriptor):
        self.selector.unregister(descriptor)
        os.close(descriptor)

    def wait(self):
        """In the process of a new case: what was asked for, and its descriptors. None: the owner ended."""
        while self.owned:
            for key, _ in self.selector.select():
                callback, arguments = key.data
                case = callback(*arguments)
                if case:
                    return case
        for process in self.running:
            kill(process)
        return None

    def on_request(self):
        connection, _ = self.listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        if not message:  # gone already
            connection.close()
            return None
        process = os.fork()
        if process == 0:
            connection.close()
            self.close()
            return json.loads(message), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        self.running[process] = os.pidfd_open(process), connection.detach()
        self.watch(self.running[process][0], self.on_ended, process)
        self.watch(self.running[process][1], self.on_given_up, process)
        return None

    def on_ended(self, process):
        _, status = os.waitpid(process, 0)
        pidfd, connection = self.running.pop(process)
        with contextlib.suppress(BrokenPipeError):
            os.write(connection, b"%d" % os.waitstatus_to_exitcode(status))
        self.forget(pidfd)
        self.forget(connection)

    def on_given_up(self, process):
        if process in self.running:  # else both happened at once
            kill(process)

    def on_owner_ended(self):
        self.owned = False

    def close(self):
        """In a process that is to be a case."""
        for key in list(self.selector.get_map().values()):
            if key.fd != self.listener.fileno():
                os.close(key.fd)
        self.listener.close()
        self.selector.close()


def kill(process):
    """With its group, if it has come to have one."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def become(request, descriptors):
    os.setsid()
    for i, descriptor in enumerate(descriptors):
        os.dup2(descriptor, i)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    return pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *request["arguments"]])


def main():
    listener = socket.socket(fileno=int(sys.argv[1]))
    owner = int(sys.argv[2])
    listener.set_inheritable(False)
    prepare()
    try:
        host = Host(listener, owner)
    except ProcessLookupError:
        case = None
    else:
        case = host.wait()
    if case:
        return become(*case)
    os.unlink(os.path.join(os.environ["CERTBROKER_BUILD"], "meson-private", f"cases-{owner}"))
    return 0


sys.exit(main())
