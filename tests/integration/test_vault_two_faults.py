# SPDX-License-Identifier: Apache-2.0
"""A fault of a vault and one of the host at once; test_two_faults.py has those of tokens, and what holds for both."""

import pytest

from test_lost_files import attention, metric
from test_recovery import outcome
from test_two_faults import is_sound, is_well, switch
from vaulted import vaulted, wait_until  # noqa: F401: a fixture


@pytest.mark.parametrize("failure", ["refuse", "continue"])
def test_vault_away_and_log_not_writable(vaulted, refused, failure):  # noqa: F811
    broker = vaulted.begin(broker=f'  audit-failure = "{failure}";')
    broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.check_signature()
    log, aside = broker.state / "audit.jsonl", broker.state / "aside"
    broker.vault.network("refuse")
    wait_until(lambda: outcome(broker.try_sign) == "SourceUnavailable" and broker.vault_state()[0] == "unavailable",
               "the vault is away", 30)
    log.rename(aside)
    log.mkdir()
    if failure == "refuse":
        assert "audit" in refused("Failed", broker.backend, "orders-backend", "GetCredential")
        assert "audit" in refused("Failed", broker.try_sign)
        assert "audit" in refused("Failed", switch, broker, False, "orders")
    else:
        assert "'vault'" in refused("SourceUnavailable", broker.try_sign)
        assert broker.backend("orders-backend", "GetCredential")["stale"]
        switch(broker, False, "orders")
    told = attention(broker)
    assert "cannot be written" in told["audit log"] and "source/vault" in told, told
    assert metric(broker, "certbroker_audit_healthy") == 0
    log.rmdir()
    aside.rename(log)
    broker.vault.network("open")
    if failure == "continue":
        switch(broker, True, "orders")
    wait_until(lambda: outcome(broker.try_sign) == "ok", "it signs again", 30)
    wait_until(lambda: is_well(broker, "source/vault"), "all is well", 20)
    assert is_sound(broker) and metric(broker, "certbroker_audit_healthy") == 1
