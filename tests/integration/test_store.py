# SPDX-License-Identifier: Apache-2.0
"""What survives: kill -9 at any moment, a start without a token, a damaged store."""

import os
import shutil
import signal
import stat
import threading
import time

import pki
import pytest

from broker import NAME, PATIENCE, Failure, wait_until


def everything(broker):
    rows = {str(i): dict(broker.certificate_properties(i)) for i in broker.list_ids()}
    for row in rows.values():
        row.pop("LastRefresh")  # looked up again at each start
    return rows, {i: broker.chain(i) for i in rows}


def test_kill_and_restart(broker):
    """All that was answered is there afterwards."""
    ca = pki.Issuer()
    broker.import_new("rsa", "rsa-2048", issuer=ca, sans=("a.example",))
    broker.import_new("ec", "ec-p256")
    broker.import_new("ec", "ec-p384", replace=True)
    broker.certificate("rsa", "SetEnabled", "b", False)
    broker.create_backend("orders", "ec", "https://orders.example/")
    before, backend = everything(broker), dict(broker.backend_properties("orders"))
    broker.kill()
    broker.start()
    assert everything(broker) == before
    assert dict(broker.backend_properties("orders")) == backend
    for generation, key_type in ((1, "ec-p256"), (2, "ec-p384"), (0, "ec-p384")):
        signature = broker.sign("ec", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"), generation)
        pki.verify(pki.key(key_type).public_key(), "ecdsa-sha256", signature, b"m")


def test_kill_while_writing(broker):
    """kill -9 in the middle of changes, again and again: what was answered is there, and nothing is half there."""
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    answered, n = set(), 0
    for round in range(6):
        stop = time.monotonic() + (0.3 + 0.2 * round) * PATIENCE
        killer = threading.Timer(stop - time.monotonic(), lambda: broker.daemon.send_signal(signal.SIGKILL))
        killer.start()
        while True:
            n += 1
            try:
                broker.import_bundle(f"client-{n}", bundle, b"secret")
                answered.add(f"client-{n}")
                broker.create_backend(f"backend-{n}", f"client-{n}")
            except Failure:
                break
        killer.join()
        broker.daemon.wait()
        broker.start()
        ids = set(broker.list_ids())
        assert answered <= ids
        assert len(ids) <= len(answered) + 1 + round
        for id in ids:
            broker.sign(id, "ecdsa-sha256", bytes(32))
    assert len(answered) > 5


def test_state_directory_is_private(broker):
    assert stat.S_IMODE(os.stat(broker.state).st_mode) == 0o700


def test_start_without_a_token(broker, refused):
    """Everything is answered but signatures."""
    cert = broker.import_new("client", "rsa-2048", issuer=pki.Issuer())
    broker.create_backend("orders", "client")
    chain = broker.chain("client")
    broker.stop()
    broker.tokens.rename(broker.folder / "gone")
    broker.tokens.mkdir()
    broker.start(ready=None)
    credential = broker.backend("orders", "GetCredential")
    assert credential["thumbprint"] == pki.thumbprint(cert)
    assert broker.chain("client") == chain
    assert broker.certificate_properties("client")["Subject"] == "CN=client.example"
    assert broker.list_ids() == ["client"]
    began = time.monotonic()
    refused("SourceUnavailable", broker.sign, "client", "rsa-pss-sha256", bytes(32))
    assert time.monotonic() - began < 5
    assert broker.source_properties("hsm")["State"] != "ready"
    broker.tokens.rmdir()
    (broker.folder / "gone").rename(broker.tokens)
    broker.wait_source("hsm", "ready")
    broker.sign("client", "rsa-pss-sha256", bytes(32))


def test_start_does_not_wait_for_sources(stopped):
    """A module that cannot be loaded, or a PIN that is not there, delays nothing."""
    stopped.configure(sources=stopped.source("broken", module='"/nonexistent/module.so"')
                      + stopped.source("stuck", **{"pin-file": f'"{stopped.etc}/none"'}) + stopped.source())
    began = time.monotonic()
    stopped.start("hsm")
    assert time.monotonic() - began < 5
    stopped.wait_source("broken", "unavailable")
    assert stopped.source_properties("broken")["LastError"]
    assert stopped.source_properties("stuck")["State"] != "ready"
    stopped.import_new("client")


def test_store_that_is_no_database(broker):
    """Not overwritten: the daemon says what is wrong, and leaves it to a person."""
    broker.import_new("client")
    broker.stop()
    [store] = [p for p in broker.state.iterdir() if p.suffix == ".sqlite"]
    shutil.copy(store, broker.folder / "good")
    for leftover in broker.state.glob("*.sqlite-*"):
        leftover.unlink()
    store.write_bytes(b"this is not a database, but it may be somebody's\n" * 100)
    damaged = store.read_bytes()
    daemon = broker.spawn()
    assert daemon.wait(10) == 70
    assert store.read_bytes() == damaged
    assert str(store) in broker.log_text()
    shutil.copy(broker.folder / "good", store)
    broker.start()
    assert broker.list_ids() == ["client"]


def test_store_of_a_newer_schema(broker):
    import sqlite3
    broker.import_new("client")
    broker.stop()
    [store] = broker.state.glob("*.sqlite")
    with sqlite3.connect(store) as database:
        [(version,)] = database.execute("PRAGMA user_version").fetchall()
        database.execute("PRAGMA user_version = 9999")
    daemon = broker.spawn()
    assert daemon.wait(10) == 70
    assert "9999" in broker.log_text()
    with sqlite3.connect(store) as database:
        assert database.execute("PRAGMA user_version").fetchall() == [(9999,)]
        database.execute(f"PRAGMA user_version = {version}")
    broker.start()
    assert broker.list_ids() == ["client"]


def test_second_daemon(broker):
    """The name is had by one: the second ends with 69, and the first is not disturbed; nor may anybody take it."""
    assert broker.connection.request_name(NAME, 2 | 4) == 3  # replacing who has it, not queued: somebody has it
    daemon = broker.spawn()
    assert daemon.wait(10) == 69
    broker.import_new("client")
    assert broker.connection.name_has_owner(NAME)


def test_nothing_secret_in_the_store(broker):
    key = pki.key("rsa-2048")
    broker.import_bundle("client", pki.p12(key, pki.certificate(key), passphrase=b"canary-passphrase"),
                         b"canary-passphrase")
    prime = key.private_numbers().p.to_bytes(128, "big")
    broker.stop()
    for file in broker.state.iterdir():
        if file.is_file():
            data = file.read_bytes()
            assert prime not in data and b"canary" not in data


def test_nothing_secret_in_the_daemon(broker, root):
    """The PIN, the passphrase and the key are in the source's process at most: certbrokerd's memory has none."""
    broker.stop()
    pin = "83641975502"
    broker.init_token("other", pin)
    broker.pin_file.write_text(pin)
    broker.configure(sources=broker.source(uri="pkcs11:token=other"))
    broker.start()
    key = pki.new_key("rsa-2048")
    broker.import_bundle("client", pki.p12(key, pki.certificate(key), passphrase=b"canary-passphrase"),
                         b"canary-passphrase")
    broker.sign("client", "rsa-pss-sha256", bytes(32))
    needles = [pin.encode(), b"canary-passphrase", key.private_numbers().p.to_bytes(128, "big"),
               key.private_numbers().p.to_bytes(128, "little")]
    wait_until(lambda: broker.certificate_properties("client")["State"] == "active", "active")
    with open(f"/proc/{broker.daemon.pid}/maps") as maps, open(f"/proc/{broker.daemon.pid}/mem", "rb") as memory:
        scanned = 0
        for line in maps:
            bounds, mode = line.split()[:2]
            start, end = (int(x, 16) for x in bounds.split("-"))
            if not mode.startswith("rw") or end - start > 1 << 30:
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, ValueError):
                continue
            scanned += len(data)
            for needle in needles:
                assert needle not in data, line
    assert scanned > 1 << 16
