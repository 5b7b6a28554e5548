# SPDX-License-Identifier: Apache-2.0
"""Versions in the vault: rotated between two requests, not fit to sign, of another key, older than they should be. The
numbers are those of test_vault_faults.py."""

import contextlib
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


def test_v18_a_version_that_waits_in_the_vault(orders, refused):
    """The vault gives the key the leaf's dates, and signs nothing before: it waits untried, and is tried at its time. As
    the first of an id it is refused."""
    time.sleep(1.1)  # `created` is in seconds
    made = orders.vault.rotate("orders", leaf_not_before=int(time.time()) + 4 * PATIENCE)
    orders.refresh("orders")
    orders.refresh("orders")
    assert [(g[0], g[2]) for g in orders.certificate_properties("orders")["Generations"]] == [(1, 0), (2, 0)]
    assert orders.last_error() == ""
    refused("Pending", orders.register, "first", orders.uri("orders", made["version"]))
    still_served(orders)
    orders.check_signature()
    wait_until(lambda: orders.certificate_properties("orders")["Generation"] == 2, "its NotBefore", 20 * PATIENCE)
    assert orders.key_is("orders", made)
    orders.check_signature()
    assert orders.last_error() == ""


def test_v18_what_became_of_one_that_waited(orders):
    """When its time comes its key is tried, though nobody uses it and the next look-up is hours away."""
    made = orders.vault.rotate("orders", leaf_not_before=int(time.time()) + 2 * PATIENCE)
    orders.vault.change("orders", made["version"], not_before=None)
    orders.refresh("orders")
    orders.vault.change("orders", made["version"], enabled=False)
    properties = lambda: orders.certificate_properties("orders")  # noqa: E731
    assert properties()["State"] == "active"
    wait_until(lambda: "generation 2 is valid now" in orders.last_error(), "it is said", 20 * PATIENCE)
    assert "disabled" in orders.last_error()
    assert (properties()["Generation"], properties()["State"]) == (1, "active")
    orders.check_signature()
    orders.vault.change("orders", made["version"], enabled=True)
    orders.refresh("orders")
    assert orders.last_error() == "" and orders.key_is("orders", made)


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


def metric(broker, name, id="orders"):
    """The sample of this certificate, or None."""
    [line] = [line for line in str(broker.manager("GetMetrics")).splitlines()
              if line.startswith(f'{name}{{certificate="{id}"}} ')] or [None]
    return line and float(line.split()[-1])


# What a newer version may be like that cannot be taken: a fault while it is looked up, and the words for it.
UNFIT = [("V20.flipped", "/sign", "did not pass a trial"), ("V19.certificate", "^GET /certificates/", "another key"),
         ("V7.array", "^GET /keys/", "the vault's key"), ("V14.500", "/sign", "500")]


def is_refreshed(broker, id="orders"):
    with contextlib.suppress(Failure):
        broker.refresh(id)
        return True
    return False


def test_a_rotation_that_cannot_be_published(vaulted, refused):
    """It is said, counted, shown and tried again a minute later; the one before goes on."""
    broker = vaulted.begin(refresh="1s")
    broker.add()
    started = time.time()
    for i, (fault, match, words) in enumerate(UNFIT):
        broker.vault.fault(fault, match=match, times=1000)
        # the first is found by itself, the others are by somebody who asks
        if i == 0:
            made = broker.vault.rotate("orders")
        else:
            with pytest.raises(Failure):
                broker.refresh("orders")
        wait_until(lambda w=words: w in broker.last_error(), f"LastError has: {words}", 20)
        properties = broker.certificate_properties("orders")
        assert time.time() < properties["NextRefresh"] < time.time() + 62
        assert properties["State"] == "active" and properties["Generation"] == 1
        assert words in broker.cli("status").stdout.decode()
        assert metric(broker, "certbroker_rotations_failed_total") == i + 1
        assert started - 1 < metric(broker, "certbroker_rotation_failing_since_seconds") <= time.time()
        broker.vault.clear_faults()
        broker.check_signature()
    assert broker.log_text().count("certificate 'orders' is not rotated") == 1
    # the last one was a failure of this key's, which is left alone a moment
    wait_until(lambda: is_refreshed(broker) and broker.key_is("orders", made), "it is published")
    assert broker.last_error() == ""
    assert metric(broker, "certbroker_rotations_failed_total") >= len(UNFIT)
    assert metric(broker, "certbroker_rotation_failing_since_seconds") is None


def test_a_trial_that_is_throttled_fails_at_nothing(orders, refused):
    """The vault has no room for it: the newer version is neither counted nor told as one that cannot be taken."""
    made = orders.vault.rotate("orders")
    fault = orders.vault.fault("V13.seconds", match=f"^POST /keys/orders/{made['version']}", times=1)
    refused("Throttled", orders.refresh, "orders")
    assert orders.vault.hits(fault) == 1
    assert metric(orders, "certbroker_rotations_failed_total") in (None, 0)
    assert "is not rotated" not in orders.log_text() and orders.last_error() == ""
    wait_until(lambda: is_refreshed(orders) and orders.key_is("orders", made), "it is published", 20)


def test_a_new_versions_key_that_is_not_there_yet(orders):
    """404 of the newer version's key says nothing of the one in use."""
    made = orders.vault.rotate("orders")
    orders.vault.fault("V11.not-found", match=f"^GET /keys/orders/{made['version']}", times=1000)
    with pytest.raises(Failure):
        orders.refresh("orders")
    assert orders.certificate_properties("orders")["State"] == "active" and made["version"] in orders.last_error()
    still_served(orders)
    orders.check_signature()
    orders.vault.clear_faults()
    orders.refresh("orders")
    assert orders.key_is("orders", made)


def test_restored_from_an_older_backup(broker, refused):
    """The current version is gone from the vault, which answers with the one before: said, across restarts, until a
    person goes back to that; one that was never here is a rotation."""
    first = broker.add()
    broker.create_backend("orders-backend", "orders")
    time.sleep(1.1)  # `created` is in seconds
    second = broker.vault.rotate("orders")
    broker.refresh("orders")
    assert broker.certificate_properties("orders")["Generation"] == 2
    broker.vault.remove_certificate("orders", second["version"])

    def is_said():
        return broker.certificate_properties("orders")["State"] == "unavailable" and \
            "certbroker certificate rollback orders 1" in broker.last_error() and second["version"] in broker.last_error()

    refused("NotFound", broker.try_sign)
    wait_until(is_said, "a signature finds it")
    broker.refresh("orders")
    assert is_said()
    assert "rollback orders 1" in broker.cli("status").stdout.decode()
    broker.restart("vault")
    wait_until(lambda: broker.certificate_properties("orders")["LastRefresh"] > 0, "it is looked up")
    broker.refresh("orders")
    assert is_said()
    assert broker.certificate_properties("orders")["Generation"] == 2
    broker.cli("certificate", "rollback", "orders", "1")
    for _ in range(2):
        broker.check_signature()
        assert broker.certificate_properties("orders")["State"] == "active"
        broker.refresh("orders")
        assert broker.last_error() == "" and broker.key_is("orders", first)
    # rolled back while both are there: that it is no longer the latest says nothing of it
    third = broker.vault.rotate("orders")
    broker.refresh("orders")
    broker.certificate("orders", "SetCurrent", "t", 1)
    broker.refresh("orders")
    assert broker.certificate_properties("orders")["Generation"] == 1 and broker.last_error() == ""
    broker.vault.change("orders", first["version"], enabled=False)
    refused("Disabled", broker.refresh, "orders")
    assert broker.certificate_properties("orders")["State"] == "disabled"
    broker.certificate("orders", "SetCurrent", "t", 3)
    broker.refresh("orders")
    assert broker.key_is("orders", third)
    broker.check_signature()


def test_restored_to_what_was_never_here(broker):
    """The vault has another version instead, which this broker has never had: a rotation like any."""
    older = broker.vault.add_certificate("orders")
    time.sleep(1.1)  # `created` is in seconds
    newer = broker.vault.rotate("orders")
    broker.register("orders")
    broker.vault.remove_certificate("orders", newer["version"])
    broker.refresh("orders")
    assert broker.key_is("orders", older)
    broker.check_signature()


def test_a_use_that_succeeds_ends_unavailable(orders, refused):
    """At once, whatever look-ups say meanwhile; where they say again that it is gone, that counts."""
    state = lambda: orders.certificate_properties("orders")["State"]  # noqa: E731
    sign = orders.vault.fault("V11.not-found", match="^POST /keys/", times=1000)
    gone = orders.vault.fault("V11.not-found", match="^GET /certificates/", times=1000)
    refused("NotFound", orders.try_sign)
    wait_until(lambda: state() == "unavailable", "a look-up says so, too")
    orders.vault.clear_faults(sign)
    orders.vault.set(latency={"GET /certificates": 2})
    orders.check_signature()
    assert state() == "active" and orders.last_error() == ""
    wait_until(lambda: state() == "unavailable", "the look-up after it says that it is gone")
    orders.check_signature()
    assert state() == "unavailable"
    orders.vault.set(latency={})
    orders.vault.clear_faults(gone)
    orders.check_signature()
    wait_until(lambda: state() == "active", "it is there again")
