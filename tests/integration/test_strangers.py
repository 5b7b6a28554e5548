# SPDX-License-Identifier: Apache-2.0
"""Descriptors whose closing waits for whoever has handed them in. Who does that needs no grant."""

import contextlib
import os
import pathlib
import select
import subprocess

import pytest

from broker import PYTHON, ROOT, wait_until
from hangfs import FLUSH, hanging_file

# A process of its own: nothing that has such a file open can start another one.
CALLER = """
import array, os, socket, sys, time
path, file, data = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
s = socket.socket(socket.AF_UNIX)
s.connect(path)
s.sendall(b"\\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\\r\\n")
assert s.recv(1000).startswith(b"OK")
s.sendall(b"NEGOTIATE_UNIX_FD\\r\\n")
assert s.recv(1000).startswith(b"AGREE")
s.sendall(b"BEGIN\\r\\n")
time.sleep(0.2)  # what is read together with this comes without its descriptors
fds = array.array("i", [os.open(file, os.O_RDONLY)])
s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
print("sent", flush=True)
if sys.argv[4] == "wait":
    sys.stdin.readline()
    s.close()
try:
    print("dropped" if s.recv(1) == b"" else "answered", flush=True)
except OSError:
    print("dropped", flush=True)
time.sleep(1000)
"""

# The first bytes of a message that goes on, and of one that is none.
BEGUN, NONSENSE = b"l\1\0\1\0\0\0\0", b"what is no message at all"


@contextlib.contextmanager
def caller(broker, fs, data, how=""):
    """nobody, who has sent this and the file."""
    address = str(broker.get(ROOT, "Manager", "ChannelAddress"))
    path = next(part.split("path=")[1].split(",")[0] for part in address.split(";") if "path=" in part)
    process = subprocess.Popen(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", PYTHON, "-c", CALLER,
                                path, str(fs.folder / "file"), data.hex(), how], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "sent\n"
        yield process
    finally:
        process.kill()  # it ends when its file system does
        process.stdout.close()
        process.stdin.close()


def is_open(broker, folder):
    """Does the broker have something of this folder?"""
    for link in pathlib.Path(f"/proc/{broker.daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(link).startswith(str(folder)):
                return True
    return False


def threads(broker):
    return len(os.listdir(f"/proc/{broker.daemon.pid}/task"))


def is_dropped(broker, fs):
    with caller(broker, fs, BEGUN) as process:
        return bool(select.select([process.stdout], [], [], 0.5)[0]) and process.stdout.readline() == "dropped\n"


@pytest.mark.parametrize("data", [BEGUN, NONSENSE])
def test_descriptors_that_nobody_can_close(broker, root, data):
    """A message without end, or without sense, brings along a file whose close() never returns."""
    broker.import_new("orders")
    n_before = threads(broker)
    with hanging_file(broker.folder / "mount", FLUSH) as fs:
        with caller(broker, fs, data, "wait" if data == BEGUN else "") as process:
            if data == BEGUN:
                wait_until(lambda: is_open(broker, fs.folder), "it has come")
                # while it is open, a source's process is started, which must neither have nor close it
                broker.configure(sources=broker.source(sessions="3"))
                broker.manager("Reload")
                broker.wait_source("hsm", "ready")
                process.stdin.write("close\n")
                process.stdin.flush()
            wait_until(lambda: threads(broker) > n_before, "it is being closed")
            for _ in range(3):
                broker.sign("orders", "ecdsa-sha256", bytes(32))

        # Who has one that is not closed gets no more in, and others do.
        wait_until(lambda: is_dropped(broker, fs), "no more are taken")
        assert threads(broker) == n_before + 1
        broker.import_new("another")
    wait_until(lambda: threads(broker) == n_before, "it is closed")
