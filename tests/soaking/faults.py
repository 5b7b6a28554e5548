# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: each begins, goes on for some seconds, and ends; and which parts it disturbs."""

import contextlib
import os
import signal
import time

from world import REQUEST_SECONDS

RULES = {
    "the token fails": "C_Sign rv=0x30\n",
    "the token fails in between": "C_Sign after=2 rv=0x30 count=3\n",
    "the token loses its sessions": "C_SignInit rv=0xb3 count=8\n",
    "the token is taken out": "C_GetTokenInfo rv=0xe0\nC_OpenSession rv=0xe0\nC_SignInit rv=0xe0\n"
                              "C_GetSessionInfo rv=0xe0\n",
    "the token hangs": "C_Sign after=3 hang count=2\n",
    "the token is slow": "C_SignInit delay=400\nC_FindObjectsInit delay=200\n",
    "the token signs wrongly": "C_Sign after=2 flipbit count=3\n",
    "the token crashes": "C_SignInit after=5 crash count=1\n",
    "the token takes nothing": "C_CreateObject rv=0x31\nC_GenerateKeyPair rv=0x31\n",
    "the token has a code of its own": "C_Sign rv=0x80000001 count=12\n",
}

# Of tests/keyvault's catalogue.
VAULT = ("V2.refuse", "V2.drop", "V2.stall", "V3.wrong-ca", "V4.silent", "V4.body", "V5.truncated", "V5.reset",
         "V5.cut-json", "V6.announced", "V7.html", "V8.challenge", "V12.deleting", "V13.seconds", "V13.missing", "V14.503",
         "V14.500", "V15.302", "V16.garbage", "V20.flipped", "V20.other-key", "V22.refuse", "V23.audience")


class Fault:
    """parts: what is disturbed. bound: the seconds after its end in which everything has to succeed again. lasts: for
    how many it is felt after that, whatever succeeds meanwhile: what hangs is found out by a deadline."""

    def __init__(self, kind, parts, begin, end=lambda: None, bound=30, lasts=0):
        self.kind, self.parts, self.begin, self.end = kind, parts, begin, end
        self.bound, self.lasts = bound, lasts


class Faults:
    def __init__(self, world, choice):
        self.world, self.choice = world, choice

    def draw(self, ends_broker):
        """One or two, of different places."""
        places = [self.token, self.token, self.source, self.vault, self.vault, self.bus, self.disk]
        if ends_broker:
            places += [self.broker, self.broker]
        first = self.choice.choice(places)
        chosen = [first()]
        if self.choice.random() < 0.4:
            chosen.append(self.choice.choice([place for place in places if place != first])())
        return chosen

    def token(self):
        kind = self.choice.choice(sorted(RULES))
        rules, write = RULES[kind], self.world.fault_rules
        # After five crashes in a minute the next start is a minute later, and so is the next trial of a key.
        bound = 90 if "crash" in rules or "flipbit" in rules else 45
        return Fault(kind, ("hsm",), lambda: write(rules), lambda: write(""), bound,
                     REQUEST_SECONDS + 3 if "hang" in rules else 0)

    def source(self):
        name = self.choice.choice(("hsm", "vault"))
        if self.choice.random() < 0.5:
            return Fault(f"the source {name} is killed", (name,), lambda: self.signal_source(name, signal.SIGKILL),
                         bound=75)
        stopped = []
        return Fault(f"the source {name} is stopped", (name,),
                     lambda: stopped.append(self.signal_source(name, signal.SIGSTOP)),
                     lambda: self.go_on(stopped), bound=75)

    def signal_source(self, name, number):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            pid = self.world.source_pids().get(name)
            if pid:
                os.kill(pid, number)
                self.world.report.count("sources killed" if number == signal.SIGKILL else "sources stopped")
                return pid
        return None

    @staticmethod
    def go_on(stopped):
        for pid in stopped:
            if pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)

    def vault(self):
        name = self.choice.choice(VAULT)
        vault = self.world.vault

        def end():
            vault.clear_faults()
            vault.network("open")
            vault.network("open", "metadata")
            vault.tls("good")

        return Fault(f"the vault: {name}", ("vault",), lambda: vault.fault(name), end, 120)

    def bus(self):
        world = self.world
        if self.choice.random() < 0.5:
            return Fault("the bus is killed", ("bus",), world.stop_bus, world.start_bus, 30)
        return Fault("the bus is stopped", ("bus",), lambda: world.bus_daemon.send_signal(signal.SIGSTOP),
                     lambda: world.bus_daemon.send_signal(signal.SIGCONT), 45)

    def disk(self):
        name = self.choice.choice(("state", "log"))
        path = self.world.folder / name / "filler"
        part = "store" if name == "state" else "log"
        return Fault(f"the disk of the {part} is full", (part,), lambda: fill(path), lambda: free(path), 30)

    def broker(self):
        parts = ("broker", "hsm", "vault")
        if self.choice.random() < 0.25:
            return Fault("the broker: SIGKILL, and again as it comes back", parts, self.kill_twice, bound=75)
        number = self.choice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        return Fault(f"the broker: {number.name}", parts, lambda: self.world.end_broker(number), bound=75)


    def kill_twice(self):
        world, before = self.world, self.world.daemon
        world.end_broker(signal.SIGKILL)
        end = time.monotonic() + 20
        while world.daemon in (None, before) and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(self.choice.uniform(0, 0.6))
        world.end_broker(signal.SIGKILL)


def free(path):
    os.truncate(path, 0)
    path.unlink()


def fill(path):
    with open(path, "wb", buffering=0) as f:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while f.write(bytes(size)):
                    pass
