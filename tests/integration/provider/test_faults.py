# SPDX-License-Identifier: Apache-2.0
"""A broker that is away, hangs, is slow, refuses, or answers nonsense."""

import time

import pytest

from conftest import PATIENCE


def sign(fake, key="ec"):
    """openssl dgst: (exit status, output, seconds)."""
    begin = time.monotonic()
    done = fake.openssl("dgst", "-sha256", "-sign", f"{key}.key", "-out", "signature", "message", check=False)
    return done.returncode, done.stdout, time.monotonic() - begin


def own_time(fake):
    """What openssl takes for itself: from exec to exit, with the key loaded."""
    begin = time.monotonic()
    fake.openssl("pkey", "-in", "ec.key", "-pubout", "-out", "public")
    return time.monotonic() - begin


def fails(fake, *words, key="ec", within=0.25):
    spent = own_time(fake)
    status, output, took = sign(fake, key)
    assert status != 0, output
    for word in words:
        assert word in output
    assert took < (within + spent + 0.05) * PATIENCE, f"{took} s; openssl's own {spent} s"


def test_daemon_away(fake):
    fake.stop()
    fails(fake, "certbrokerd cannot be reached", "certbrokerd is not running")


def test_bus_away(fake):
    fake.surroundings.stop_bus()
    fails(fake, "certbrokerd cannot be reached")


def test_daemon_back_again(fake):
    fake.stop()
    fails(fake, "certbrokerd cannot be reached")
    fake.start()
    status, output, _ = sign(fake)
    assert status == 0, output


def test_daemon_stopped(fake):
    """It has its name and takes no messages: it has as long as for any answer."""
    fake.pause()
    fails(fake, "no answer in time", within=5.25)
    fake.resume()
    status, output, _ = sign(fake)
    assert status == 0, output


def test_daemon_hangs_over_a_signature(fake):
    fake.fault("hang")
    status, output, took = sign(fake)
    assert status != 0
    assert "no answer in time" in output
    assert 4.5 < took < 7 * PATIENCE
    fake.fault()
    status, output, _ = sign(fake)
    assert status == 0, output


def test_slow_signature_is_waited_for(fake):
    fake.fault("slow 1.5")
    status, output, took = sign(fake)
    assert status == 0, output
    assert took > 1.5


def test_refusal_is_told_in_the_brokers_words(fake):
    fake.fault("deny")
    fails(fake, "access denied by certbrokerd", "You may not sign with certificate ec; ask for a grant.")


@pytest.mark.parametrize("fault", ["short", "long"])
def test_signature_of_a_wrong_length(fake, fault):
    fake.fault(fault)
    status, output, _ = sign(fake, "rsa")
    assert status != 0
    assert "signature" in output.lower()


def test_signature_of_something_else_does_not_verify(fake):
    fake.fault("garbage")
    status, output, _ = sign(fake)
    assert status == 0, output
    fake.openssl("pkey", "-in", "ec.key", "-pubout", "-out", "public")
    done = fake.judge("dgst", "-sha256", "-verify", "public", "-signature", "signature", "message", check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("address", ["nonsense", "tcp:host=localhost,port=1", "session", ""])
def test_bus_that_is_no_address(fake, address):
    """Programs with keys of their own go on; ours loads, and says what is wrong when it is used."""
    environment = fake.environment(CERTBROKER_BUS=address, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent")
    fake.openssl("dgst", "-sha256", "-sign", "ec.private", "-out", "signature", "message", environment=environment)
    fake.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "new", environment=environment)
    fake.openssl("pkey", "-in", "ec.key", "-pubout", "-out", "public", environment=environment)
    done = fake.openssl("dgst", "-sha256", "-sign", "ec.key", "-out", "signature", "message", check=False,
                        environment=environment)
    assert done.returncode != 0
    assert "certbroker" in done.stdout
    assert ("neither system" in done.stdout) == (address != "")
