# SPDX-License-Identifier: Apache-2.0
"""Files of certbrokerd's own that are moved, removed, replaced or older than they were, and sources that are gone from the
configuration: nothing is acknowledged on the word of what is not there, and somebody is told."""
import contextlib
import json
import shutil
import sqlite3

import pytest

import pki
from broker import Failure, ROOT, wait_until

CHANGE = ("client", "SetEnabled", "b", False)


def sign(broker, id="client", generation=0):
    data = pki.digest("ecdsa-sha256", b"data")
    return broker.sign(id, "ecdsa-sha256", data, generation)


def records_of(broker):
    return [json.loads(line) for line in (broker.state / "audit.jsonl").read_bytes().splitlines()]


def attention(broker):
    return {entry["object"]: entry["reason"] for entry in broker.cli_json("status")["attention"]}


def metric(broker, name):
    text = str(broker.manager("GetMetrics"))
    return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


def verify(broker, *arguments, status=0):
    done = broker.cli("audit", "verify", *arguments)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout.decode()


# the store

def put_in_place(broker, backup):
    """As install(1) does."""
    new = broker.state / "new"
    shutil.copy(backup, new)
    new.rename(broker.state / "certbroker.sqlite")


WAYS = {
    "removed": lambda broker, backup: [path.unlink() for path in broker.state.glob("certbroker.sqlite*")],
    "renamed": lambda broker, backup: (broker.state / "certbroker.sqlite").rename(broker.state / "aside"),
    "replaced": put_in_place,
    "emptied": lambda broker, backup: (broker.state / "certbroker.sqlite").write_bytes(b""),
    "overwritten": lambda broker, backup: (broker.state / "certbroker.sqlite").write_bytes(backup.read_bytes()),
    "without its log": lambda broker, backup: (broker.state / "certbroker.sqlite-wal").unlink(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_is_not_ours_any_more(broker, refused, way):
    """Every change is refused, what is in force stays so, and journal, metrics and status say why."""
    broker.import_new("client")
    broker.create_backend("orders", "client")
    backup = broker.folder / "backup"
    assert broker.cli("backup", str(backup), "--config", str(broker.config)).returncode == 0
    assert metric(broker, "certbroker_store_healthy") == 1
    WAYS[way](broker, backup)
    assert "while certbrokerd runs" in refused("Failed", broker.certificate, *CHANGE)
    refused("Failed", broker.import_new, "another")
    refused("Failed", broker.create_backend, "more", "client")
    refused("Failed", broker.backend, "orders", "Delete")
    assert broker.certificate_properties("client")["State"] == "active" and broker.list_ids() == ["client"]
    assert sign(broker) and broker.backend("orders", "GetCredential")
    assert metric(broker, "certbroker_store_healthy") == 0
    assert "certbrokerd" in attention(broker)["store"]
    wait_until(lambda: "the store cannot be written" in broker.log_text(), "a line in the journal")
    assert broker.log_text().count("the store cannot be written") == 1


def test_a_store_that_is_gone_is_told_before_anything_is_changed(broker):
    broker.import_new("client")
    (broker.state / "certbroker.sqlite").rename(broker.state / "aside")
    assert "store" in attention(broker)
    (broker.state / "aside").rename(broker.state / "certbroker.sqlite")
    wait_until(lambda: "store" not in attention(broker), "what is noted of the log is written again")


def test_a_store_that_is_put_back(broker, refused):
    broker.import_new("client")
    (broker.state / "certbroker.sqlite").rename(broker.state / "aside")
    refused("Failed", broker.certificate, *CHANGE)
    (broker.state / "aside").rename(broker.state / "certbroker.sqlite")
    broker.certificate(*CHANGE)
    broker.kill()
    broker.start()
    assert broker.certificate_properties("client")["State"] == "disabled"
    assert "store" not in attention(broker)


def test_no_key_is_destroyed_that_the_store_cannot_forget(broker, refused):
    """It would not come back, and its certificate would have none."""
    broker.import_new("client")
    objects = broker.token_objects()
    (broker.state / "certbroker.sqlite").rename(broker.state / "aside")
    refused("Failed", broker.delete_certificate, "client", destroy_key=True)
    assert sign(broker) and broker.token_objects() == objects
    (broker.state / "aside").rename(broker.state / "certbroker.sqlite")
    broker.delete_certificate("client", destroy_key=True)
    assert broker.list_ids() == [] and broker.token_objects() == []


# the audit log

def test_a_log_that_is_renamed_goes_on_in_a_new_file(broker):
    """As logrotate does, with and without a file that it makes: no record is missing, and none has two places."""
    log = broker.state / "audit.jsonl"
    broker.import_new("client")
    n = len(records_of(broker))
    log.rename(broker.state / "audit.jsonl.1")
    sign(broker)
    assert [r["event"] for r in records_of(broker)] == ["moved", "Sign"]
    assert records_of(broker)[0]["object"] == f"renamed after record {n}"
    assert "was renamed after record" in broker.log_text()
    verify(broker)
    (broker.state / "audit.jsonl.1").rename(broker.state / "audit.jsonl.2")
    log.rename(broker.state / "audit.jsonl.1")
    log.touch(0o600)
    verify(broker)  # OpenAudit alone begins the new one
    assert "audit log" not in attention(broker)
    broker.restart()
    verify(broker)
    assert "audit log" not in attention(broker)


def test_a_log_that_is_removed_is_said_to_be(broker):
    broker.import_new("client")
    (broker.state / "audit.jsonl").unlink()
    sign(broker)
    assert [r["event"] for r in records_of(broker)] == ["moved", "removed", "Sign"]
    assert records_of(broker)[0]["object"].startswith("removed after record ")
    assert metric(broker, "certbroker_audit_healthy") == 0
    assert "taken away" in attention(broker)["audit log"]
    verify(broker, status=1)


def test_a_gap_in_a_log_that_is_full(stopped):
    """The record that says so is the first of another file, and certbrokerd starts all the same."""
    broker = stopped
    broker.configure(broker='  audit-max-size = "4KiB";')
    broker.start()
    broker.import_new("client")
    log = broker.state / "audit.jsonl"
    while log.stat().st_size < 4096:
        sign(broker)
    broker.stop()
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b'"ok"', b'"OK"'))
    broker.start()
    assert records_of(broker)[0]["event"] == "gap" and (broker.state / "audit.jsonl.1").exists()
    assert sign(broker) and broker.list_ids() == ["client"]


@pytest.fixture
def losing(stopped):
    """A daemon that goes on without its log, which a folder is in the place of."""
    broker = stopped
    broker.configure(broker='  audit-failure = "continue";')
    broker.start()
    broker.import_new("client")
    lose(broker)
    return broker


def lose(broker):
    (broker.state / "audit.jsonl").rename(broker.state / "aside")
    (broker.state / "audit.jsonl").mkdir()


def noted(broker):
    with sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True) as store:
        row = store.execute("SELECT value FROM note WHERE key = 'audit/lost'").fetchone()
    return row and row[0]


def mend(broker):
    (broker.state / "audit.jsonl").rmdir()
    (broker.state / "aside").rename(broker.state / "audit.jsonl")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_lost_is_known_after_a_restart(losing, end):
    """The store has it before the first answer without a record is out: so a crash hides nothing."""
    broker = losing
    sign(broker)
    assert noted(broker).startswith("1 ")
    for _ in range(4):
        sign(broker)
    wait_until(lambda: int(noted(broker).split()[0]) >= 3, "at least half of them are noted")
    assert metric(broker, "certbroker_audit_lost_records") >= 5
    assert "cannot be written" in attention(broker)["audit log"]
    n = len((broker.state / "aside").read_bytes().splitlines())
    getattr(broker, end)()
    mend(broker)
    assert "as certbrokerd's store says" in verify(broker, "--file", str(broker.state / "audit.jsonl"))
    broker.start()
    resume = records_of(broker)[n]
    assert resume["event"] == "resume" and " lost since 20" in resume["object"]
    words = resume["object"].split()
    assert (words[:2] == ["at", "least"]) == (end == "kill")
    assert int(words[2] if end == "kill" else words[0]) >= 3
    assert "It is not complete" in verify(broker)
    assert broker.cli_json("audit", "verify")["lost"] >= 3
    assert "records could not be written before certbrokerd was started again" in broker.log_text()
    wait_until(lambda: noted(broker) is None, "the log tells of it, and the store need not any more")
    broker.restart()
    assert [r["event"] for r in records_of(broker)].count("resume") == 1


def test_what_was_lost_is_forgotten_when_that_is_stored(stopped):
    """The note that records were lost cannot be removed at first: it is tried again."""
    broker = stopped
    broker.configure(broker='  audit-failure = "continue";')
    broker.start()
    broker.import_new("client")
    broker.stop()
    with contextlib.closing(sqlite3.connect(broker.state / "certbroker.sqlite", isolation_level=None)) as store:
        store.execute("CREATE TRIGGER full BEFORE DELETE ON note WHEN OLD.key = 'audit/lost' AND NOT EXISTS"
                      " (SELECT 1 FROM backend WHERE name = 'room') BEGIN SELECT RAISE(ABORT, 'it is full'); END")
    broker.start()
    lose(broker)
    sign(broker)
    mend(broker)
    sign(broker)
    wait_until(lambda: "it is full" in broker.log_text(), "it cannot be removed")
    assert noted(broker).startswith("1 ")
    broker.create_backend("room", "client")
    wait_until(lambda: noted(broker) is None, "it is removed")


def test_what_is_lost_anew_takes_the_place_of_what_was(losing):
    """The log tells of the first already, and nobody counts these twice."""
    broker = losing
    for _ in range(8):
        sign(broker)
    mend(broker)
    sign(broker)
    lose(broker)
    sign(broker)
    wait_until(lambda: noted(broker) and noted(broker).startswith("1 "), "the second is noted")
    broker.kill()
    mend(broker)
    broker.start()
    assert [r["object"].split(" lost")[0] for r in records_of(broker) if r["event"] == "resume"] == ["8", "at least 1"]


def without_last(broker, n):
    """The log as it is where certbrokerd was killed before it wrote so many records."""
    log = broker.state / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-n]))
    return [json.loads(line)["event"] for line in lines[-n:]]


def test_a_crash_between_store_and_log_is_no_older_store(stopped):
    """A change is stored, and then recorded: where only the first was done, the store is ahead, and nobody is alarmed."""
    broker = stopped
    broker.configure(broker='  audit-sync = "60s";')
    broker.start()
    for id in ("client", "ended"):
        broker.import_new(id)
    broker.create_backend("orders", "client")
    broker.certificate(*CHANGE)
    broker.certificate("client", "SetEnabled", "b", True)
    broker.backend("orders", "Delete")
    broker.delete_certificate("ended")
    broker.kill()
    assert without_last(broker, 3) == ["SetEnabled", "Delete", "Delete"]
    broker.start()
    assert not [r for r in records_of(broker) if r["event"] in ("gap", "rollback")], records_of(broker)[-1]
    assert broker.certificate_properties("client")["State"] == "active" and sign(broker)
    assert broker.list_ids() == ["client"] and "store" not in attention(broker)


# sources

def test_a_source_that_certificates_use_and_that_is_not_configured(stopped):
    broker = stopped
    broker.init_token("second")
    both = broker.source() + broker.source("other", "pkcs11:token=second")
    broker.configure(sources=both)
    broker.start()
    broker.wait_source("other", "ready")
    broker.import_new("client")
    for id in ("a", "b"):
        broker.import_new(id, source="other")
    broker.configure()
    broker.manager("Reload")
    check_missing(broker)
    broker.restart()
    check_missing(broker)
    broker.configure(sources=both)
    broker.manager("Reload")
    broker.wait_source("other", "ready")
    wait_until(lambda: broker.certificate_properties("a")["State"] == "active", "active again")
    wait_until(lambda: broker.certificate_properties("b")["LastError"] == "", "no error any more")
    assert sign(broker, "b") and not attention(broker)
    broker.restart()
    assert not [reason for reason in attention(broker).values() if "not configured" in reason]


def check_missing(broker):
    for id in ("a", "b"):
        properties = broker.certificate_properties(id)
        assert properties["State"] == "unavailable" and "'other'" in properties["LastError"]
    assert broker.certificate_properties("client")["State"] == "active" and sign(broker)
    assert "2 certificates use it: a, b" in attention(broker)["source/other"]
    assert "source 'other': it is not configured, and 2 certificates use it" in broker.log_text()
