# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with challenges, identity endpoints and tokens. The numbers are those of test_vault_faults.py."""

import base64
import time

import pytest

from vaulted import *  # noqa: F401,F403
from vaulted import Failure, PATIENCE, answered, wait_until


@pytest.mark.parametrize("fault", ["resource", "suffix", "top", "resource-http", "http", "tenant", "no-resource",
                                   "garbage", "basic", "none"])
def test_v21_spoofed_challenges(vaulted, fault):
    vaulted.vault.fault(f"V21.{fault}", times=100000)
    broker = vaulted.begin(ready=None, **by_secret(vaulted))
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "refused")
    assert "challenge" in broker.vault_state()[1] or "tenant" in broker.vault_state()[1], broker.vault_state()
    assert broker.vault.requests("login") == []
    assert broker.sent_elsewhere() == []


CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}'


def test_v8_tokens_that_are_revoked(vaulted):
    """One new token, with the claims that are wanted, and one more try for each that is under way: whatever the words."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 200;\n", **by_secret(vaulted))
    broker.add()
    encoded = base64.b64encode(CLAIMS.encode()).decode()
    for challenge, claims in (
            # as the real service says it: no resource, and nobody's tenant
            ('Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
             f'error="insufficient_claims", claims="{encoded}"', CLAIMS),
            ('Bearer error="invalid_token", error_description="The \\"token\\", it says, is not valid"', None),
            (f'Basic realm="Bearer resource=x", Bearer error="insufficient_claims", claims={encoded.rstrip("=")}', CLAIMS),
            ("Bearer", None), ('Bearer error="unfinished', None)):
        broker.vault.set(challenge=challenge)
        broker.vault.revoke_tokens()
        broker.vault.clear_log()
        assert answered(broker.sign_many(32)) == 32, challenge
        [request] = broker.vault.requests("login")
        assert request["form"].get("claims") == claims, challenge
    assert broker.sent_elsewhere() == []


@pytest.mark.parametrize("fault", ["long", "zero", "wall-clock", "numbers", "refresh-in"])
def test_v9_lives_that_will_do(vaulted, fault):
    """How long a token lives is said in seconds from now: what a clock says beside it does not count."""
    vaulted.vault.fault(f"V9.{fault}", times=100000)
    broker = vaulted.begin()
    broker.add()
    broker.check_signature()
    broker.vault.clear_log()
    time.sleep(5)
    # none is asked for before it is due, and then it is one
    least, most = (1, 2 + 5) if fault == "refresh-in" else (0, 0)
    assert least <= len(broker.vault.requests("metadata")) <= most
    broker.check_signature()


@pytest.mark.parametrize("fault", ["short", "negative", "date"])
def test_v9_lives_that_are_none(vaulted, fault):
    """A token without a life is not used, and the endpoint is not asked again and again."""
    number = vaulted.vault.fault(f"V9.{fault}", times=100000)
    broker = vaulted.begin(ready=None)
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable", 20)
    assert "token" in broker.vault_state()[1], broker.vault_state()
    hits = broker.vault.hits(number)
    time.sleep(4)
    assert broker.vault.hits(number) - hits <= 5
    assert not [r for r in broker.vault.requests("vault") if r["status"] != 401]
    broker.vault.clear_faults()
    broker.wait_source("vault", "ready")  # by itself
    broker.add()
    broker.check_signature()


def secret_file(broker):
    return broker.secret("client-secret", broker.vault.identity("application")["secret"] + "\n")


def by_secret(broker):
    return {"auth": "client-secret", "tenant-id": broker.vault.tenant, "client-secret-file": secret_file(broker),
            "client-id": broker.vault.identity("application")["client_id"], "authority": broker.vault.authority}


def test_v22_who_asks_to_be_left_alone_is(vaulted):
    """The identity endpoint says for how long: nobody asks it before, and it is said until when."""
    number = vaulted.vault.fault("V22.retry-after", times=100000)
    broker = vaulted.begin(ready=None)
    wait_until(lambda: "asks to be left alone until 20" in broker.vault_state()[1], "it is said")
    with pytest.raises(Failure) as caught:
        broker.source_call("vault", "Refresh")
    assert "left alone until 20" in caught.value.message
    assert broker.vault.hits(number) == 1
    broker.vault.clear_faults()
    broker.wait_source("vault", "ready")
    assert len(broker.vault.requests("metadata")) == 2


@pytest.mark.parametrize("fault", ["authority", "uri-and-scope", "several", "no-authority"])
def test_v21_challenges_that_do_no_harm(vaulted, fault):
    """An authority in a challenge is not asked: the configuration's is."""
    vaulted.vault.fault(f"V21.{fault}", times=1)
    broker = vaulted.begin(**by_secret(vaulted))
    broker.add()
    broker.check_signature()
    assert broker.sent_elsewhere() == []


@pytest.mark.parametrize("fault", ["refuse", "drop", "stall", "slow", "no-identity", "several", "404", "410", "429", "500",
                                   "docker", "json", "array", "huge"])
def test_v22_identity_endpoint(vaulted, fault):
    vaulted.vault.fault(f"V22.{fault}", times=None if fault in ("refuse", "drop", "stall") else 100000)
    broker = vaulted.begin(ready=None, environment={"https_proxy": vaulted.vault.elsewhere_http,
                                                    "http_proxy": vaulted.vault.elsewhere_http,
                                                    "ALL_PROXY": vaulted.vault.elsewhere_http})
    if fault == "slow":
        broker.wait_source("vault", "ready")
    elif fault == "several":
        wait_until(lambda: "'client-id' says which" in broker.vault_state()[1], "the remedy is said", 30)
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


@pytest.mark.parametrize("fault", ["404", "410", "429", "500"])
def test_v22_an_identity_endpoint_that_comes_back(vaulted, fault):
    """It says that it is being updated, or not there yet: it is asked on, for as long as it takes, and not all the time."""
    number = vaulted.vault.fault(f"V22.{fault}", times=100000)
    broker = vaulted.begin(ready=None)
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    begun, hits = time.monotonic(), broker.vault.hits(number)
    wait_until(lambda: broker.vault.hits(number) >= hits + 3, "it is asked on", 40)
    assert time.monotonic() - begun > 1
    assert broker.vault_state()[0] == "unavailable" and "next try" in broker.vault_state()[1]
    broker.vault.clear_faults()
    broker.wait_source("vault", "ready")
    broker.add()
    broker.check_signature()


def test_v22_another_source_is_not_delayed(vaulted):
    """No identity endpoint at all, as on any host that is none of Azure's: who has a secret is let in meanwhile."""
    vaulted.vault.network("drop", "metadata")
    entra = {"auth": "client-secret", "tenant-id": vaulted.vault.tenant, "imds-endpoint": None,
             "client-id": vaulted.vault.identity("application")["client_id"],
             "client-secret-file": secret_file(vaulted), "authority": vaulted.vault.authority}
    begun = time.monotonic()
    broker = vaulted.begin(ready="secret", more=vaulted.vault_source("secret", **entra))
    assert time.monotonic() - begun < 5 * PATIENCE
    broker.vault.add_certificate("orders")
    broker.register("orders", source="secret")
    broker.check_signature()
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "the other is known to have none", 20)


def test_v23_an_authority_that_refuses_us(vaulted):
    """Who is refused is not let in by asking often, and is told the authority's number for it."""
    number = vaulted.vault.fault("V23.invalid-client", times=100000)
    broker = vaulted.begin(ready=None, **by_secret(vaulted))
    wait_until(lambda: "AADSTS7000222" in broker.vault_state()[1], "it is said")
    hits = broker.vault.hits(number)
    time.sleep(3)
    assert broker.vault.hits(number) - hits <= 4


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
