# SPDX-License-Identifier: Apache-2.0
"""Versions in the vault: rotated between two requests, not fit to sign, of another key, older than they should be. The
numbers are those of test_vault_faults.py."""

import time

import pytest

from vaulted import *  # noqa: F401,F403
from vaulted import PATIENCE, Failure, certificate_path, still_served, wait_until


def test_v17_rotated_between(broker):
    broker.vault.add_certificate("orders")
    broker.vault.fault("V17.rotated", times=1)
    broker.register("orders")
    [sign] = broker.vault.requests("vault", "POST", "/keys/")
    certificate = broker.vault.requests("vault", "GET", "/keys/orders/")[0]
    assert sign["path"] == certificate["path"] + "/sign"
    broker.check_signature()


def test_v17_rotated_and_disabled(orders, refused):
    orders.vault.rotate("orders")
    orders.vault.change("orders", orders.made["version"], enabled=False)
    message = refused("Disabled", orders.try_sign)
    assert "rotated" in message and "refresh" in message
    # and that is what is done at once
    wait_until(lambda: orders.certificate_properties("orders")["Generation"] == 2, "the new version is found")
    orders.check_signature()


@pytest.mark.parametrize("change,name", [({"enabled": False}, "Disabled"), ({"expires": 1000}, "Expired"),
                                         ({"not_before": 4000000000}, "Pending"),
                                         ({"key_operations": ["decrypt", "verify"]}, "NotSupported")])
def test_v18_not_fit_to_sign(orders, refused, change, name):
    orders.vault.add_certificate("other")
    orders.vault.change("other", **change)
    refused(name, orders.register, "other")
    assert orders.list_ids() == ["orders"]
    orders.vault.change("orders", **change)
    refused(name, orders.try_sign)
    refused(name, orders.refresh, "orders")
    assert orders.last_error() != ""


V18 = [({"enabled": False}, {"enabled": True}, "disabled"), ({"expires": 1000}, {"expires": None}, "expired"),
       ({"not_before": 4000000000}, {"not_before": None}, "pending")]


@pytest.mark.parametrize("change,back,state", V18)
@pytest.mark.parametrize("signing", ["remote", "local"])
def test_v18_the_state_follows_a_refresh(vaulted, refused, change, back, state, signing):
    """Refresh says it, and then the state does; it is not offered to gateways, across restarts, until it is fit again."""
    broker = vaulted.begin(signing=signing)
    made = broker.add(exportable=True)
    broker.register("pinned", broker.uri("orders", made["version"]))
    broker.create_backend("orders-backend", "orders")
    broker.vault.change("orders", **change)
    refused(state.capitalize(), broker.refresh, "orders")
    assert broker.certificate_properties("orders")["State"] == state
    assert "orders" in broker.last_error()
    message = refused(state.capitalize(), broker.backend, "orders-backend", "GetCredential")
    assert "vault" in message
    broker.vault.clear_log()
    refused(state.capitalize(), broker.try_sign)
    assert broker.asked("POST", "/keys/") == 0
    # of the pinned one nobody has asked yet; a person's switch is another
    assert broker.certificate_properties("pinned")["State"] == "active"
    refused(state.capitalize(), broker.refresh, "pinned")
    broker.certificate("pinned", "SetEnabled", "b", True)
    assert broker.certificate_properties("pinned")["State"] == state
    broker.stop()
    broker.vault.network("refuse")
    broker.start(ready=None)
    assert broker.certificate_properties("orders")["State"] == state
    refused(state.capitalize(), broker.backend, "orders-backend", "GetCredential")
    broker.vault.network("open")
    broker.vault.change("orders", **back)
    broker.source_call("vault", "Refresh")
    for id in ("orders", "pinned"):
        broker.refresh(id)
        assert broker.certificate_properties(id)["State"] == "active"
        assert broker.last_error(id) == ""
        broker.check_signature(id)
    assert broker.certificate_properties("pinned")["NextRefresh"] == 0
    assert broker.backend("orders-backend", "GetCredential")["generation"] == 1


@pytest.mark.parametrize("change,back,state", V18)
def test_v18_the_state_follows_a_use(orders, refused, signals, change, back, state):
    """A signature that the vault refuses has the certificate looked up at once: nobody needs to ask."""
    seen = signals()
    orders.vault.change("orders", **change)
    refused(state.capitalize(), orders.try_sign)
    wait_until(lambda: orders.certificate_properties("orders")["State"] == state, "the state follows")
    told = seen.wait("PropertiesChanged", certificate_path("orders"))
    assert any(arguments[1].get("State") == state for *_, arguments in told)
    refused(state.capitalize(), orders.backend, "orders-backend", "GetCredential")
    # it is looked up again by itself
    assert 0 < orders.certificate_properties("orders")["NextRefresh"] - time.time() < 70


def test_v18_a_new_version_that_is_not_fit_yet(orders, refused):
    """What is said of a version that nobody uses yet says nothing of the one in use."""
    made = orders.vault.add_certificate("orders", rotate=True, enabled=False)
    refused("Disabled", orders.refresh, "orders")
    assert orders.certificate_properties("orders")["State"] == "active"
    orders.check_signature()
    still_served(orders)
    orders.vault.change("orders", enabled=True)
    orders.refresh("orders")
    assert orders.key_is("orders", made)


def test_v18_a_leaf_that_is_not_valid_yet(orders, refused):
    """The leaf's dates are not the vault's: where its key signs already it waits, as at any rotation; an expired one is none."""
    expired = orders.vault.rotate("orders", leaf_not_before=1000, leaf_not_after=2000)
    orders.vault.change("orders", expired["version"], not_before=None, expires=None)
    refused("Expired", orders.refresh, "orders")
    assert orders.certificate_properties("orders")["Generation"] == 1
    time.sleep(1.1)  # `created` is in seconds
    begin = int(time.time()) + 2 * PATIENCE
    made = orders.vault.rotate("orders", leaf_not_before=begin)
    orders.vault.change("orders", made["version"], not_before=None)
    orders.refresh("orders")
    still_served(orders)
    orders.refresh("orders")
    assert [(g[0], g[2]) for g in orders.certificate_properties("orders")["Generations"]] == [(1, 0), (2, 0)]
    assert orders.last_error() == ""
    wait_until(lambda: orders.certificate_properties("orders")["Generation"] == 2, "its NotBefore", 20 * PATIENCE)
    assert orders.key_is("orders", made)
    orders.check_signature()


def test_v18_lost_names_are_said_as_long_as_it_is_current(orders):
    """Nobody can force what a vault rotates: it is published, and a look at it takes nothing away of what is said."""
    orders.vault.rotate("orders", sans=["other.example"])
    for again in (lambda: None, lambda: orders.refresh("orders"), lambda: orders.restart("vault")):
        again()
        orders.refresh("orders")
        assert "lacks names" in orders.last_error() and "DNS:orders.example" in orders.last_error()
    orders.certificate("orders", "SetCurrent", "t", 1)
    assert orders.last_error() == ""


@pytest.mark.parametrize("fault", ["V19.certificate", "V19.key"])
def test_v19_certificate_for_another_key(broker, refused, fault):
    broker.vault.add_certificate("orders")
    broker.vault.fault(fault, times=1000)
    refused("KeyMismatch", broker.register, "orders")
    assert broker.list_ids() == []
    assert "another key" in broker.log_text()


def test_v28_an_older_version_is_not_taken(orders, refused):
    time.sleep(1.1)  # `created` is in seconds
    orders.vault.rotate("orders")
    orders.refresh("orders")
    assert orders.certificate_properties("orders")["Generation"] == 2
    orders.vault.fault("V28.rollback", times=1000)
    with pytest.raises(Failure) as caught:
        orders.refresh("orders")
    assert caught.value.name == "Failed" and "older" in caught.value.message
    assert orders.certificate_properties("orders")["Generation"] == 2
    assert "older" in orders.log_text()


def test_v28_an_older_version_is_not_taken_by_who_has_just_begun(broker):
    """Neither one that the broker had before, nor one that it has never seen."""
    broker.vault.add_certificate("unseen")
    broker.vault.add_certificate("orders")
    broker.register("orders")
    time.sleep(1.1)  # `created` is in seconds
    for name in ("unseen", "orders"):
        broker.vault.rotate(name)
    broker.register("unseen")
    broker.refresh("orders")
    chains = {id: broker.chain(id) for id in ("unseen", "orders")}
    number = broker.vault.fault("V28.rollback", times=1000)
    broker.restart("vault")
    for id, generation in (("unseen", 1), ("orders", 2)):
        wait_until(lambda i=id: "older" in broker.last_error(i), "it is said")
        assert broker.certificate_properties(id)["Generation"] == generation
        assert broker.chain(id) == chains[id]
        broker.check_signature(id)
    broker.vault.clear_faults(number)
    for id in ("unseen", "orders"):
        broker.refresh(id)
        assert broker.last_error(id) == ""
    # what is newer is taken, by who has just begun as well
    made = broker.vault.rotate("orders")
    broker.restart("vault")
    wait_until(lambda: broker.key_is("orders", made), "the new version is found")
