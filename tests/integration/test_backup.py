# SPDX-License-Identifier: Apache-2.0
"""`certbroker backup`, and the way back that docs/operations.md tells."""

import contextlib
import ctypes
import errno
import json
import os
import sqlite3
import struct
import subprocess
import threading

import pki
import pytest

from broker import CLI, memfd, wait_until
from illdisk import IllDisk


def run(broker, *arguments, status=0):
    done = broker.cli(*[str(a) for a in arguments])
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def backup(broker, file, status=0):
    return run(broker, "backup", file, "--config", broker.config, status=status)


def restore(broker, file):
    """As docs/operations.md says."""
    return run(broker, "restore", file, "--config", broker.config).stdout.decode()


def test_backup_and_restore(broker):
    cert = broker.import_new("client")
    broker.create_backend("orders", "client", url="https://orders.example/", ServerNames=["a.example"])
    before = broker.backend_properties("orders")
    file = broker.folder / "backup.sqlite"
    assert str(file).encode() in backup(broker, file).stdout
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(broker.folder.glob("backup.sqlite?*")), "something was left beside it"
    assert b"PRIVATE KEY" not in file.read_bytes()
    # afterwards everything changes, and is lost with the store
    broker.backend("orders", "Delete")
    broker.delete_certificate("client")
    broker.import_new("later", "rsa-2048")
    broker.kill()
    for path in broker.state.glob("certbroker.sqlite*"):
        path.unlink()
    restore(broker, file)
    broker.start()
    assert broker.list_ids() == ["client"]
    assert broker.backend_properties("orders") == before
    broker.certificate("client", "SetEnabled", "b", True)  # it was deleted since: somebody wants it back
    assert broker.chain("client")[0] == cert.public_bytes(__import__("cryptography").hazmat.primitives
                                                         .serialization.Encoding.DER)
    pki.verify(cert.public_key(), "ecdsa-sha256",
               broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"data")), b"data")
    # the audit log is newer than the store: the chain goes on, and nothing is missing
    assert run(broker, "audit", "verify")


def wait_synced(broker):
    """Until the store knows the end of the log."""
    def is_synced():
        with sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True) as store:
            row = store.execute("SELECT value FROM note WHERE key = 'audit/head'").fetchone()
        return row and int(row[0].split()[0]) == len((broker.state / "audit.jsonl").read_bytes().splitlines())
    wait_until(is_synced, "the store knows the end of the log")


def store_of_yesterday(broker):
    """A backup, then what an administrator may do in a day, and the restore."""
    for id in ("rotated", "disabled", "deleted", "kept", "again"):
        broker.import_new(id)
    for id in ("retired", "same"):
        broker.import_new(id)
        broker.import_new(id, replace=True)
    broker.create_backend("orders", "kept")
    broker.create_backend("gone", "kept")
    file = broker.folder / "backup.sqlite"
    wait_synced(broker)
    backup(broker, file)
    broker.import_new("rotated", replace=True)
    broker.certificate("rotated", "Retire", "t", 1)
    broker.certificate("retired", "Retire", "t", 1)
    broker.certificate("disabled", "SetEnabled", "b", False)
    broker.certificate("kept", "SetEnabled", "b", False)
    broker.certificate("kept", "SetEnabled", "b", True)
    broker.delete_certificate("deleted")
    broker.delete_certificate("again")
    broker.import_new("again")
    broker.certificate("same", "Retire", "t", 1)
    broker.delete_certificate("same")
    broker.import_new("same")
    broker.certificate("same", "SetEnabled", "b", False)
    broker.backend("gone", "Delete")
    broker.import_new("later")
    for _ in range(20):
        broker.sign("kept", "ecdsa-sha256", bytes(32))
    broker.stop()
    told = restore(broker, file)
    broker.start()
    return told


def rollbacks(broker):
    lines = (broker.state / "audit.jsonl").read_bytes().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == "rollback"]


def states(broker):
    return {id: str(broker.certificate_properties(id)["State"]) for id in broker.list_ids()}


WITHHELD = {"rotated": "disabled", "disabled": "disabled", "deleted": "disabled", "kept": "active", "retired": "active",
            "again": "disabled", "same": "disabled"}


def test_an_older_store_brings_nothing_back_that_had_ended(broker, refused):
    """The drill of docs/operations.md: what was retired, disabled or deleted since the backup does not sign, whatever the
    store says, and over restarts, until a person decides."""
    store_of_yesterday(broker)
    for _ in range(2):
        assert states(broker) == WITHHELD
        for id, generation in (("rotated", 0), ("rotated", 1), ("retired", 1), ("disabled", 0), ("deleted", 0),
                               ("again", 0), ("same", 0), ("same", 1)):
            refused("Disabled", broker.sign, id, "ecdsa-sha256", bytes(32), generation)
        assert broker.sign("kept", "ecdsa-sha256", bytes(32)) and broker.sign("retired", "ecdsa-sha256", bytes(32), 2)
        for id, word in (("rotated", "retired"), ("disabled", "disabled"), ("deleted", "deleted"),
                         ("again", "deleted and made anew"), ("same", "deleted and made anew")):
            assert f"in which this was {word} (record " in broker.certificate_properties(id)["LastError"]
        assert "\ncertbroker_withheld_certificates 5\n" in str(broker.manager("GetMetrics"))
        broker.restart()
    assert len(rollbacks(broker)) == 1, "once: from then on the store knows"
    assert broker.cli("audit", "verify").returncode == 0
    # and then somebody decides
    broker.certificate("disabled", "SetEnabled", "b", True)
    broker.delete_certificate("deleted")
    broker.delete_certificate("again")
    broker.import_new("rotated", replace=True)
    broker.certificate("same", "SetEnabled", "b", True)
    assert broker.sign("same", "ecdsa-sha256", bytes(32))
    refused("Disabled", broker.sign, "same", "ecdsa-sha256", bytes(32), 1)  # retired before it was deleted
    assert broker.sign("disabled", "ecdsa-sha256", bytes(32)) and broker.sign("rotated", "ecdsa-sha256", bytes(32))
    refused("Disabled", broker.sign, "rotated", "ecdsa-sha256", bytes(32), 1)
    assert "\ncertbroker_withheld_certificates 0\n" in str(broker.manager("GetMetrics"))


def fill_up(file):
    """Of certbrokerd's own changes, until there is a backend "room", since it notices those of others."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as store:
        store.execute("CREATE TRIGGER full BEFORE INSERT ON certificate WHEN NOT EXISTS"
                      " (SELECT 1 FROM backend WHERE name = 'room') BEGIN SELECT RAISE(ABORT, 'it is full'); END")


def stored_as_withheld(broker):
    with sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True) as store:
        return {row[0] for row in store.execute("SELECT id FROM certificate WHERE withheld IS NOT NULL AND NOT enabled")}


def test_what_is_withheld_is_stored_in_the_end(broker):
    """The store takes no certificate when certbrokerd starts: nothing signs all the same, a crash forgets nothing, and it
    is stored as soon as it can be, but for what somebody has decided by then."""
    broker.import_new("disabled")
    broker.import_new("decided")
    file = broker.folder / "copy"
    wait_synced(broker)
    backup(broker, file)
    for id in ("disabled", "decided"):
        broker.certificate(id, "SetEnabled", "b", False)
    broker.stop()
    fill_up(file)
    restore(broker, file)
    for end in ("kill", None):
        n = broker.log_text().count("not stored yet")
        broker.start()
        assert set(states(broker).values()) == {"disabled"}
        wait_until(lambda n=n: broker.log_text().count("not stored yet") > n, "it is said that it is not stored")
        wait_until(lambda: len(rollbacks(broker)) > 0, "the log is written")
        if end:
            broker.restart()
            broker.kill()
    assert stored_as_withheld(broker) == set()
    broker.create_backend("room", "decided")
    broker.certificate("decided", "SetEnabled", "b", True)
    wait_until(lambda: stored_as_withheld(broker) == {"disabled"}, "it is stored")
    wait_until(lambda: "and that is stored" in broker.log_text(), "and the log says so")
    wait_synced(broker)
    n = len(rollbacks(broker))
    broker.restart()
    assert states(broker) == {"disabled": "disabled", "decided": "active"} and len(rollbacks(broker)) == n


def test_an_older_store_is_said_to_be(broker):
    store_of_yesterday(broker)
    record, = rollbacks(broker)
    assert "withheld: 3 generations retired, 1 certificates disabled and 3 deleted" in record["object"]
    assert "created since and missing: 1 certificates; rotated since: 1; backends that differ: 1" in record["object"], record
    assert "the store is older than the audit log" in broker.log_text()
    reasons = [row["reason"] for row in broker.cli_json("status")["attention"] if row["object"] == "store"]
    assert len(reasons) == 1 and "older than the audit log" in reasons[0]
    broker.manager("Reload")
    assert not [row for row in broker.cli_json("status")["attention"] if row["object"] == "store"]


def test_restore_says_what_it_undoes(broker):
    told = store_of_yesterday(broker)
    lines = [line.split(maxsplit=2)[2] for line in told.splitlines() if line.startswith("20")]
    assert [" ".join(line.split()) for line in lines] == [
        "ImportCertificate certificate/rotated generation 2", "Retire certificate/rotated generation 1 (stays so)",
        "Retire certificate/retired generation 1 (stays so)", "SetEnabled certificate/disabled (stays so)",
        "SetEnabled certificate/kept", "SetEnabled certificate/kept", "Delete certificate/deleted (stays so)",
        "Delete certificate/again (stays so)", "ImportCertificate certificate/again generation 1",
        "Retire certificate/same generation 1 (stays so)", "Delete certificate/same (stays so)",
        "ImportCertificate certificate/same generation 1", "SetEnabled certificate/same", "Delete backend/gone",
        "ImportCertificate certificate/later generation 1"]
    assert "15 changes since" in told and "certbroker.sqlite.replaced" in told
    store = broker.state / "certbroker.sqlite"
    assert store.stat().st_mode & 0o777 == 0o600 and store.stat().st_uid == broker.state.stat().st_uid
    broker.stop()
    assert "certbroker.sqlite.replaced.1" in restore(broker, broker.folder / "backup.sqlite"), "and so is this"
    with sqlite3.connect(f"file:{store}.replaced?mode=ro", uri=True) as before:
        assert ("later",) in before.execute("SELECT id FROM certificate").fetchall(), "what was there is kept"
    with sqlite3.connect(f"file:{store}.replaced.1?mode=ro", uri=True) as before:
        assert ("later",) not in before.execute("SELECT id FROM certificate").fetchall()


def test_restore_that_fails_changes_nothing(broker):
    """What was put aside comes back, whatever of it could be."""
    file = broker.folder / "copy"
    broker.import_new("client")
    backup(broker, file)
    broker.import_new("later")
    broker.kill()  # a write-ahead log is there, which has the latter
    before = sorted(path.name for path in broker.state.iterdir())
    assert "certbroker.sqlite-wal" in before
    disk = IllDisk(broker.folder)
    # the store's three files, and the new one; the latter's data, and then the names
    calls = [("rename", "certbroker.sqlite", nth) for nth in range(1, 5)] + [("sync", "/state", nth) for nth in (1, 2)]
    for operation, path, nth in calls:
        disk.rule(operation, path, errno.EIO, first=nth, times=1)
        done = subprocess.run([str(CLI), "restore", str(file), "--config", str(broker.config)],
                              env=broker.environment(**disk.environment()), capture_output=True, check=False, timeout=60)
        assert disk.n_hit() == 1
        assert done.returncode == 1 and b"cannot be replaced: Input/output error" in done.stderr, done
        assert sorted(path.name for path in broker.state.iterdir()) == before
    disk.close()
    broker.start()
    assert broker.list_ids() == ["client", "later"]


def test_restore_on_a_new_host(broker):
    """certbrokerd has never run there: its state directory is there, and nothing in it."""
    broker.import_new("client")
    file = broker.folder / "copy"
    backup(broker, file)
    broker.stop()
    for path in broker.state.iterdir():
        if path.is_file():
            path.unlink()
    assert "what was there" not in restore(broker, file)
    lock = (broker.state / "lock").stat()
    assert lock.st_mode & 0o7777 == 0o600 and lock.st_uid == broker.state.stat().st_uid
    broker.start()
    assert broker.list_ids() == ["client"]


def test_restore_is_for_a_store_and_while_certbrokerd_is_stopped(broker):
    broker.import_new("client")
    file = broker.folder / "copy"
    wait_synced(broker)
    backup(broker, file)
    done = run(broker, "restore", file, "--config", broker.config, status=5)
    assert b"stop it first" in done.stderr
    broker.stop()
    before = (broker.state / "certbroker.sqlite").read_bytes()
    (broker.folder / "torn").write_bytes(file.read_bytes()[:-4096])
    (broker.folder / "text").write_text("no store" * 100)
    for name, status in (("torn", 1), ("text", 1), ("nowhere", 3)):
        run(broker, "restore", broker.folder / name, "--config", broker.config, status=status)
    with open(broker.folder / "large", "wb") as large:
        large.truncate((1 << 30) + 1)
    assert b"too large" in run(broker, "restore", broker.folder / "large", "--config", broker.config, status=1).stderr
    run(broker, "restore", file, "--state-directory", broker.folder / "nowhere", status=3)
    (broker.folder / "open").mkdir()
    (broker.folder / "open").chmod(0o755)
    run(broker, "restore", file, "--state-directory", broker.folder / "open", status=3)
    assert not list((broker.folder / "open").iterdir())
    assert (broker.state / "certbroker.sqlite").read_bytes() == before
    assert b"Nothing has changed" in run(broker, "restore", file, "--config", broker.config).stdout
    broker.start()
    assert broker.list_ids() == ["client"]


def test_restore_takes_no_copy_that_others_could_change(broker, root):
    """Root's word puts it in place of the store: it is root's or the daemon's user's, as the configuration is."""
    broker.import_new("client")
    folder = broker.folder / "copies"
    folder.mkdir()
    file = folder / "copy"
    backup(broker, file)
    broker.stop()
    before = (broker.state / "certbroker.sqlite").stat().st_ino

    def refuse(remedy):
        done = run(broker, "restore", file, "--config", broker.config, status=1)
        assert b"Others could have changed" in done.stderr and remedy in done.stderr, done.stderr
        assert (broker.state / "certbroker.sqlite").stat().st_ino == before

    file.chmod(0o620)
    refuse(f"chmod go-w {file}".encode())
    file.chmod(0o600)
    folder.chmod(0o777)
    refuse(f"chmod go-w {folder}".encode())
    folder.chmod(0o1777)
    os.chown(file, 65534, 65534)
    refuse(f"chown root {file}".encode())
    os.chown(file, 0, 0)
    assert "certbroker.sqlite.replaced" in restore(broker, file)  # a folder like /tmp is no obstacle


def test_restore_asks_on_a_terminal(broker):
    broker.import_new("client")
    file = broker.folder / "copy"
    backup(broker, file)
    broker.stop()
    before = (broker.state / "certbroker.sqlite").stat().st_ino
    for answer, options, status in ((b"no\n", (), 1), (b"", ("--yes",), 0)):
        master, slave = os.openpty()
        os.write(master, answer)
        done = subprocess.run([str(CLI), "restore", str(file), "--config", str(broker.config), *options], stdin=slave,
                              env=broker.environment(), capture_output=True, check=False, timeout=60)
        os.close(slave)
        os.close(master)
        assert done.returncode == status and (b"Type yes" in done.stdout) == (not options), done
        assert ((broker.state / "certbroker.sqlite").stat().st_ino == before) == (status != 0)


def test_a_crash_is_no_older_store(broker):
    """Behind the log by what was not synced yet, but not by a change."""
    for i in range(5):
        broker.import_new(f"c{i}")
        broker.import_new(f"c{i}", replace=True)
        broker.certificate(f"c{i}", "Retire", "t", 1)
        broker.certificate(f"c{i}", "SetEnabled", "b", False)
        broker.certificate(f"c{i}", "SetEnabled", "b", i % 2 == 0)
        if i == 3:
            broker.delete_certificate("c3")
        broker.kill()
        broker.start()
        assert not rollbacks(broker)
    assert states(broker) == {"c0": "active", "c1": "disabled", "c2": "active", "c4": "active"}


def test_a_crash_after_something_was_made_anew(stopped):
    """The store knows of that deletion, though not of the end of the log: what is there is the new one."""
    broker = stopped
    broker.configure(broker='  audit-sync = "60s";')
    broker.start()
    broker.import_new("same")
    broker.create_backend("orders", "same")
    broker.backend("orders", "Delete")
    broker.delete_certificate("same")
    broker.import_new("same")
    broker.create_backend("orders", "same")
    broker.kill()
    with sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True) as store:
        assert not store.execute("SELECT value FROM note WHERE key = 'audit/head'").fetchone(), "it is behind"
    broker.start()
    assert not rollbacks(broker) and states(broker) == {"same": "active"}


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_store_that_was_lost(broker, how):
    """certbrokerd comes up with nothing, and says so: the log tells of more."""
    broker.import_new("client")
    broker.stop()
    for path in broker.state.glob("certbroker.sqlite*"):
        path.unlink()
    if how == "empty":
        (broker.state / "certbroker.sqlite").touch(0o600)
    broker.start()
    assert broker.list_ids() == []
    record, = rollbacks(broker)
    assert "there was no store" in record["object"] and record["object"].startswith("store as of record 0;")
    assert "there was no store" in broker.log_text()
    assert "there was no store" in next(row["reason"] for row in broker.cli_json("status")["attention"]
                                        if row["object"] == "store")
    broker.restart()
    assert len(rollbacks(broker)) == 1


def test_a_first_start_is_no_lost_store(broker):
    broker.restart()
    assert not rollbacks(broker)


def test_backup_while_everything_changes(broker):
    """Each copy opens, is whole, and holds one state: every generation has its certificate."""
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    stop = threading.Event()

    def change():
        connection = broker.connect()
        i = 0
        while not stop.is_set():
            broker.import_fds(f"c{i}", memfd(bundle), memfd(b"secret"), connection=connection)
            i += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for i in range(8):
            file = broker.folder / f"copy-{i}"
            backup(broker, file)
            with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as copy:
                assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
                assert copy.execute("SELECT count(*) FROM certificate LEFT JOIN generation"
                                    " ON certificate = id WHERE number IS NULL").fetchone() == (0,)
    finally:
        stop.set()
        thread.join()
    assert broker.list_ids(), "the daemon went on meanwhile"


def test_backup_without_a_daemon(broker):
    broker.import_new("client")
    broker.kill()  # with a write-ahead log left behind
    file = broker.folder / "copy"
    run(broker, "backup", file, "--state-directory", broker.state)
    with sqlite3.connect(file) as copy:
        assert copy.execute("SELECT id FROM certificate").fetchall() == [("client",)]


def test_backup_replaces_a_file_whole_or_not_at_all(broker):
    file = broker.folder / "copy"
    file.write_text("what was there")
    run(broker, "backup", file, "--state-directory", broker.folder / "nowhere", status=3)
    run(broker, "backup", broker.folder / "no/such/folder", "--config", broker.config, status=1)
    run(broker, "backup", file, "--config", "/nonexistent", status=1)
    run(broker, "backup", status=2)
    assert file.read_text() == "what was there"
    foreign = broker.folder / "foreign"
    foreign.mkdir()
    with sqlite3.connect(foreign / "certbroker.sqlite") as other:
        other.execute("CREATE TABLE x (y)")
    run(broker, "backup", file, "--state-directory", foreign, status=1)
    assert file.read_text() == "what was there"
    assert sorted(p.name for p in broker.folder.glob("copy*")) == ["copy"]
    backup(broker, file)
    assert file.read_bytes().startswith(b"SQLite format 3\0")


def own_places(broker, folder):
    """Every way to name a file of certbrokerd's, or a place beside one."""
    state, log = broker.state, broker.folder / "log"
    link, hard, way = folder / "link", folder / "hard", folder / "way"
    link.symlink_to(state / "certbroker.sqlite")
    os.link(state / "certbroker.sqlite", hard)
    os.link(log / "audit.jsonl", folder / "hard-log")
    way.symlink_to(state)
    return [*(state / f"certbroker.sqlite{suffix}" for suffix in ("", "-wal", "-shm", "-journal")), state / "new",
            state / "lock", state / ".." / state.name / "certbroker.sqlite", way / "certbroker.sqlite", way / "new",
            link, hard, log / "audit.jsonl", log / "audit.jsonl.1", log / "audit.jsonl.7", folder / "hard-log"]


def test_backup_never_takes_the_place_of_what_the_daemon_has_open(stopped):
    """Onto the store, what is beside it and the log, by whatever name: refused, and the daemon goes on as before. The
    same holds for what any other verb writes."""
    broker = stopped
    (broker.folder / "log").mkdir(mode=0o700)
    broker.configure(broker=f'  audit-log = "{broker.folder}/log/audit.jsonl";\n  audit-max-size = "2KiB";')
    broker.start()
    broker.import_new("client")
    for _ in range(10):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    folder = broker.folder / "elsewhere"
    folder.mkdir()
    places = own_places(broker, folder)
    before = {path: (path.stat().st_ino if path.exists() else None) for path in places}
    for path in places:
        done = backup(broker, path, status=2)
        assert str(path).encode() in done.stderr and b"another directory" in done.stderr, path
    assert {path: (path.stat().st_ino if path.exists() else None) for path in places} == before
    for path in (broker.state / "certbroker.sqlite", broker.state / "new", folder / "way/new",
                 broker.folder / "log/audit.jsonl", folder / "link"):
        done = run(broker, "certificate", "chain", "client", "-o", path, status=1)
        assert b"another directory" in done.stderr, path
    assert {path: (path.stat().st_ino if path.exists() else None) for path in places} == before
    for _ in range(2):
        backup(broker, folder / "certbroker.sqlite")  # a copy is replaced by the next, whatever it is called
    broker.restart()
    assert broker.list_ids() == ["client"]


def test_backup_is_for_those_who_may_read_the_store(broker, root):
    """The state directory is its owner's: another user is told so, and gets nothing."""
    broker.folder.chmod(0o755)
    out = broker.folder / "everyone"
    out.mkdir()
    out.chmod(0o777)
    done = subprocess.run(
        ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", str(CLI), "--bus", broker.bus_address,
         "backup", str(out / "copy"), "--state-directory", str(broker.state)],
        env=broker.environment(), capture_output=True, check=False, timeout=60, cwd="/")
    assert done.returncode == 4 and b"cannot be read" in done.stderr, done.stderr
    assert os.listdir(out) == []


IN_OPEN, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE = 0x20, 0x40, 0x80, 0x100
EVENTS = {IN_OPEN: "open", IN_MOVED_FROM: "from", IN_MOVED_TO: "to", IN_CREATE: "create"}


def test_backup_opens_nothing_twice(broker):
    """In a folder of others they can put a link in place of each file that is seen there, or a log of SQLite's beside
    it: so none is opened again by its name."""
    shared = broker.folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    broker.import_new("client")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(shared), sum(EVENTS)) >= 0
    backup(broker, shared / "copy")
    data, seen = os.read(fd, 65536), []
    os.close(fd)
    while data:
        _, mask, _, n = struct.unpack("iIII", data[:16])
        name = data[16:16 + n].rstrip(b"\0").decode()
        seen += [(EVENTS[bit], name.startswith(".copy.") and len(name) == 12 or name) for bit in EVENTS if mask & bit]
        data = data[16 + n:]
    of_files = [event for event in seen if event[1]]
    assert of_files == [("create", True), ("open", True), ("from", True), ("to", "copy")], seen
    with sqlite3.connect(f"file:{shared}/copy?mode=ro&immutable=1", uri=True) as copy:
        assert copy.execute("SELECT id FROM certificate").fetchall() == [("client",)]


def test_policy_list(stopped):
    me = __import__("pwd").getpwuid(os.getuid()).pw_name
    stopped.configure(grants=f'''
      everything = {{ user = "{me}"; allow = [ "manage", "use", "audit" ]; certificate = "*"; backend = "*";
                    source = "*"; }};
      narrow = {{ user = "www-data"; group = "www-data"; unit = "nginx.service"; allow = "tls";
                  certificate = [ "orders-*", "x" ]; backend = "orders*"; algorithm = "ecdsa-sha256";
                  rate = "500/s"; burst = 1000; }};\n''')
    stopped.start()
    grants = {g["name"]: g for g in stopped.cli_json("policy", "list", "--config", str(stopped.config))}
    assert grants["everything"]["allow"] == ["use", "manage", "audit"]
    assert grants["everything"]["source"] == ["*"]
    narrow = grants["narrow"]
    assert (narrow["user"], narrow["group"], narrow["unit"]) == ("www-data", "www-data", "nginx.service")
    assert (narrow["allow"], narrow["certificate"], narrow["backend"]) == (["tls"], ["orders-*", "x"], ["orders*"])
    assert (narrow["algorithm"], narrow["rate"], narrow["burst"]) == (["ecdsa-sha256"], 500, 1000)
    text = run(stopped, "policy", "list", "--config", stopped.config).stdout.decode()
    for word in ("narrow", "user www-data", "unit nginx.service", "tls", "orders-* x", "ecdsa-sha256", "500/s"):
        assert word in text, text
    stopped.config.write_text(stopped.config.read_text() + "nonsense = 1;\n")
    done = run(stopped, "policy", "list", "--config", stopped.config, status=1)
    assert f"{stopped.config}:".encode() in done.stderr, "where it is wrong"
