# SPDX-License-Identifier: Apache-2.0
"""Two faults at once: what was acknowledged stays, the error names the object, status and metrics tell of both, and all is well
by itself when both are over."""

import concurrent.futures
import contextlib
import json
import resource
import shutil
import signal
import sqlite3

import pki
import pytest

from broker import NAME, wait_until
from test_audit import assert_chain, lines_of
from test_channel import addresses, peer
from test_lost_files import attention, metric
from test_recovery import faulty, interrupted, is_back, kill_helper, outcome, settled  # noqa: F401: a fixture

ALGORITHM = "ecdsa-sha256"


def sign(broker, id="client", **how):
    return broker.sign(id, ALGORITHM, bytes(32), **how)


def switch(broker, enabled, id="client", **how):
    return broker.certificate(id, "SetEnabled", "b", enabled, **how)


def fill_disk(broker):
    """No file of certbrokerd's grows any more: neither the log nor the store."""
    resource.prlimit(broker.daemon.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def free_disk(broker):
    resource.prlimit(broker.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def is_sound(broker):
    """Log and store, after it all, and after a restart as well."""
    records = [json.loads(line) for line in lines_of(broker.state / "audit.jsonl")]
    assert_chain(lines_of(broker.state / "audit.jsonl"))
    assert not [r for r in records if r["event"] in ("gap", "rollback", "removed")]
    with contextlib.closing(sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert broker.cli("audit", "verify").returncode == 0
    return True


def is_well(broker, *objects):
    """Nothing needs attention any more of these, and nobody did anything for it."""
    return not set(objects) & set(attention(broker))


def served(broker):
    broker.import_new("client")
    broker.create_backend("orders", "client")
    return broker


@pytest.mark.parametrize("failure", ["refuse", "continue"])
def test_token_away_and_disk_full(stopped, refused, failure):
    broker = stopped
    broker.configure(broker=f'  audit-failure = "{failure}";')
    broker.start()
    served(broker)
    switch(broker, False)
    switch(broker, True)
    broker.tokens.rename(broker.folder / "gone")
    broker.tokens.mkdir()
    wait_until(lambda: broker.source_properties()["State"] == "unavailable", "the source is away", 20)
    fill_disk(broker)
    if failure == "refuse":
        assert "audit" in refused("Failed", broker.backend, "orders", "GetCredential")
        assert "audit" in refused("Failed", switch, broker, False)
        assert "audit" in refused("Failed", sign, broker)
    else:
        assert "'hsm'" in refused("SourceUnavailable", sign, broker)
        assert "store" in refused("Failed", switch, broker, False)
        assert broker.backend("orders", "GetCredential")["stale"]
    told = attention(broker)
    assert "cannot be written" in told["audit log"] and "source/hsm" in told, told
    assert metric(broker, "certbroker_audit_healthy") == 0
    assert broker.certificate_properties("client")["State"] == "active"
    free_disk(broker)
    assert "'hsm'" in refused("SourceUnavailable", sign, broker)
    broker.tokens.rmdir()
    (broker.folder / "gone").rename(broker.tokens)
    wait_until(lambda: outcome(sign, broker) == "ok", "it signs again", 30)
    switch(broker, False)
    wait_until(lambda: is_well(broker, "audit log", "store", "source/hsm"), "all is well", 20)
    broker.kill()
    broker.start()
    assert broker.certificate_properties("client")["State"] == "disabled"
    assert is_sound(broker)


def test_bus_gone_and_source_hung(stopped, refused):
    """Those on the channel are served, but by that source; both come back by themselves."""
    broker = stopped
    broker.init_token("second")
    broker.fault_rules("")
    broker.configure(broker='  request-timeout = "2s";', sources=broker.source(module=broker.fault_module())
                     + broker.source("two", "pkcs11:token=second"))
    broker.start()
    broker.wait_source("two", "ready")
    served(broker)
    broker.import_new("other", source="two")
    channel, beside = peer(addresses(broker)[0]), peer(addresses(broker)[0])
    broker.stop_bus()
    broker.fault_rules("C_Sign hang\n")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        late = pool.submit(outcome, sign, broker, connection=beside)
        assert sign(broker, "other", connection=channel)
        switch(broker, False, "other", connection=channel)
        assert broker.backend("orders", "GetCredential", connection=channel)["id"] == "client"
        assert late.result() == "TimedOut"
    for fault in ("message bus", "hung"):
        wait_until(lambda f=fault: f in broker.log_text(), f"the journal has it: {fault}")
    broker.fault_rules("")
    wait_until(lambda: outcome(sign, broker, connection=channel) == "ok", "it signs again", 30)
    broker.start_bus()
    bus = broker.connect()
    wait_until(lambda: bus.name_has_owner(NAME), "the name", 30)
    broker._connection = bus
    assert sign(broker) and broker.certificate_properties("other")["State"] == "disabled"
    wait_until(lambda: is_well(broker, "source/hsm"), "all is well", 20)
    assert is_sound(broker)


def test_killed_while_it_recovers_from_a_kill(faulty):  # noqa: F811
    """What was begun is not taken back yet: the next one does it, or the one after that."""
    def bring(**how):
        return faulty.import_new("client", issuer=pki.Issuer(), **how)

    assert interrupted(faulty, "C_CreateObject after=2 hang\n", bring, faulty.kill) not in ("ok", None)
    for n in range(2):
        faulty.calls.write_text("")
        faulty.fault_rules(f"C_DestroyObject after={n} hang\n")
        faulty.start()
        wait_until(lambda: "0xdead" in faulty.calls.read_text(), "it is at taking back")
        faulty.kill()
    faulty.fault_rules("")
    faulty.start()
    assert settled(faulty) and faulty.list_ids() == ["kept"]
    bring()
    assert faulty.list_ids() == ["client", "kept"] and is_sound(faulty)
    faulty.delete_certificate("client", destroy_key=True)


def test_store_replaced_and_bus_gone(broker, refused):
    """Nothing is acknowledged on the channel, and why is told there and, once it is back, on the bus."""
    served(broker)
    store, aside = broker.state / "certbroker.sqlite", broker.state / "aside"
    channel = peer(addresses(broker)[0])
    broker.stop_bus()
    shutil.copy(store, broker.state / "new")
    store.rename(aside)
    (broker.state / "new").rename(store)
    assert "while certbrokerd runs" in refused("Failed", switch, broker, False, connection=channel)
    assert sign(broker, connection=channel)
    assert "certbroker_store_healthy 0" in str(broker.manager("GetMetrics", connection=channel))
    broker.start_bus()
    bus = broker.connect()
    wait_until(lambda: bus.name_has_owner(NAME), "the name", 30)
    broker._connection = bus
    assert "certbrokerd" in attention(broker)["store"]
    refused("Failed", switch, broker, False)
    aside.rename(store)
    switch(broker, False)
    assert is_well(broker, "store")
    broker.kill()
    broker.start()
    assert broker.certificate_properties("client")["State"] == "disabled" and is_sound(broker)


@pytest.mark.parametrize("failure", ["refuse", "continue"])
def test_reload_while_a_source_crashes_and_the_disk_is_full(stopped, refused, failure):
    broker = stopped
    broker.init_token("second")
    broker.fault_rules("")
    sources = broker.source(module=broker.fault_module()) + broker.source("two", "pkcs11:token=second")
    settings = f'  audit-failure = "{failure}";'
    broker.configure(sources=sources, broker=settings)
    broker.start()
    broker.wait_source("two", "ready")
    served(broker)
    broker.import_new("other", source="two")
    broker.fault_rules("C_Initialize crash\n")
    kill_helper(broker)
    wait_until(lambda: broker.source_properties()["State"] == "unavailable", "it crashes again and again", 30)
    broker.wait_source("two", "ready")
    fill_disk(broker)
    broker.configure(sources=sources, broker=settings + '  max-in-flight-per-client = 1000;')
    if failure == "refuse":
        assert "audit" in refused("Failed", broker.manager, "Reload")
        assert "audit" in refused("Failed", sign, broker, "other")
        # what frees a person's hands needs no record: the signal
        broker.configure(sources=sources, broker='  audit-failure = "continue";')
        broker.daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: outcome(sign, broker, "other") == "ok", "it goes on without its log", 20)
    else:
        broker.manager("Reload")
        assert sign(broker, "other")
    assert "'hsm'" in refused("SourceUnavailable", sign, broker)
    told = attention(broker)
    assert "cannot be written" in told["audit log"] and "source/hsm" in told, told
    free_disk(broker)
    broker.fault_rules("")
    broker.configure(sources=sources, broker=settings)
    broker.manager("Reload")
    wait_until(lambda: is_back(broker), "the source is back", 60)
    wait_until(lambda: outcome(sign, broker) == "ok", "it signs again", 20)
    wait_until(lambda: is_well(broker, "audit log", "source/hsm"), "all is well", 20)
    switch(broker, False)
    broker.restart()
    assert broker.certificate_properties("client")["State"] == "disabled" and is_sound(broker)
