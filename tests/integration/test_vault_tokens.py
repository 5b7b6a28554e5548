# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with challenges, identity endpoints and tokens: V21 to V23 (test_vault_faults.py has the rest)."""

import pytest

from vaulted import *  # noqa: F401,F403
from vaulted import wait_until


@pytest.mark.parametrize("fault", ["resource", "suffix", "top", "resource-http", "http", "tenant", "no-resource",
                                   "garbage", "basic", "none"])
def test_v21_spoofed_challenges(vaulted, fault):
    vaulted.vault.fault(f"V21.{fault}", times=100000)
    broker = vaulted.begin(ready=None, **{"auth": "client-secret", "tenant-id": vaulted.vault.tenant,
                                          "client-id": vaulted.vault.identity("application")["client_id"],
                                          "client-secret-file": secret_file(vaulted),
                                          "authority": vaulted.vault.authority})
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "refused")
    assert "challenge" in broker.vault_state()[1] or "tenant" in broker.vault_state()[1], broker.vault_state()
    assert broker.vault.requests("login") == []
    assert broker.sent_elsewhere() == []


def secret_file(broker):
    path = broker.etc / "client-secret"
    path.write_text(broker.vault.identity("application")["secret"] + "\n")
    return path


@pytest.mark.parametrize("fault", ["authority", "uri-and-scope", "several", "no-authority"])
def test_v21_challenges_that_do_no_harm(vaulted, fault):
    """An authority in a challenge is not asked: the configuration's is."""
    vaulted.vault.fault(f"V21.{fault}", times=1)
    broker = vaulted.begin(**{"auth": "client-secret", "tenant-id": vaulted.vault.tenant,
                              "client-id": vaulted.vault.identity("application")["client_id"],
                              "client-secret-file": secret_file(vaulted), "authority": vaulted.vault.authority})
    broker.add()
    broker.check_signature()
    assert broker.sent_elsewhere() == []


@pytest.mark.parametrize("fault", ["refuse", "drop", "stall", "slow", "no-identity", "404", "410", "429", "500",
                                   "docker", "json", "array", "huge"])
def test_v22_identity_endpoint(vaulted, fault):
    vaulted.vault.fault(f"V22.{fault}", times=None if fault in ("refuse", "drop", "stall") else 100000)
    broker = vaulted.begin(ready=None, environment={"https_proxy": vaulted.vault.elsewhere_http,
                                                    "http_proxy": vaulted.vault.elsewhere_http,
                                                    "ALL_PROXY": vaulted.vault.elsewhere_http})
    if fault == "slow":
        broker.wait_source("vault", "ready")
    else:
        wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable", 30)
        assert "identity endpoint" in broker.vault_state()[1] or "token" in broker.vault_state()[1]
    assert broker.sent_elsewhere() == []
    broker.vault.clear_faults()
    for listener in ("metadata",):
        broker.vault.network("open", listener)
    broker.source_call("vault", "Refresh", timeout=30)
    broker.add()
    broker.check_signature()


@pytest.mark.parametrize("fault", ["audience", "tenant", "type", "size", "empty", "newline", "number", "missing",
                                   "no-expiry"])
def test_v23_bad_tokens(vaulted, fault):
    vaulted.vault.fault(f"V23.{fault}", times=100000)
    broker = vaulted.begin(ready=None, **{"tenant-id": vaulted.vault.tenant})
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert [r for r in broker.vault.requests("vault") if r["status"] != 401] == []
    assert not [r for r in broker.vault.requests("vault") for name, _ in r["headers"] if name.lower() == "authorization"]
    broker.vault.clear_faults()
    broker.source_call("vault", "Refresh")
    broker.wait_source("vault", "ready")


def test_v23_tokens_are_nowhere(vaulted):
    """Not in the log, and not in the broker's memory."""
    broker = vaulted.begin(environment={"CERTBROKER_DEBUG": "1"})
    broker.add()
    broker.check_signature()
    log = broker.log_text()
    assert "eyJ" not in log and "Bearer" not in log
