# SPDX-License-Identifier: Apache-2.0
"""Crowds of connections of one uid (crowd.c), and what certbrokerd costs meanwhile."""

import contextlib
import os
import pathlib
import pwd
import subprocess

from broker import BUILD, INTROSPECTABLE, PEER, ROOT, certificate_path, die_with_parent

CROWD = os.environ.get("CERTBROKER_CROWD", BUILD / "tests/integration/crowd")
INTROSPECT = ("unread", ROOT, INTROSPECTABLE, "Introspect")
PINGS = ("flood", ROOT, PEER, "Ping")


def uid_of(user):
    return pwd.getpwnam(user).pw_uid if isinstance(user, str) and user[0].isalpha() else user


def socket_of(broker):
    return f"{broker.runtime}/channel"


def bus_of(broker):
    return "+" + broker.bus_address[len("unix:path="):]


class Crowd:
    def __init__(self, where, user, n, *words):
        self.process = subprocess.Popen(
            ["prlimit", "--nofile=8192", str(CROWD), where, str(uid_of(user)), str(n), *map(str, words)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.n = self._read("ready")

    def _read(self, word):
        line = self.process.stdout.readline().split()
        assert line and line[0] == word, line
        return int(line[1])

    def end(self):
        self.process.stdin.close()
        n = self._read("alive")
        self.process.wait()
        return n


@contextlib.contextmanager
def crowds(*all):
    """Each (where, user, n, words...); they are there, and have done what they do, until the block ends."""
    made = []
    try:
        for one in all:
            made.append(Crowd(*one))
        yield made
    finally:
        for crowd in made:
            crowd.process.kill()
            crowd.process.communicate()


def one_by_one(where, user, n, *words):
    """Median, 99th percentile and largest of n calls, in microseconds, and how many failed."""
    done = subprocess.run([str(CROWD), where, str(uid_of(user)), str(n), *words], capture_output=True, text=True,
                          check=True, timeout=300)
    return [int(x) for x in done.stdout.split()]


def signatures(where, id="client", n=1000, user=0):
    return one_by_one(where, user, n, "sign", certificate_path(id))


def status_of(broker, field):
    for line in pathlib.Path(f"/proc/{broker.daemon.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise AssertionError(field)


def resident(broker):
    """KiB."""
    return status_of(broker, "VmRSS")
