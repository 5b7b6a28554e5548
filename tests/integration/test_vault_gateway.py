# SPDX-License-Identifier: Apache-2.0
"""An unmodified nginx whose key is in a key vault: rotated there under load, and the vault away under load."""

import pytest

import pki
from broker import PATIENCE, wait_until
from gateway import Load, Pki, get
from test_watch import watch  # noqa: F401: a fixture
from vaulted import *  # noqa: F401,F403
from vaultgate import SIGN_SECONDS, Gateways, outage, presented

TYPES = ["ec-p256", "rsa-2048"] * 3
OUTAGE_SECONDS = 8  # tests/bench/vault does it for a minute


@pytest.fixture
def stopped(vaulted):
    """What `watch` is made for."""
    return vaulted


@pytest.fixture
def gateways(vaulted):
    vaulted.vault.set(latency={"POST /keys": SIGN_SECONDS})
    made = Gateways(vaulted, Pki(vaulted))
    yield made
    made.close()


def test_rotated_in_the_vault_under_load(vaulted, gateways, watch):  # noqa: F811
    """RSA to EC and back: every request is answered, and the last of them with the last certificate."""
    broker = vaulted.begin()
    _, made = gateways.vault_certificate("client", "rsa-2048")
    broker.register("client")
    broker.create_backend("orders", "client", gateways.url())
    pid_file = gateways.pid_file("front")
    watcher = watch("--exec", f"test ! -s {pid_file} || kill -HUP $(cat {pid_file})")
    wait_until(lambda: watcher.chain.exists() and watcher.key.exists(), "the files are written")
    port = gateways.front("front", watcher.chain, watcher.key)
    versions = [made["version"]]
    with Load(port) as load:
        for generation, key_type in enumerate(TYPES, 2):
            certificate, made = gateways.vault_certificate("client", key_type, generation, rotate=True)
            versions.append(made["version"])
            broker.refresh("client")
            wait_until(lambda c=certificate: presented(port) == pki.thumbprint(c),
                       f"generation {generation} is presented", 20)
    assert len(load.statuses) > 50
    assert load.failures() == []
    assert broker.certificate_properties("client")["Generation"] == len(versions)
    # each version's own key signed, in the vault
    signed = {request["path"] for request in broker.vault.requests("vault", "POST", "/keys/")}
    assert signed == {f"/keys/client/{version}/sign" for version in versions}
    watcher.end()


def test_away_under_load_while_keys_are_here(vaulted, gateways):
    """signing = local: not one request fails."""
    broker = vaulted.begin(signing="local", refresh="1s")
    gateways.vault_certificate("client", "ec-p256", exportable=True)
    broker.register("client")
    seen = outage(broker, gateways.front_of("client"), "client", OUTAGE_SECONDS)
    assert seen.failed == [] and seen.errors == set()
    wait_until(lambda: broker.vault_state()[0] == "ready", "ready again", 5)


@pytest.mark.parametrize("mode", ["refuse", "drop"])
def test_away_under_load_while_keys_are_there(vaulted, gateways, mode):
    """signing = remote: clear errors and at once, nothing else is touched, and it is back within 5 s."""
    vaulted.init_token()
    broker = vaulted.begin(more=vaulted.source())
    broker.wait_source("hsm", "ready")
    gateways.vault_certificate("client", "ec-p256")
    broker.register("client")
    broker.create_backend("orders", "client", gateways.url())
    gateways.files.import_client("token", "ec-p256")
    port, other = gateways.front_of("client"), gateways.front_of("token")
    with Load(other, threads=1) as beside:
        seen = outage(broker, port, "client", OUTAGE_SECONDS, mode)
    assert seen.errors == {"SourceUnavailable"}
    assert set(seen.failed) == {502}
    assert seen.refused_seconds < 1 * PATIENCE
    assert seen.back_seconds < 5 * PATIENCE
    assert len(beside.statuses) > 20 and beside.failures() == []
    properties = broker.certificate_properties("client")
    assert properties["State"] == "active" and properties["Generation"] == 1
    assert not broker.backend("orders", "GetCredential")["stale"]
    # what the gateway's own log says of it
    log = gateways.running[1].log()
    assert "source unavailable" in log.lower() or "SourceUnavailable" in log, log[-2000:]
    assert get(port)[0] == 200
