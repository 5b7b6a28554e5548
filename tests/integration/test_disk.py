# SPDX-License-Identifier: Apache-2.0
"""A disk that fails in one call or in all, is read-only or full, or does not answer: what is refused is refused with the
file and the system's own word, what was answered is there after a restart, and it goes on when the disk does."""

import concurrent.futures
import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess

import pytest

import pki
from broker import Failure, backend_path, wait_until
from illdisk import IllDisk

ERRORS = (errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
DIGEST = pki.digest("ecdsa-sha256", b"data")

# operation, part of a path, which calls of it within a change and a signature
CALLS = (
    ("write", "certbroker.sqlite-wal", (1, 2, 3)),
    ("sync", "certbroker.sqlite-wal", (1,)),
    ("write", "audit.jsonl", (1, 2)),
    ("sync", "audit.jsonl", (1, 2)),
    ("open", "audit.jsonl", (1,)),
    ("rename", "audit.jsonl", (1, 2, 5)),
    ("sync", "/state", (4,)),
)


def start_on(broker, disk, settings):
    broker.extra_environment = disk.environment() if disk else {}
    broker.configure(broker=settings)
    broker.start()
    broker.import_new("client")
    broker.create_backend("orders", "client")


@pytest.fixture
def disk(stopped):
    """The disk of a broker that runs; its log is renamed every few records."""
    disk = IllDisk(stopped.folder)
    start_on(stopped, disk, '  audit-sync = "always"; audit-max-size = "4KiB";')
    yield disk
    disk.close()


def outcome(function, *arguments):
    try:
        function(*arguments)
        return None
    except Failure as failure:
        assert failure.name == "Failed", failure
        return failure.message


def set_url(broker, url):
    return outcome(broker.set, backend_path("orders"), "Backend", "Url", url)


def sign(broker):
    return outcome(broker.sign, "client", "ecdsa-sha256", DIGEST)


def stored_url(broker):
    """What a start would find after a kill."""
    copy = broker.folder / "copy"
    copy.mkdir(exist_ok=True)
    for suffix in ("", "-wal"):
        shutil.copy(broker.state / f"certbroker.sqlite{suffix}", copy)
    with contextlib.closing(sqlite3.connect(copy / "certbroker.sqlite")) as store:
        return store.execute("SELECT url FROM backend WHERE name = 'orders'").fetchone()[0]


def check_message(message, broker, error):
    assert str(broker.state) in message and os.strerror(error) in message, message


class Changes:
    """Changes and signatures, one after the other, and what of them is in force."""

    def __init__(self, broker):
        self.broker = broker
        self.n = 0
        self.url = str(broker.backend_properties("orders")["Url"])

    def make(self):
        """The outcomes of both, and the address that was to be."""
        self.n += 1
        url = f"https://host-{self.n}.example/"
        return set_url(self.broker, url), sign(self.broker), url

    def settle(self, refused, url):
        """What was refused is not in force; unless it was only not recorded, which the message says."""
        if not refused or "may have been made all the same" in refused:
            self.url = url
        assert str(self.broker.backend_properties("orders")["Url"]) == self.url
        assert stored_url(self.broker) == self.url, (refused, self.url)

    def are_well(self):
        refused, unsigned, url = self.make()
        self.settle(refused, url)
        return not refused and not unsigned


def test_each_call_that_fails(stopped, disk):
    """One at a time: each is felt, told as it is, and over with the next change."""
    changes = Changes(stopped)
    for operation, path, numbers in CALLS:
        n_hit = 0
        for error in ERRORS:
            for nth in numbers:
                disk.rule(operation, path, error, first=nth, times=1)
                refused, unsigned, url = changes.make()
                n_hit += disk.n_hit()
                for message in filter(None, (refused, unsigned)):
                    check_message(message, stopped, error)
                changes.settle(refused, url)
                disk.well()
                wait_until(changes.are_well, f"well after {operation} of {path}")
        assert n_hit > 0, (operation, path)
    stopped.kill()
    stopped.start()
    assert str(stopped.backend_properties("orders")["Url"]) == changes.url
    assert stopped.cli("audit", "verify").returncode == 0


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO])
def test_a_disk_that_fails_in_each_call(stopped, disk, error):
    """Nothing is changed or signed, all that is only looked at is answered, and it gets well by itself."""
    changes = Changes(stopped)
    for place, operation in enumerate(("write", "sync", "truncate", "rename", "unlink", "mkdir")):
        disk.rule(operation, "/state", error, place=place)
    for _ in range(3):
        refused, unsigned, url = changes.make()
        check_message(refused, stopped, error)
        check_message(unsigned, stopped, error)
    assert str(stopped.backend_properties("orders")["Url"]) == changes.url == stored_url(stopped)
    assert stopped.list_ids() == ["client"]
    attention = {entry["object"]: entry["reason"] for entry in stopped.cli_json("status")["attention"]}
    assert os.strerror(error) in attention["audit log"]
    disk.well()
    wait_until(changes.are_well, "well")
    stopped.kill()
    stopped.start()
    assert str(stopped.backend_properties("orders")["Url"]) == changes.url
    assert stopped.cli("audit", "verify").returncode == 0


def test_a_store_that_fails_and_a_log_that_does_not(stopped, disk):
    """Changes are refused, signatures are made."""
    changes = Changes(stopped)
    disk.rule("sync", "certbroker.sqlite", errno.EIO)
    for _ in range(3):
        refused, unsigned, url = changes.make()
        check_message(refused, stopped, errno.EIO)
        assert not unsigned
        changes.settle(refused, url)
    assert "Input/output error" in str(stopped.cli_json("status")["attention"])
    disk.well()
    assert changes.are_well()


def test_half_a_line(stopped, disk):
    """As of a disk that gets full within it: each number of bytes is taken back, and the chain holds."""
    changes = Changes(stopped)
    for n_short in (1, 100, 150):
        disk.rule("write", "audit.jsonl", first=1, times=1, n_short=n_short)
        disk.rule("write", "audit.jsonl", errno.ENOSPC, first=2, times=1, place=1)
        refused, _, url = changes.make()
        assert disk.n_hit() == disk.n_hit(1) == 1
        check_message(refused, stopped, errno.ENOSPC)
        changes.settle(refused, url)
        disk.well()
        wait_until(changes.are_well, "well")
    # that all of it comes in two parts is no failure
    disk.rule("write", "audit.jsonl", first=1, times=1, n_short=10)
    refused, unsigned, url = changes.make()
    assert disk.n_hit() == 1 and not refused and not unsigned
    changes.settle(refused, url)
    assert stopped.cli("audit", "verify").returncode == 0


def test_a_start_on_a_disk_that_fails(stopped, disk):
    """Refused, with the file and the reason, or as ever; what is there stays as it is."""
    stopped.stop()
    n_refused = 0
    for operation, path in (("open", "certbroker.sqlite"), ("write", "certbroker.sqlite"), ("sync", "/state"),
                            ("open", "audit.jsonl"), ("open", "lock")):
        for nth in (1, 2):
            before = len(stopped.log_text())
            disk.rule(operation, path, errno.EIO, first=nth, times=1)
            try:
                stopped.start(ready=None)
            except AssertionError:
                said = stopped.log_text()[before:]
                assert stopped.daemon.wait(10) == 70
                assert str(stopped.state) in said and "Input/output error" in said, (operation, path, said)
                n_refused += disk.n_hit()
                stopped.daemon = None
            disk.well()
            if stopped.daemon:
                stopped.stop()
    assert n_refused >= 5
    stopped.start()
    assert stopped.list_ids() == ["client"] and not sign(stopped)
    assert stopped.cli("audit", "verify").returncode == 0


def test_the_record_of_pins(stopped):
    """A try that cannot be written down is not made, and is when it can; that one's end cannot be written locks nobody out."""
    disk = IllDisk(stopped.folder)
    stopped.extra_environment = disk.environment()
    for operation, path, nth in (("write", "pin-refused", 1), ("sync", "source-hsm", 2)):  # 2: of the folder
        disk.rule(operation, path, errno.EROFS, first=nth)
        stopped.start(ready=None)
        stopped.wait_source("hsm", "unavailable")
        said = str(stopped.source_properties()["LastError"])
        assert "pin-refused" in said and os.strerror(errno.EROFS) in said
        disk.well()
        stopped.wait_source("hsm", "ready")
        stopped.stop()
    disk.rule("unlink", "pin-refused", errno.EIO)
    for _ in range(3):
        stopped.start()
        stopped.stop()
    assert disk.n_hit() >= 3
    disk.rule("open", "pin-refused.new", errno.EIO, first=2, place=1)
    stopped.start()
    assert disk.n_hit(1) == 1
    disk.well()
    stopped.tokens.rename(stopped.folder / "away")
    stopped.wait_source("hsm", "unavailable")
    (stopped.folder / "away").rename(stopped.tokens)
    stopped.wait_source("hsm", "ready")
    disk.close()


# a disk that does not answer

def attention(broker):
    return {entry["object"]: entry["reason"] for entry in broker.cli_json("status")["attention"]}


class Waiting:
    """Calls that are not answered yet, each on a connection of its own."""

    def __init__(self, broker, pool):
        self.broker, self.pool, self.calls = broker, pool, []

    def set_url(self, url):
        self.call(self.broker.set, backend_path("orders"), "Backend", "Url", url)

    def sign(self):
        self.call(self.broker.sign, "client", "ecdsa-sha256", DIGEST)

    def call(self, function, *arguments):
        self.calls.append(self.pool.submit(function, *arguments, connection=self.broker.connect()))

    def end(self):
        for call in self.calls:
            call.result()
        self.calls = []


def check_is_answered(broker, waiting):
    """All that changes nothing and leaves no record."""
    assert broker.list_ids() == ["client"] and broker.source_properties("hsm")["State"] == "ready"
    assert broker.backend_properties("orders")["Url"]
    assert broker.cli("status").returncode in (0, 1) and broker.cli("metrics").returncode == 0
    assert not any(call.done() for call in waiting.calls)


def test_a_disk_that_does_not_answer(stopped):
    """Changes wait for it; with audit-sync = "always" signatures, too; all else is answered, and somebody is told."""
    disk = IllDisk(stopped.folder)
    start_on(stopped, disk, "")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = Waiting(stopped, pool)
        disk.rule("sync", "/state", hangs=True)
        waiting.set_url("https://late.example/")
        wait_until(lambda: disk.n_hit() > 0, "it hangs")
        for _ in range(20):
            assert not sign(stopped)
        assert "has not answered for" in wait_until(lambda: attention(stopped).get("disk"), "somebody is told")
        check_is_answered(stopped, waiting)
        disk.well()
        waiting.end()
        assert "disk" not in attention(stopped)

        stopped.configure(broker='  audit-sync = "always";')
        stopped.manager("Reload")
        disk.rule("sync", "/state", hangs=True)
        waiting.set_url("https://later.example/")
        waiting.sign()
        wait_until(lambda: disk.n_hit() > 0, "it hangs")
        check_is_answered(stopped, waiting)
        disk.well()
        waiting.end()
    stopped.kill()
    stopped.start()
    assert stopped.backend_properties("orders")["Url"] == "https://later.example/"
    assert stopped.cli("audit", "verify").returncode == 0
    disk.close()


def test_a_file_system_that_takes_no_write(stopped):
    """Not even into memory: then all stands still, and goes on from there."""
    disk = IllDisk(stopped.folder)
    start_on(stopped, disk, "")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = Waiting(stopped, pool)
        disk.rule("write", "audit.jsonl", hangs=True)
        waiting.sign()
        wait_until(lambda: disk.n_hit() > 0, "it hangs")
        waiting.set_url("https://late.example/")
        assert not any(call.done() for call in waiting.calls)
        disk.well()
        waiting.end()
    assert stopped.backend_properties("orders")["Url"] == "https://late.example/"
    assert stopped.cli("audit", "verify").returncode == 0
    disk.close()


# a file system of its own

@contextlib.contextmanager
def mounted(image, place):
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_real_file_system(stopped, root):
    """ext4, full to the last block and then well; read-only by an error of its own, and mounted anew."""
    image = stopped.folder / "image"
    with open(image, "wb") as file:
        file.truncate(24 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    with mounted(image, stopped.state):
        stopped.state.chmod(0o700)
        start_on(stopped, None, '  audit-sync = "always";')
        changes = Changes(stopped)
        fill(stopped.state / "filler")
        refused, unsigned = until_refused(changes)
        for message in (refused, unsigned):
            check_message(message, stopped, errno.ENOSPC)
        assert str(stopped.backend_properties("orders")["Url"]) == changes.url
        (stopped.state / "filler").unlink()
        wait_until(changes.are_well, "well")

        subprocess.run(["mount", "-o", "remount,abort", str(stopped.state)], check=True)
        refused, unsigned, url = changes.make()
        for message in (refused, unsigned):
            assert str(stopped.state) in message
            assert os.strerror(errno.EROFS) in message or os.strerror(errno.EIO) in message, message
        assert str(stopped.backend_properties("orders")["Url"]) == changes.url
        assert attention(stopped)["audit log"]
        stopped.kill()
    subprocess.run(["fsck.ext4", "-p", str(image)], check=False, stdout=subprocess.DEVNULL)
    with mounted(image, stopped.state):
        stopped.start()
        assert str(stopped.backend_properties("orders")["Url"]) == changes.url
        assert changes.are_well()
        assert stopped.cli("audit", "verify").returncode == 0
        stopped.stop()


def fill(path):
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def until_refused(changes):
    """A block that is there already may have room for a while."""
    for _ in range(100):
        refused, unsigned, url = changes.make()
        if refused and unsigned:
            return refused, unsigned
        if not refused:
            changes.url = url
    raise AssertionError("never full")
