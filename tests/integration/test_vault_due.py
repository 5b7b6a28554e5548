# SPDX-License-Identifier: Apache-2.0
"""Look-ups that are due all at once: who signs does not notice, nor who asks for one himself; nor is the vault run over."""

import time

from vaultdue import all_due, ids_of
from vaulted import *  # noqa: F401,F403
from vaulted import answered, wait_until

N = 100
ON_WAY_MAX = 8 + 1  # of what is due, and one of those that are looked up, in turn, as a source begins to serve


def test_all_due_at_once(vaulted):
    """Since long, when the broker starts; below: while it runs."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 500;\n")
    broker.add()
    all_due(broker, "orders", N, time.time() - 3600)
    broker.vault.set(latency={"GET /certificates/due-": 5.0})
    broker.vault.clear_log()
    broker.start(ready="vault")

    def asked():
        return broker.vault.requests("vault", "GET", "/certificates/due-")

    def on_way():
        return [request for request in asked() if request["status"] is None]

    wait_until(lambda: len(on_way()) >= 8, "those that are due are looked up", 20)
    # they take long; signatures do not, and what somebody asks for is not behind them
    assert answered(broker.sign_many(50, in_flight=25)) == 50
    broker.refresh("orders")
    assert len(asked()) < N
    seen = [request["time"] for request in asked()]
    assert max(len([other for other in seen if start <= other < start + 5]) for start in seen) <= ON_WAY_MAX

    # nobody's answer is behind another's: there are connections for the ones and for the others
    signed_over = {request["connection"] for request in broker.vault.requests("vault", "POST", "/keys/")}
    looked_up_over = {request["connection"] for request in broker.vault.requests("vault", "GET", "/certificates/due-")}
    assert signed_over and not signed_over & looked_up_over

    # in the end all are looked up, each once, and nothing is said of it
    broker.vault.set(latency={})
    left = set(ids_of(N))

    def all_done():
        left.difference_update([id for id in left if broker.certificate_properties(id)["NextRefresh"] > time.time() + 3600])
        return not left

    wait_until(all_done, "all are looked up", 60)
    assert {broker.last_error(id) for id in ids_of(N)} == {""}
    assert len(asked()) == N
    assert "due-" not in broker.log_text()


def test_the_vault_throttles_what_is_due(vaulted):
    """All of them wait, which is said once: of no certificate is it an error, and no signature's matter."""
    broker = vaulted.begin()
    broker.add()
    all_due(broker, "orders", 20, time.time() + 2)
    throttled = broker.vault.fault("V13.seconds", match="^GET /certificates/due-", times=1)
    broker.start(ready="vault")
    wait_until(lambda: broker.vault.hits(throttled), "the vault has had enough", 20)
    broker.check_signature()
    wait_until(lambda: all(broker.certificate_properties(id)["NextRefresh"] > time.time() + 3600 for id in ids_of(20)),
               "all are looked up", 60)
    assert {broker.last_error(id) for id in ids_of(20)} == {""}
    assert broker.log_text().count("look-ups that are due wait") <= 1
