# SPDX-License-Identifier: Apache-2.0
"""run-case FILE::TEST: one case of pytest, in a process of its own that has not to begin at nothing.

Most of a short case's time goes into Python's start and the imports of pytest and others. So case-host.py imports them
once for a run of `meson test`, and forks a process for each case; here it is asked for one, which gets our arguments,
environment, folder and descriptors, and whose exit status becomes ours. The first who finds no host begins it. It belongs
to our parent, Meson, and ends with it; and a case ends with us: Meson's timeouts do what they say.

To be cheap, this imports little, and runs with Python's -I and -S.
"""

import fcntl
import json
import os
import socket
import sys

BUILD = os.environ["CERTBROKER_BUILD"]
HOST = os.path.join(os.path.dirname(os.path.abspath(__file__)), "case-host.py")


def connected(path):
    """A connection, or None where nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return connection


def begin_host(path):
    import subprocess
    if os.path.lexists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()  # whoever connects before it is ready waits
        with open(os.path.join(BUILD, "meson-logs", "case-host.txt"), "ab") as log:
            # Of our output it keeps nothing, else Meson would wait for it.
            subprocess.Popen(["/usr/bin/python3", "-P", "-B", HOST, str(listener.fileno()), str(os.getppid())],
                             pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                             start_new_session=True)


def connect():
    folder = os.open(os.path.join(BUILD, "meson-private"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{folder}/cases-{os.getppid()}"  # short, as a socket's has to be
    connection = connected(path)
    if not connection:
        fcntl.flock(folder, fcntl.LOCK_EX)
        connection = connected(path)  # another may have begun it
        if not connection:
            begin_host(path)
            connection = connected(path)
    os.close(folder)
    return connection


def main():
    connection = connect()
    request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}
    socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
    answer = connection.recv(64)
    if not answer:
        sys.exit("run-case: the host of the cases ended; see meson-logs/case-host.txt")
    status = int(answer)
    if status < 0:
        sys.exit(f"run-case: ended by signal {-status}")
    sys.exit(status)


main()
