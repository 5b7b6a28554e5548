# SPDX-License-Identifier: Apache-2.0
"""A token that signs wrongly: no such signature leaves, the key is handed to nobody meanwhile, and everybody is told."""

import json
import os
import signal
import time

import pytest

from broker import Failure, wait_until
from test_expiry import jumping  # noqa: F401: a fixture
from test_metrics import value
from test_register import register

ALGORITHM = "rsa-pss-sha256"


@pytest.fixture
def faulty(stopped):
    """A token of ours; break_it() has it flip a bit of each signature, mend_it() has it sign well."""
    stopped.fault_rules("")
    stopped.break_it = lambda: stopped.fault_rules("C_Sign flipbit\n")
    stopped.mend_it = lambda: stopped.fault_rules("")

    def start(verify="rsa", key_type="rsa-2048"):
        stopped.configure(broker=f'  verify-signatures = "{verify}";', sources=stopped.source(module=stopped.fault_module()))
        stopped.start()
        stopped.import_new("client", key_type)
        stopped.create_backend("orders", "client")
        stopped.backend("orders", "GetCredential")
        return stopped

    return start


def spoil(broker, algorithm=ALGORITHM):
    broker.break_it()
    with pytest.raises(Failure) as error:
        broker.sign("client", algorithm, bytes(32))
    assert error.value.name == "Failed" and "held back" in error.value.message


def records(broker, event):
    lines = (broker.state / "audit.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def attention(broker):
    return {row["object"]: row["reason"] for row in broker.cli_json("status")["attention"]}


def test_everybody_is_told(faulty, refused):
    broker = faulty()
    spoil(broker)
    shown = broker.certificate_properties("client")
    assert shown["State"] == "unavailable" and f"wrong signature ({ALGORITHM})" in shown["LastError"]
    refused("SourceUnavailable", broker.backend, "orders", "GetCredential")
    assert "certificate 'client': the key of generation 1 made a wrong signature" in broker.log_text()
    assert "wrong signature" in attention(broker)["certificate/client"]
    assert value(broker, "certbroker_signatures_held_back_total", certificate="client") == 1
    told, = records(broker, "KeySuspected")
    assert (told["object"], told["generation"], told["algorithm"]) == \
        ("/org/certbroker1/certificate/client", 1, ALGORITHM)
    # one alarm, however many there are; each is counted, and each call has its own record
    for _ in range(5):
        spoil(broker)
    assert value(broker, "certbroker_signatures_held_back_total", certificate="client") == 6
    assert len(records(broker, "KeySuspected")) == 1
    assert [record["result"] for record in records(broker, "Sign")] == ["Failed"] * 6


def test_is_handed_out_again_after_a_trial(faulty, refused):
    broker = faulty()
    spoil(broker)
    refused("KeyMismatch", broker.certificate, "client", "Refresh")
    refused("SourceUnavailable", broker.backend, "orders", "GetCredential")
    broker.mend_it()
    # what is right leaves, also before the trial
    broker.sign("client", ALGORITHM, bytes(32))
    refused("SourceUnavailable", broker.backend, "orders", "GetCredential")
    broker.certificate("client", "Refresh")
    shown = broker.certificate_properties("client")
    assert (shown["State"], shown["LastError"]) == ("active", "")
    broker.backend("orders", "GetCredential")
    # it is not forgotten that there was something
    assert "made wrong signatures" in attention(broker)["certificate/client"]


def test_is_tried_by_itself(faulty):
    broker = faulty()
    spoil(broker)
    broker.mend_it()
    wait_until(lambda: broker.certificate_properties("client")["State"] == "active", "a trial", 20)
    broker.backend("orders", "GetCredential")


def test_a_clock_that_is_set_puts_no_trial_off(jumping, faulty):  # noqa: F811
    """Trials are so long after a wrong signature, whatever the date is by then."""
    jumping.extra_environment["DONT_FAKE_MONOTONIC"] = "1"
    broker = faulty()
    spoil(broker)
    broker.clock("-1h")
    broker.mend_it()
    wait_until(lambda: broker.certificate_properties("client")["State"] == "active", "a trial", 20)


def test_whoever_holds_the_key_is_told(faulty, refused):
    """Other ids with the same key, registered or imported, and other generations: nobody is given it by these either."""
    broker = faulty()
    broker.import_new("copy")  # tests have one key of each type
    broker.import_new("copy", "rsa-2048", replace=True)
    broker.import_new("other", "rsa-3072")
    register(broker, "alias", broker.certificate_properties("client")["KeyUri"])
    broker.create_backend("by-copy", "copy")
    spoil(broker)
    holders = ("alias", "client", "copy")
    for id in holders:
        assert broker.certificate_properties(id)["State"] == "unavailable", id
        assert "wrong signature" in broker.certificate_properties(id)["LastError"]
    assert broker.certificate_properties("other")["State"] == "active"
    refused("SourceUnavailable", broker.backend, "by-copy", "GetCredential")
    assert sorted(record["object"].rpartition("/")[2] for record in records(broker, "KeySuspected")) == list(holders)
    broker.mend_it()
    for id in holders:
        broker.certificate(id, "Refresh")
        assert broker.certificate_properties(id)["State"] == "active", id
    broker.backend("by-copy", "GetCredential")
    assert value(broker, "certbroker_signatures_held_back_total", certificate="client") == 1


def test_a_rotation_ends_it(faulty):
    broker = faulty()
    spoil(broker)
    broker.mend_it()
    broker.import_new("client", "rsa-2048", replace=True)
    assert broker.certificate_properties("client")["State"] == "active"
    assert broker.backend("orders", "GetCredential")["generation"] == 2


def test_an_older_generation(faulty):
    """Its alarm is told; the current one is handed out as ever."""
    broker = faulty()
    broker.import_new("client", "rsa-3072", replace=True)
    broker.break_it()
    with pytest.raises(Failure):
        broker.sign("client", ALGORITHM, bytes(32), generation=1)
    assert records(broker, "KeySuspected")[0]["generation"] == 1
    assert broker.certificate_properties("client")["State"] == "active"
    assert broker.backend("orders", "GetCredential")["generation"] == 2


def test_whatever_is_verified_is_held_back(faulty):
    """From there on all that the key signs is checked, though the setting would not ask for it."""
    broker = faulty("always", "ec-p256")
    spoil(broker, "ecdsa-sha256")
    assert broker.certificate_properties("client")["State"] == "unavailable"
    broker.configure(broker='  verify-signatures = "never";', sources=broker.source(module=broker.fault_module()))
    broker.manager("Reload")
    spoil(broker, "ecdsa-sha256")


def test_a_look_up_does_not_take_it_back(faulty, refused):
    """As when its source is there again: that a key is there says nothing of what it signs."""
    broker = faulty()
    spoil(broker)
    before = broker.certificate_properties("client")["LastRefresh"]
    time.sleep(1)  # it counts in seconds
    os.kill(broker.helper_pids()[0], signal.SIGKILL)
    wait_until(lambda: broker.certificate_properties("client")["LastRefresh"] > before, "its look-up")
    assert "wrong signature" in broker.certificate_properties("client")["LastError"]
    refused("SourceUnavailable", broker.backend, "orders", "GetCredential")
