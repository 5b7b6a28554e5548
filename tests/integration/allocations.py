# SPDX-License-Identifier: Apache-2.0
"""Arms alloc-fault.c in a process that runs, or in one that starts; and the walk through the allocations of an operation."""

import contextlib
import mmap
import os
import pathlib
import struct
import subprocess

import dbus
import dbus.connection

from broker import BUILD, PEER, ROOT, SANITIZED, Failure

SHIM = BUILD / "tests/integration/alloc-fault.so"
ALL = os.environ.get("CERTBROKER_ALLOCATIONS") == "all"
SIZE = 8192
NUMBERS = struct.Struct("=7Q64s")  # FaultPage: armed, pid, whose, first, n_wanted, n_seen, n_failed, program
OURS, EVERYBODY, BELOW = range(3)  # Whose
STRIDE = 1 if ALL else 17 if SANITIZED else 11


class Page:
    """What a test and the processes that it preloads alloc-fault.c into share."""

    def __init__(self, broker):
        self.path = broker.folder / "alloc-fault"
        self.path.write_bytes(bytes(SIZE))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), SIZE)

    def environment(self, broker):
        env = {"ALLOC_FAULT": str(self.path), "LD_PRELOAD": str(SHIM)}
        if SANITIZED:
            # What does not fail is passed on to the sanitizer, so the shim comes first.
            env["LD_PRELOAD"] += ":" + os.environ["CERTBROKER_PRELOAD"]
            env["ASAN_OPTIONS"] = broker.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
        return env

    def arm(self, pid, first, whose=EVERYBODY, program=""):
        """Fails the first-th allocation from now on; pid 0: in the next process that starts this program."""
        self.map[:SIZE] = bytes(SIZE)
        NUMBERS.pack_into(self.map, 0, 0, pid, whose, first, 1, 0, 0, program.encode())
        self.map[0] = 1

    def disarm(self):
        """How many have failed."""
        self.map[0] = 0
        return NUMBERS.unpack_from(self.map)[6]

    def trace(self):
        """Who asked for the one that failed."""
        lines = []
        for line in bytes(self.map[NUMBERS.size:]).split(b"\0")[0].decode().splitlines():
            module, offset = line.split()
            if "certbroker" in module:
                place = ["addr2line", "-Cfpse", module, hex(int(offset, 16) - 1)]
                lines.append(subprocess.run(place, capture_output=True, text=True, check=False).stdout.strip())
            else:
                lines.append(f"{pathlib.Path(module).name} {offset}")
        return "\n    ".join(lines)


def preload(broker):
    """What the broker starts from now on can be armed; its page."""
    page = Page(broker)
    broker.extra_environment = page.environment(broker)
    return page


def turns():
    """Which allocations fail: those of our own operations one by one, or in steps; beyond, where libcrypto sets up, fewer."""
    nth = 1
    while True:
        yield nth
        nth += max(STRIDE, nth // (100 if ALL else 1))


class Walk:
    """Goes through operations on the private channel, where whoever cannot be answered is told so, in the process `pid`."""

    def __init__(self, broker, page, whose=EVERYBODY):
        self.broker = broker
        self.page = page
        self.whose = whose
        self.address = str(broker.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
        self.faults = []
        self.connect()

    def pid(self):
        return self.broker.daemon.pid

    def connect(self):
        self.broker._connection = dbus.connection.Connection(self.address)
        self.attempt(self.broker.call, ROOT, PEER, "Ping")  # then it is known that descriptors may be sent

    def has_ended(self):
        """The connection, instead of an answer; there is another one then."""
        if self.broker.connection.get_is_connected():
            return False
        self.connect()
        return True

    def attempt(self, function, *arguments):
        """(value, None) or (None, Failure)."""
        try:
            return function(*arguments), None
        except Failure as failure:
            return None, failure

    def fault(self, name, nth, what):
        self.faults.append(f"{name}, allocation {nth}: {what}\n    {self.page.trace()}")

    def armed(self, name, nth, function, *arguments):
        """Once with that allocation failing; value, failure, whether it did fail."""
        self.page.arm(self.pid(), nth, self.whose)
        value, failure = self.attempt(function, *arguments)
        ended = self.has_ended()
        self.attempt(self.broker.call, ROOT, PEER, "Ping")  # what is done after the answer counts, too
        failed = self.page.disarm() > 0
        self.has_ended()
        assert self.broker.daemon.poll() is None, \
            f"{name}, allocation {nth}: certbrokerd ended\n    {self.page.trace()}\n{self.broker.log_text()}"
        if failure and failure.full_name.endswith("NoReply") and not ended:
            self.fault(name, nth, "no answer")
        self.recover()
        return value, failure, failed

    def recover(self):
        """Before the next step."""

    @contextlib.contextmanager
    def own(self):
        """Only what our own code allocates fails: the parser of the configuration ends a program that has no memory for it."""
        before, self.whose = self.whose, OURS
        yield
        self.whose = before

    def told(self, name, n):
        print(f"{name}: {n} failed", flush=True)

    def same(self, name, function):
        """An operation that always answers the same, or that it could not."""
        right = function()
        for n, nth in enumerate(turns()):
            value, failure, failed = self.armed(name, nth, function)
            if not failure and value != right:
                self.fault(name, nth, f"answered {value}")
            value, failure = self.attempt(function)
            if failure or value != right:
                self.fault(name, nth, f"does not work again: {failure or value}")
            if not failed:
                return self.told(name, n)

    def makes(self, name, make, unmake, names):
        """What makes something: where it fails, it is not there, and can be made."""
        for n, nth in enumerate(turns()):
            one = f"{name}-{nth}"
            _, failure, failed = self.armed(name, nth, make, one)
            there = one in names()
            if there != (failure is None) and not self.is_unrecorded(failure):
                self.fault(name, nth, f"is {'there' if there else 'gone'}: {failure}")
            if not there:
                _, failure = self.attempt(make, one)
                if failure:
                    self.fault(name, nth, f"cannot be made any more: {failure}")
            unmake(one)
            if not failed:
                return self.told(name, n)

    def unmakes(self, name, make, unmake, names):
        """What takes something away: where it fails, it is there, or can be taken away."""
        for n, nth in enumerate(turns()):
            one = f"{name}-{nth}"
            make(one)
            _, failure, failed = self.armed(name, nth, unmake, one)
            there = one in names()
            if there == (failure is None) and not self.is_unrecorded(failure):
                self.fault(name, nth, f"is {'there' if there else 'gone'}: {failure}")
            if there:
                _, failure = self.attempt(unmake, one)
                if failure:
                    self.fault(name, nth, f"cannot be taken away any more: {failure}")
            if not failed:
                return self.told(name, n)

    def changes(self, name, change, values, read):
        """What changes something: where it fails, it is as it was, and can be changed."""
        change(values[1])
        for n, nth in enumerate(turns()):
            wanted, before = values[n % 2], read()
            _, failure, failed = self.armed(name, nth, change, wanted)
            now = read()
            if now != (before if failure else wanted) and not self.is_unrecorded(failure):
                self.fault(name, nth, f"is {now}, not {wanted}: {failure}")
            _, failure = self.attempt(change, wanted)
            if failure or read() != wanted:
                self.fault(name, nth, f"cannot be changed any more: {failure}")
            if not failed:
                return self.told(name, n)

    @staticmethod
    def is_unrecorded(failure):
        """It is done, but has no record in the audit log, or no answer: then its caller is told that it has failed."""
        return failure and ("audit log" in failure.message or "for the answer" in failure.message or
                            "could not be made" in failure.message or failure.full_name.endswith(("NoReply", "Disconnected")))


class SourceWalk(Walk):
    """The same in the process of the only source."""

    def pid(self):
        [pid] = self.broker.helper_pids()
        return pid

    def recover(self):
        self.broker.wait_source("hsm", "ready")


__all__ = ["ALL", "BELOW", "EVERYBODY", "OURS", "Page", "SourceWalk", "Walk", "preload", "turns"]
