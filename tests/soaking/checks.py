# SPDX-License-Identifier: Apache-2.0
"""What has to hold at each quiet moment: everything that was acknowledged is there, and in the audit log, whose chain
is whole; memory and descriptors are flat; no process too many; no secret in what was written for others to read."""

import contextlib
import hashlib
import json
import os
import pathlib
import sqlite3
import time

from broker import OBJECT_MANAGER, ROOT, SANITIZED, Failure, backend_path, certificate_path, children, wait_until
from model import Lost
from world import Line, is_alive, read, started, stat_of

MEMORY_MIB = 12   # more than when it was WARM_SECONDS old, of one process
DESCRIPTORS = 12  # a vault's source keeps connections
WARM_SECONDS = 30


BEGUN = "SELECT key FROM note WHERE key LIKE 'making/%' OR key LIKE 'ending/%'"


def look_for_secrets(world, where, data):
    """The PIN, a passphrase, a private key in PEM, an access token (a JWT)."""
    for mark in (world.pin.encode(), world.passphrase.encode(), b"PRIVATE KEY", b"eyJ"):
        if mark in data:
            world.report.breaks(f"a secret is in {where}: {mark[:4]!r}…")


class Checks:
    def __init__(self, world, model, changers):
        self.world, self.model, self.changers = world, model, changers
        self.report = world.report
        self.line = Line(world, "channel")
        self.audit = Audit(world, model)
        self.flat = Flat(world)
        self.read_to = {}

    def all(self):
        with contextlib.ExitStack() as quiet:
            for changer in self.changers:
                quiet.enter_context(changer.turn)
            self.compare()
            self.audit.follow()
        self.flat.sample()
        self.processes()
        self.secrets()

    def compare(self):
        try:
            objects = self.line(self.world.call, ROOT, OBJECT_MANAGER, "GetManagedObjects")
        except Failure as failure:
            return self.report.breaks(f"the objects are not told: {failure}")
        for kind, records, path in (("Certificate", self.model.certificates, certificate_path),
                                    ("Backend", self.model.backends, backend_path)):
            there = {str(p): rows[f"org.certbroker1.{kind}"] for p, rows in objects.items()
                     if f"org.certbroker1.{kind}" in rows}
            for record in records.values():
                try:
                    record.observed(there.pop(path(record.name), None))
                except Lost as lost:
                    self.report.breaks(f"not as acknowledged: {lost}")
            if there:
                self.report.breaks(f"nobody has made {sorted(there)}")
        self.report.count("comparisons")

    def verify(self):
        done = self.world.cli("audit", "verify")
        self.report.count("audit verify")
        if done.returncode != 0:
            self.report.breaks(f"audit verify: {done.stdout.decode()}{done.stderr.decode()}")

    def attention(self):
        """What status says that a person has to look at."""
        for entry in self.world.cli_json("status")["attention"]:
            self.report.count("told by status")
            self.report.event(f"status: {entry}")

    def processes(self):
        world = self.world
        for pid, when in world.past:
            with contextlib.suppress(AssertionError):
                wait_until(lambda p=pid, w=when: not is_alive(p, w), "it ends", 10)
            if is_alive(pid, when):
                self.report.breaks(f"process {pid} of a broker that has ended is left: {read(pid, 'cmdline')!r}")
        world.past.clear()
        daemon = world.daemon
        try:
            starters = children(daemon.pid)
            sources = [pid for starter in starters for pid in children(starter)]
        except OSError:
            return
        if len(starters) != 1 or len(sources) > 2:
            self.report.breaks(f"processes of certbrokerd: {starters}, of its starter: {sources}")
        for pid in (*starters, *sources):
            with contextlib.suppress(OSError):  # it has ended
                wait_until(lambda p=pid: stat_of(p)[0] != "Z", f"process {pid} is no zombie", 5)

    def secrets(self):
        for path in (self.world.log, self.world.watch.log, self.world.front.error_log):
            with contextlib.suppress(FileNotFoundError), path.open("rb") as f:
                f.seek(self.read_to.get(path, 0))
                look_for_secrets(self.world, path, f.read())
                self.read_to[path] = f.tell()

    def orphans(self):
        """Objects of the token that belong to no generation of any certificate, and what was begun and not ended."""
        world = self.world
        with contextlib.closing(sqlite3.connect(f"file:{world.state}/certbroker.sqlite?mode=ro", uri=True)) as store:
            rows = store.execute("SELECT key_uri FROM generation WHERE key_uri LIKE 'pkcs11:%'")
            uris = [uri.lower() for (uri,) in rows]
            notes = [key for (key,) in store.execute(BEGUN)]
        used = tuple(uri.split("id=")[1].split(";")[0].replace("%", "") for uri in uris)
        left = [o for o in world.token_objects() if o.get("label") and not o.get("ID", "").lower().startswith(used)]
        return notes, left


class Audit:
    """Follows the log as it grows, over its renames; counts what it says was done."""

    def __init__(self, world, model):
        self.world, self.model, self.report = world, model, world.report
        self.prev, self.seq = "0" * 64, 0
        self.file = None
        self.rest = b""
        self.said = {}

    def follow(self):
        path = self.world.logs / "audit.jsonl"
        while True:
            if self.file is None:
                self.file = path.open("rb")
            self.take(self.file.read())
            try:
                same = os.fstat(self.file.fileno()).st_ino == path.stat().st_ino
            except FileNotFoundError:
                time.sleep(0.01)
                continue
            if same:
                break
            self.take(self.file.read())  # what came before it was renamed
            self.file = self.next_file()
        self.compare()

    def next_file(self):
        """The one after ours: audit.jsonl, or where that was renamed as well, one of the others."""
        number = os.fstat(self.file.fileno()).st_ino
        self.file.close()
        paths = sorted(self.world.logs.glob("audit.jsonl.*"), key=lambda path: int(path.suffix[1:]))
        for newer, older in zip([self.world.logs / "audit.jsonl", *paths], paths):
            if older.stat().st_ino == number:
                return newer.open("rb")
        raise RuntimeError("the audit log is not where it was")

    def take(self, data):
        look_for_secrets(self.world, "the audit log", data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            record = json.loads(line)
            if record["seq"] != self.seq + 1 or record["prev"] != self.prev:
                self.report.breaks(f"the audit log's chain breaks after record {self.seq}: {line.decode()[:300]}")
            self.seq, self.prev = record["seq"], hashlib.sha256(line).hexdigest()
            if record["event"] in ("gap", "removed", "lost", "rollback"):
                self.report.breaks(f"the audit log says {line.decode()[:300]}")
            if record["result"] == "ok":
                key = record["event"], record["object"]
                self.said[key] = self.said.get(key, 0) + 1
        self.report.count("audit records", len(lines))

    def compare(self):
        """Changes are not made meanwhile."""
        for key, n in self.model.done.items():
            perhaps = self.model.perhaps.get(key, 0)
            if not n <= self.said.get(key, 0) <= n + perhaps:
                self.report.breaks(f"{key[0]} {key[1]}: acknowledged {n} times, perhaps {perhaps} more; "
                                   f"in the audit log {self.said.get(key, 0)} times")


class Flat:
    """Memory and descriptors of each process from its warm-up on, as long as it lives."""

    def __init__(self, world):
        self.world, self.report = world, world.report
        self.first = {}
        self.log = (world.folder / "memory").open("w", buffering=1)

    def sample(self):
        world = self.world
        pids = {"library": world.library.process.pid, "watcher": world.watch.process.pid}
        with contextlib.suppress(OSError, ValueError, AttributeError):
            pids["certbrokerd"] = world.daemon.pid
            pids["starter"] = world.starter_pid()
            pids |= {f"source {name}": pid for name, pid in world.source_pids().items()}
        for name, pid in pids.items():
            with contextlib.suppress(OSError):
                self.one(name, pid)

    def one(self, name, pid):
        when = started(pid)
        age = float(pathlib.Path("/proc/uptime").read_text().split()[0]) - when / os.sysconf("SC_CLK_TCK")
        if age < WARM_SECONDS:
            return
        mib = int(next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
                       if line.startswith("VmRSS:")).split()[1]) / 1024
        n = len(os.listdir(f"/proc/{pid}/fd"))
        first = self.first.setdefault((name, pid, when), (mib, n, age))
        self.log.write(f"{self.report.seconds():.0f} {name} {pid} age {age:.0f} s, {mib:.1f} MiB, {n} descriptors\n")
        self.report.highest(f"memory of {name}, at most", round(mib, 1), "MiB")
        self.report.highest(f"descriptors of {name}, at most", n)
        self.report.highest(f"memory of {name}, growth after its warm-up at most", round(mib - first[0], 1), "MiB")
        self.report.highest(f"descriptors of {name}, growth after its warm-up at most", n - first[1])
        self.report.highest(f"age of a {name}, at most", round(age), "s")
        if mib > first[0] + MEMORY_MIB and not SANITIZED:
            self.report.breaks(f"memory of {name} grows: {first[0]:.1f} MiB when it was {first[2]:.0f} s old, "
                               f"{mib:.1f} MiB at {age:.0f} s")
        if n > first[1] + DESCRIPTORS:
            links = sorted(os.readlink(p) for p in pathlib.Path(f"/proc/{pid}/fd").iterdir())
            self.report.breaks(f"descriptors of {name} grow: {first[1]} when it was {first[2]:.0f} s old, "
                               f"{n} at {age:.0f} s: {links}")
