# SPDX-License-Identifier: Apache-2.0
"""A cut of the power: nothing that was acknowledged is missing after it, whatever of the rest is there.

`test_what_a_cut_leaves` builds a few states; `tests/powercut STATES [SEED]` more of them.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import sqlite3

import dbus

import pki
import powercut
from broker import backend_path
from illdisk import IllDisk

STATES = int(os.environ.get("POWERCUT_STATES", "12"))
SEED = int(os.environ.get("POWERCUT_SEED", "1"))
CONFIGURED = '  audit-sync = "always"; audit-max-size = "4KiB";'
CHANGES = ("ImportCertificate", "CreateBackend", "Set", "SetEnabled", "Retire", "Delete")


class Work:
    """Changes, one after the other; each is marked when it was answered."""

    def __init__(self, broker, diary):
        self.broker = broker
        self.diary = diary
        self.state = {"certificates": {}, "backends": {}, "records": [], "refused": False}

    def done(self, event, object):
        self.state["records"].append([event, object])
        powercut.mark(self.diary, self.state)

    def import_new(self, id, **how):
        self.broker.import_new(id, **how)
        entry = self.state["certificates"].setdefault(id, {"enabled": True, "generations": [], "retired": []})
        entry["generations"].append(len(entry["generations"]) + 1)
        self.done("ImportCertificate", id)

    def enable(self, id, enabled):
        self.broker.certificate(id, "SetEnabled", "b", enabled)
        self.state["certificates"][id]["enabled"] = enabled
        self.done("SetEnabled", id)

    def retire(self, id, generation):
        self.broker.certificate(id, "Retire", "t", dbus.UInt64(generation))
        self.state["certificates"][id]["retired"].append(generation)
        self.done("Retire", id)

    def delete(self, id):
        self.broker.delete_certificate(id)
        del self.state["certificates"][id]
        self.done("Delete", id)

    def bind(self, name, id):
        self.broker.create_backend(name, id, f"https://{name}.example/")
        self.state["backends"][name] = f"https://{name}.example/"
        self.done("CreateBackend", name)

    def move(self, name, url):
        self.broker.set(backend_path(name), "Backend", "Url", url)
        self.state["backends"][name] = url
        self.done("Set", name)

    def sign(self, id):
        self.broker.sign(id, "ecdsa-sha256", pki.digest("ecdsa-sha256", b"data"))
        self.done("Sign", id)

    def all(self):
        self.import_new("a")
        self.bind("one", "a")
        for id in ("b", "c"):
            self.import_new(id)
        self.broker.kill()
        self.broker.start()
        for n in range(12):
            self.move("one", f"https://one-{n}.example/")
            self.sign("a")
        self.import_new("a", replace=True)
        self.retire("a", 1)
        self.broker.restart()
        self.delete("b")
        self.enable("c", False)
        for n in range(8):
            self.move("one", f"https://again-{n}.example/")
            self.sign("a")
        self.import_new("b")


def stored(state):
    """What the store has, in the words of Work."""
    with contextlib.closing(sqlite3.connect(f"file:{state}/certbroker.sqlite?mode=ro", uri=True)) as store:
        certificates = {id: {"enabled": bool(enabled), "generations": [], "retired": []}
                        for id, enabled in store.execute("SELECT id, enabled FROM certificate")}
        for id, number, retired in store.execute("SELECT certificate, number, retired FROM generation ORDER BY number"):
            certificates[id]["generations"].append(number)
            certificates[id]["retired"] += [number] if retired else []
        return {"certificates": certificates, "backends": dict(store.execute("SELECT name, url FROM backend"))}


def records_of(state):
    """Successes of the log, in their order."""
    files = sorted(state.glob("audit.jsonl.*"), key=lambda file: -int(file.suffix[1:]))
    records = []
    for file in [*files, state / "audit.jsonl"]:
        for line in file.read_bytes().splitlines() if file.exists() else []:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if record["result"] == "ok" and record["event"] in (*CHANGES, "Sign"):
                records.append([record["event"], pathlib.Path(record["object"]).name])
    return records


def work(broker):
    """The diary of all that; the broker is stopped after it, and its state directory is empty."""
    disk = IllDisk(broker.folder)
    diary = broker.folder / "diary"
    diary.touch()
    broker.extra_environment = disk.environment(ILL_DISK_DIARY=str(diary), ILL_DISK_FOLDER=str(broker.state))
    broker.init_token("other")
    wrong = broker.source("other", "pkcs11:token=other", **{"pin-file": f'"{broker.secret("wrong", "4321")}"'})
    broker.configure(broker=CONFIGURED, sources=broker.source() + wrong)
    broker.start()
    broker.wait_source("other", "locked")
    powercut.mark(diary, {"certificates": {}, "backends": {}, "records": [], "refused": True})
    task = Work(broker, diary)
    task.state["refused"] = True
    task.all()
    broker.stop()
    disk.close()
    broker.extra_environment = {}
    broker.configure(broker=CONFIGURED, sources="")
    return powercut.read(diary)


def states_of(entries, folder, chances):
    """Of a moment and what is left of it then: the disk, the last that was done, the next, and how it is left."""
    ways = {
        "synced": (lambda n: 0, powercut.nothing),
        "all": (lambda n: n, powercut.everything),
        "names": (lambda n: n, powercut.nothing),
        "data": (lambda n: 0, powercut.everything),
        "some": (lambda n: chances.randint(0, n), powercut.chance(chances)),
    }
    marks = [json.loads(entry.data) for entry in entries if entry.operation == powercut.MARK]
    changes = [i for i, entry in enumerate(entries) if entry.operation != powercut.MARK]
    for n in range(STATES):
        cut = chances.choice(changes) + 1
        n_done = sum(entry.operation == powercut.MARK for entry in entries[:cut])
        disk = powercut.Disk(folder)
        for entry in entries[:cut]:
            if entry.operation != powercut.MARK:
                disk.note(entry)
        way = list(ways)[n % len(ways)] if n < 2 * len(ways) else "some"
        yield disk, (cut, way), ways[way], marks[n_done - 1] if n_done else None, marks[n_done:n_done + 1]


def look(broker, what, done, next):
    """Starts certbrokerd on it; what it has lost, or None."""
    before = len(broker.log_text())
    broker.start(ready=None)
    said = broker.log_text()[before:]
    ids = sorted(broker.list_ids())
    verified = broker.cli("audit", "verify")
    broker.kill()
    has, records = stored(broker.state), records_of(broker.state)
    fits = [has == {key: state[key] for key in has} for state in [done, *next]]
    n = len(done["records"])
    assert any(fits), (what, has, done, next)
    assert ids == sorted(has["certificates"]), what
    assert records[:n] == done["records"] and len(records) <= n + 1, (what, records[n - 3:], done["records"][n - 3:])
    assert "older than the audit log" not in said, (what, said)
    assert verified.returncode == 0 or "gap" in said or "audit log" in said, (what, verified.stdout, said)
    return verified.returncode


def test_what_a_cut_leaves(stopped):
    broker = stopped
    chances = random.Random(SEED)
    entries = work(broker)
    n_broken = 0
    for disk, what, (names, data), done, next in states_of(entries, broker.state, chances):
        shutil.rmtree(broker.state)
        broker.state.mkdir(mode=0o700)
        disk.leave(broker.state, names, data)
        for file in broker.state.glob("*-shm"):
            file.write_bytes(chances.randbytes(32768))  # is mapped, and nobody syncs it
        if done and done["refused"]:
            assert (broker.state / "source-other/pin-refused").read_bytes(), what
        nothing = {"certificates": {}, "backends": {}, "records": []}
        n_broken += look(broker, what, done or nothing, next if done else [nothing, *next])
    print(f"{STATES} states of {len(entries)} steps, seed {SEED}; in {n_broken} the log says that its end is missing")
