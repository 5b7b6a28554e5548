# SPDX-License-Identifier: Apache-2.0
"""Of what a failure of the vault is evidence: one object, several, or the vault. The numbers are those of test_vault_faults.py."""

import pytest

from vaulted import *  # noqa: F401,F403
from vaulted import Failure, still_served, wait_until


def test_v14_one_object_fails(orders, refused):
    """It alone is refused, and asked seldom; what else there is in the vault is served as ever."""
    orders.add("bad")
    number = orders.vault.fault("V14.500", match="^POST /keys/bad/", times=100000)
    for _ in range(20):
        assert "/keys/bad/" in refused("SourceUnavailable", orders.try_sign, "bad")
        orders.check_signature()
        assert orders.vault_state() == ("ready", orders.vault_state()[1])
    assert 3 <= orders.vault.hits(number) < 20  # three at first, and a try after each back-off; not three a call
    assert orders.log_text().count("nothing else is put off by that") == 1
    orders.vault.clear_faults()
    wait_until(lambda: signs(orders, "bad"), "it is tried again", 10)


def signs(broker, id):
    try:
        broker.check_signature(id)
    except Failure:
        return False
    return True


def test_v14_several_objects_fail(orders, refused):
    """Though the vault answers, it signs with none: that is said, and it is not asked by all of them at once."""
    ids = [f"bad-{i}" for i in range(6)]
    for id in ids:
        orders.add(id)
    number = orders.vault.fault("V14.503", match="^POST /keys", times=100000)
    for id in ids * 3:
        refused("SourceUnavailable", orders.try_sign, id)
    wait_until(lambda: orders.vault_state()[0] == "degraded", "it is said")
    assert "several keys" in orders.vault_state()[1]
    assert 18 <= orders.vault.hits(number) < 36  # three for each at first, and some tries; not three a call
    orders.vault.clear_faults()
    orders.vault.fault("V14.503", match="^POST /keys/bad", times=100000)
    for _ in range(10):
        orders.check_signature()  # it did not fail: it need not wait for them
        for id in ids:
            refused("SourceUnavailable", orders.try_sign, id)
    assert orders.vault_state()[0] == "ready"
    orders.vault.clear_faults()
    for id in ids:
        wait_until(lambda: signs(orders, id), "it is tried again", 10)


def test_v14_fails_behind_its_door(orders, refused):
    """Who has no token is told so as ever: that says nothing. It is left alone for as long as it says."""
    orders.vault.fault("V14.behind", times=100000)
    refused("SourceUnavailable", orders.try_sign)
    wait_until(lambda: orders.vault_state()[0] == "unavailable", "it is known")
    for _ in range(20):
        refused("SourceUnavailable", orders.try_sign)
    assert orders.asked("POST", "/keys/") == 1 and len(orders.vault.requests("vault")) <= 3
    assert "next try in at most" in orders.vault_state()[1]
    assert still_served(orders)["stale"]
    with pytest.raises(Failure):
        orders.source_call("vault", "Refresh")  # somebody asks: so does it, once
    assert len(orders.vault.requests("vault")) <= 4
    orders.vault.clear_faults()
    orders.source_call("vault", "Refresh")
    orders.check_signature()
    assert orders.log_text().count("is unavailable") <= 2  # and when it was asked
