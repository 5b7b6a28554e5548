# SPDX-License-Identifier: Apache-2.0
"""Who signs is not held up by who manages, on a vault; test_lanes.py: on a token."""

import pytest
from broker import Failure
from test_lanes import Management
from vaulted import certificate_path, orders, vaulted, broker, wait_until  # noqa: F401

CERTIFICATE = "org.certbroker1.Certificate"


def test_look_ups_that_the_vault_throttles(orders, refused):  # noqa: F811
    """It has asked whoever manages to wait, for minutes; a signature is another matter."""
    orders.vault.fault("V13.far", match="^GET /certificates/", times=1)
    refused("Throttled", orders.refresh, "orders")
    orders.check_signature()
    refused("Throttled", orders.refresh, "orders")
    orders.check_signature()


def test_look_ups_that_fail(orders):  # noqa: F811
    """However often: a vault that answers signatures is there."""
    orders.vault.fault("V14.503", match="^GET /certificates/", times=1000)
    for _ in range(3):
        with pytest.raises(Failure):
            orders.refresh("orders")
        orders.check_signature()


def test_slow_look_ups(orders):  # noqa: F811
    """One user's are made one after the other, beside signatures, and in no worker of theirs."""
    ids = [f"other-{i}" for i in range(6)]
    for id in ids:
        orders.add(id)
    pids = orders.helper_pids()
    orders.vault.clear_log()
    orders.vault.set(latency={"GET /certificates": 1.0})
    manager = Management(orders)
    for id in ids:
        manager.send(certificate_path(id), CERTIFICATE, "Refresh")
    for _ in range(20):
        orders.check_signature()
    wait_until(lambda: orders.asked("GET", "/certificates/") > 0, "the first is looked up")
    assert orders.asked("GET", "/certificates/") < 4
    orders.vault.set(latency={})
    assert manager.wait() == ["ok"] * 6 and orders.helper_pids() == pids
