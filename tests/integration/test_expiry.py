# SPDX-License-Identifier: Apache-2.0
"""What the clock alone changes: states, graces, warnings before the end; and a clock that jumps."""

import datetime
import os
import re
import time

import pki
import pytest

from broker import PATIENCE, SANITIZED, Failure, certificate_path, wait_until
from conftest import Signals

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
HOUR = datetime.timedelta(hours=1)


def now():
    return datetime.datetime.utcnow().replace(microsecond=0)


def import_until(broker, id, not_after, not_before=None, **how):
    cert = pki.certificate(pki.key("ec-p256"), f"{id}.example", not_after=not_after, not_before=not_before)
    broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret", **how)
    return cert


def state(broker, id):
    return str(broker.certificate_properties(id)["State"])


def last_error(broker, id):
    return str(broker.certificate_properties(id)["LastError"])


def sign_outcome(broker, id, generation=0):
    try:
        broker.sign(id, "ecdsa-sha256", bytes(32), generation)
    except Failure as failure:
        return failure.name
    return "ok"


# warnings

def test_warning_once_per_distance(stopped):
    """At each distance once, also over a restart; the signal tells how much is left."""
    far, near = 14 * PATIENCE, 6 * PATIENCE
    stopped.configure(broker=f'  expiry-warnings = [ "{far}s", "{near}s" ];')
    broker = stopped.start()
    watch = Signals(broker)
    end = now() + datetime.timedelta(seconds=far + 2 * PATIENCE)
    cert = import_until(broker, "client", end)
    import_until(broker, "neighbour", now() + 365 * pki.DAY)
    path = certificate_path("client")

    watch.wait("ExpiryWarning", path, timeout=far)
    [(_, _, _, (not_after, left))] = watch.of("ExpiryWarning")
    assert not_after == int(cert.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp())
    assert near < left <= far

    broker.restart()
    watch = Signals(broker)
    watch.wait("ExpiryWarning", path, timeout=far)
    [(_, _, _, (_, left))] = watch.of("ExpiryWarning")
    assert 0 < left <= near

    wait_until(lambda: state(broker, "client") == "expired", "the end", far)
    broker.restart()
    watch = Signals(broker)
    assert sign_outcome(broker, "client") == "Expired"
    assert watch.of("ExpiryWarning") == []


def test_warning_at_once_and_anew_after_a_rotation(stopped):
    broker = stopped.start()  # with the distances of 30 days, 7 days and one
    watch = Signals(broker)
    import_until(broker, "client", now() + 5 * pki.DAY)
    watch.wait("ExpiryWarning")
    broker.certificate("client", "Refresh")
    broker.certificate("client", "SetEnabled", "b", False)
    broker.certificate("client", "SetEnabled", "b", True)
    assert len(watch.of("ExpiryWarning")) == 1
    import_until(broker, "client", now() + 6 * pki.DAY, replace=True)
    wait_until(lambda: len(watch.of("ExpiryWarning")) == 2, "the new generation's own warning")


def test_warning_that_came_due_while_it_was_away(stopped):
    """It waits until those who watch have found the daemon again."""
    stopped.configure(broker='  expiry-warnings = [ "1d" ];')
    broker = stopped.start()
    import_until(broker, "client", now() + 5 * pki.DAY)
    broker.stop()
    broker.configure(broker='  expiry-warnings = [ "7d", "1d" ];')
    broker.start()
    watch = Signals(broker)
    watch.wait("ExpiryWarning", certificate_path("client"))
    broker.restart()
    watch = Signals(broker)
    time.sleep(5)
    assert watch.of("ExpiryWarning") == []


def test_state_changes_by_the_clock(broker):
    """States, and that a member of a chain has expired since it was imported."""
    watch = Signals(broker)
    begin = now() + datetime.timedelta(seconds=3 * PATIENCE)
    end = begin + datetime.timedelta(seconds=3 * PATIENCE)
    import_until(broker, "client", end, begin)
    assert (state(broker, "client"), sign_outcome(broker, "client")) == ("pending", "Pending")
    root, key = pki.Issuer("Root"), pki.key("ec-p256", 1)
    low = pki.Issuer("Low", parent=root)
    soon = pki.certificate(low.key, "Low", issuer=root, ca=True, not_after=end)
    leaf = pki.certificate(key, "chained.example", issuer=low)
    broker.import_bundle("chained", pki.pem(key, leaf, soon, root.certificate))
    assert last_error(broker, "chained") == ""

    def told(id, name, start):
        return any(str(s[3][1].get(name, "")).startswith(start)
                   for s in watch.of("PropertiesChanged", certificate_path(id)))

    wait_until(lambda: told("client", "State", "active"), "active")
    assert sign_outcome(broker, "client") == "ok"
    said = f"the certificate of 'CN=Low' in the chain expired on {end:%Y-%m-%d}"
    wait_until(lambda: told("chained", "LastError", said), "the chain's end")
    wait_until(lambda: told("client", "State", "expired"), "expired")
    assert (state(broker, "client"), sign_outcome(broker, "client")) == ("expired", "Expired")

    assert (state(broker, "chained"), sign_outcome(broker, "chained")) == ("active", "ok")
    assert watch.of("ExpiryWarning", certificate_path("chained")) == []
    broker.restart()
    assert last_error(broker, "chained").count(said) == 1
    assert said.encode() in broker.cli("status").stdout
    broker.import_bundle("chained", pki.pem(key, leaf, soon, root.certificate), replace=True)  # its source says so, too
    broker.certificate("chained", "Refresh")
    assert last_error(broker, "chained").count("in the chain expired") == 1
    broker.import_bundle("chained", pki.pem(key, leaf, low.certificate, root.certificate), replace=True)
    assert last_error(broker, "chained") == ""
    assert int(broker.certificate_properties("chained")["Generation"]) == 1


# a clock that jumps

@pytest.fixture
def jumping(stopped):
    """A broker whose clock is set by jumping.clock("+1d"), while it runs or not; time that passes goes on as before."""
    path = stopped.folder / "clock"

    def clock(offset):
        path.write_text(offset)

    clock("+0d")
    preload = FAKETIME
    if SANITIZED:
        preload = os.environ["CERTBROKER_PRELOAD"] + ":" + FAKETIME
    stopped.extra_environment = {
        "LD_PRELOAD": preload, "FAKETIME_TIMESTAMP_FILE": path, "FAKETIME_NO_CACHE": "1",
        "NO_FAKE_STAT": "1",
    }
    if SANITIZED:
        # Its allocator asks for the time with its lock held, and libfaketime allocates with its own held.
        stopped.extra_environment["ASAN_OPTIONS"] = \
            stopped.environment()["ASAN_OPTIONS"] + ":allocator_release_to_os_interval_ms=-1"
    stopped.clock = clock
    return stopped


def test_clock_jumps_while_it_runs(jumping):
    broker = jumping.start()
    import_until(broker, "client", now() + 12 * HOUR, now() - 12 * HOUR)
    import_until(broker, "long", now() + 365 * pki.DAY)
    import_until(broker, "long", now() + 365 * pki.DAY, replace=True)
    for offset, word, outcome, older in (
            ("+0d", "active", "ok", "ok"), ("+23h", "expired", "Expired", "ok"), ("+25h", "expired", "Expired", "Expired"),
            ("+0d", "active", "ok", "ok"), ("-1d", "pending", "Pending", "ok"), ("+0d", "active", "ok", "ok")):
        broker.clock(offset)
        assert (offset, state(broker, "client"), sign_outcome(broker, "client"), sign_outcome(broker, "long", 1)) == \
            (offset, word, outcome, older)
    broker.clock("-1d")
    import_until(broker, "client", now() + 12 * HOUR, now() - 36 * HOUR, replace=True)
    assert sign_outcome(broker, "client") == "ok"
    assert broker.source_properties()["State"] == "ready"


def test_clock_jumps_between_runs(jumping):
    """A day ahead and a day back: states follow the clock, warnings do not come twice, the audit log is whole."""
    broker = jumping.start()
    import_until(broker, "client", now() + 12 * HOUR, now() - 12 * HOUR)
    broker.create_backend("orders", "client")
    for offset, word in (("+1d", "expired"), ("-1d", "pending"), ("+0d", "active")):
        broker.stop()
        broker.clock(offset)
        broker.start()
        watch = Signals(broker)
        assert state(broker, "client") == word
        if word == "active":
            assert broker.backend("orders", "GetCredential")["generation"] == 1
            assert sign_outcome(broker, "client") == "ok"
        assert watch.of("ExpiryWarning") == []
    done = broker.cli("audit", "verify", "--file", str(broker.state / "audit.jsonl"))
    assert done.returncode == 0, done.stderr.decode()


def test_a_clock_that_is_set_is_logged(jumping):
    """For who reads the log: by how much, and which way; and nothing where it was not."""
    jumping.extra_environment["DONT_FAKE_MONOTONIC"] = "1"  # else it sets all clocks alike
    broker = jumping.start()
    set_by = lambda: re.findall(r"the clock was set (\d+) s (ahead|back)", broker.log_text())  # noqa: E731
    broker.manager("Reload")
    assert set_by() == []
    for offset in ("-1d", "+0d", "+3s"):  # on a host up for less than a day, libfaketime takes more off a timer than it has
        broker.clock(offset)
        broker.manager("Reload")
    [(back, then), (ahead, forth)] = set_by()
    assert (then, forth) == ("back", "ahead")
    assert 86390 < int(ahead) < 86410 and 86390 < int(back) < 86410
