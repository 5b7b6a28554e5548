# SPDX-License-Identifier: Apache-2.0
"""What a key vault, its network and its authority can do to us: V1 to V20, V25 to V28, and what must follow.

V21 to V23 are in test_vault_tokens.py; V24 (a vault's URL from a caller) is in test_vault_lookup.py: identifiers of
another host.
"""

import pathlib
import time

import pytest

import pki
from vaulted import *  # noqa: F401,F403
from vaulted import Failure, PATIENCE, answered, certificate_path, wait_until


@pytest.fixture
def orders(broker):
    """A broker with the certificate `orders` (ec-p256) in the vault, which has signed once."""
    broker.made = broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.check_signature()
    broker.vault.clear_log()
    return broker


def still_served(broker):
    """The cached credential is answered whatever the vault does, and the broker lives."""
    credential = broker.backend("orders-backend", "GetCredential")
    assert credential["generation"] == 1 and len(credential["chain"]) >= 1
    return credential


def recovers(broker, within=5.0):
    start = time.monotonic()
    wait_until(lambda: broker.vault_state()[0] == "ready", "the source is ready again", within)
    broker.check_signature()
    return time.monotonic() - start


# ---- V2: it is not there

@pytest.mark.parametrize("mode", ["refuse", "drop", "stall"])
def test_v2_not_reachable(orders, refused, mode):
    orders.vault.network(mode)
    message = refused("SourceUnavailable", orders.try_sign, timeout=30)
    assert message
    for _ in range(5):
        if orders.vault_state()[0] == "unavailable":
            break
        with pytest.raises(Failure) as caught:
            orders.try_sign(timeout=30)
        assert caught.value.name == "SourceUnavailable"
    wait_until(lambda: orders.vault_state()[0] == "unavailable", "unavailable", 30)
    assert "next try" in orders.vault_state()[1]
    # with the breaker open a refusal takes no time
    start = time.monotonic()
    refused("SourceUnavailable", orders.try_sign)
    assert time.monotonic() - start < 1 * PATIENCE
    assert still_served(orders)["stale"]
    assert orders.certificate_properties("orders")["State"] == "active"
    orders.vault.network("open")
    if mode == "refuse":
        recovers(orders)
    else:
        recovers(orders, 20)  # a probe that waits for its own time to be over is under way
    assert not still_served(orders)["stale"]


def test_v2_another_source_is_not_delayed(vaulted):
    vaulted.init_token()
    broker = vaulted.begin(more=vaulted.source())
    broker.wait_source("hsm", "ready")
    broker.import_new("token-key", source="hsm")
    broker.add()
    broker.vault.network("drop")
    for _ in range(20):
        start = time.monotonic()
        broker.try_sign("token-key")
        assert time.monotonic() - start < 1 * PATIENCE


# ---- V3: it is somebody else

@pytest.mark.parametrize("mode", ["wrong-ca", "self-signed", "expired", "not-yet-valid", "wrong-host", "sha1", "tls1.1",
                                  "client-certificate"])
def test_v3_tls(orders, refused, mode):
    orders.vault.tls(mode)
    orders.vault.network("refuse")  # and with it the connections that were made with the good certificate
    with pytest.raises(Failure):
        orders.try_sign()
    orders.vault.network("open")
    refused("SourceUnavailable", orders.try_sign)
    # a server that wants no such client may just close: then all that is to be seen is a handshake without an end
    word = "TLS" if mode in ("tls1.1", "client-certificate") else "not secure"
    wait_until(lambda: orders.vault_state()[0] == "unavailable"
               and (word in orders.vault_state()[1] or word == "TLS" and "SSL" in orders.vault_state()[1]),
               "it is said to be not secure", 20)
    still_served(orders)
    refused("SourceUnavailable", orders.try_sign)
    # no storm: a handshake every few seconds at most, and no request, so no token, reached it
    orders.vault.clear_log()
    time.sleep(2)
    assert len(orders.vault.connections("vault")) <= 2
    assert orders.vault.requests("vault") == []
    orders.vault.tls("good")
    orders.source_call("vault", "Refresh")
    recovers(orders)


# ---- V4 to V7: what it sends

@pytest.mark.parametrize("fault", ["V4.header", "V4.body", "V4.silent"])
def test_v4_slow(vaulted, fault):
    broker = vaulted.begin(broker='  request-timeout = "4s";\n')
    broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.vault.fault(fault, match="^POST /keys")
    start = time.monotonic()
    with pytest.raises(Failure) as caught:
        broker.try_sign()
    assert caught.value.name in ("SourceUnavailable", "TimedOut")
    assert time.monotonic() - start < 6 * PATIENCE
    still_served(broker)
    broker.vault.clear_faults()
    broker.check_signature()


@pytest.mark.parametrize("fault", ["V5.truncated", "V5.chunk", "V5.reset", "V5.reset-at-once", "V5.closed"])
def test_v5_cut_once_is_tried_again(orders, fault):
    number = orders.vault.fault(fault, match="^POST /keys", times=1)
    orders.check_signature()
    assert orders.vault.hits(number) == 1


@pytest.mark.parametrize("path", ["certificates", "keys", "secrets"])
@pytest.mark.parametrize("fault", ["V5.truncated", "V5.chunk", "V5.reset", "V5.cut-json", "V5.closed"])
def test_v5_cut_always(broker, fault, path):
    """No part of an answer is used: there is no certificate, and then a whole one."""
    broker.vault.add_certificate("orders")
    broker.vault.fault(fault, match=f"^GET /{path}/", times=100)
    with pytest.raises(Failure) as caught:
        broker.register("orders")
    assert caught.value.name in ("SourceUnavailable", "Failed"), str(caught.value)
    assert broker.list_ids() == []
    # three tries of ours; curl by itself sends a request again that died with a connection from before
    assert 1 <= broker.asked("GET", f"/{path}/orders") <= 4
    broker.vault.clear_faults()
    broker.source_call("vault", "Refresh")
    broker.register("orders")
    broker.check_signature()


def memory_kib(broker):
    [pid] = broker.helper_pids()
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


@pytest.mark.parametrize("fault", ["V6.body", "V6.announced", "V6.header", "V6.headers", "V6.gzip"])
def test_v6_huge(orders, fault, refused):
    before = memory_kib(orders)
    orders.vault.fault(fault, match="^POST /keys", times=100)
    with pytest.raises(Failure) as caught:
        orders.try_sign()
    assert caught.value.name in ("SourceUnavailable", "Failed")
    assert memory_kib(orders) - before < (4 << 10) * PATIENCE
    still_served(orders)
    orders.vault.clear_faults()
    orders.source_call("vault", "Refresh")
    orders.check_signature()


V7 = {
    "certificates": ["deep", "deep-object", "duplicate", "nul", "array", "null", "empty", "html", "type",
                     "attributes-type", "enabled-type", "overflow", "negative", "fraction", "base64", "no-certificate",
                     "no-cer", "no-id", "foreign-kid", "utf8"],
    "keys": ["deep", "array", "null", "empty", "html"],
    "secrets": ["deep", "duplicate", "array", "empty", "html", "secret", "secret-null", "secret-empty"],
}


@pytest.mark.parametrize("path,fault", [(path, fault) for path, faults in V7.items() for fault in faults])
def test_v7_nonsense(broker, path, fault):
    broker.vault.add_certificate("orders")
    number = broker.vault.fault(f"V7.{fault}", match=f"^GET /{path}/", times=100)
    with pytest.raises(Failure) as caught:
        broker.register("orders")
    assert broker.vault.hits(number) > 0
    assert caught.value.name in ("Failed", "BadBundle", "KeyMismatch"), str(caught.value)
    assert "not*base64" not in caught.value.message and "99999999" not in caught.value.message
    assert broker.list_ids() == []
    assert broker.sent_elsewhere() == []
    broker.vault.clear_faults()
    broker.register("orders")


def test_v7_without_kid(broker):
    """The key of a certificate has its name and version: that the vault does not repeat it is no fault."""
    broker.vault.add_certificate("orders")
    broker.vault.fault("V7.no-kid", times=100)
    broker.register("orders")
    broker.check_signature()


# ---- V8 to V12: what it says

def test_v8_a_token_that_is_refused_once(orders):
    orders.vault.revoke_tokens()
    orders.check_signature()
    assert len(orders.vault.requests("metadata")) == 1


@pytest.mark.parametrize("fault", ["V8.challenge", "V8.claims"])
def test_v8_a_token_that_is_refused_always(orders, refused, fault):
    orders.vault.fault(fault, match="^POST /keys", times=1000)
    refused("SourceDenied", orders.try_sign)
    assert orders.asked("POST", "/keys/") == 2
    assert len(orders.vault.requests("metadata")) == 1
    still_served(orders)


def test_v9_refreshed_ahead_by_one(vaulted):
    vaulted.vault.set(token_lifetime=40)
    broker = vaulted.begin()
    broker.add()
    broker.vault.clear_log()
    wait_until(lambda: broker.vault.requests("metadata"), "a new token is asked for before the old one ends", 34)
    assert len(broker.vault.requests("metadata")) == 1
    broker.check_signature()


@pytest.mark.parametrize("fault", ["V9.ahead", "V9.behind"])
def test_v9_clocks_differ(orders, fault):
    orders.vault.fault(fault)
    orders.vault.revoke_tokens()
    orders.check_signature()


def test_v9_a_hundred_callers_one_token(vaulted):
    broker = vaulted.begin(broker="  max-in-flight-per-client = 200;\n")
    broker.add()
    broker.vault.set(latency={"GET /metadata": 0.3})
    broker.vault.revoke_tokens()
    broker.vault.clear_log()
    assert answered(broker.sign_many(100)) == 100
    assert len(broker.vault.requests("metadata")) == 1


@pytest.mark.parametrize("inner", ["ForbiddenByPolicy", "ForbiddenByRbac", "AccessDenied", "ForbiddenByFirewall",
                                   "ForbiddenByConnection"])
def test_v10_forbidden(orders, refused, inner):
    orders.vault.fault(f"V10.{inner}", match="^POST /keys", times=1000)
    message = refused("SourceDenied", orders.try_sign)
    assert ("firewall" in message) == (inner == "ForbiddenByFirewall")
    assert orders.asked("POST", "/keys/") == 1
    refused("SourceDenied", orders.try_sign)
    assert orders.asked("POST", "/keys/") == 1  # for a minute it is not asked again
    still_served(orders)
    orders.vault.clear_faults()
    orders.source_call("vault", "Refresh")
    orders.check_signature()


@pytest.mark.parametrize("fault", ["V11.not-found", "V11.html", "V11.empty"])
def test_v11_not_found_once_is_no_end(orders, fault):
    orders.vault.fault(fault, match="^GET /certificates/", times=1)
    orders.refresh("orders")
    assert orders.certificate_properties("orders")["State"] == "active"
    assert orders.last_error() == ""


@pytest.mark.parametrize("fault", ["V11.not-found", "V11.html", "V11.empty"])
def test_v11_not_found_twice(orders, fault):
    orders.vault.fault(fault, match="^GET /certificates/", times=2)
    orders.refresh("orders")
    assert orders.certificate_properties("orders")["State"] == "unavailable"
    assert "twice" in orders.last_error()
    still_served(orders)
    orders.refresh("orders")
    assert orders.certificate_properties("orders")["State"] == "active"


def test_v12_busy(broker, refused):
    number = broker.vault.fault(kind="vault-error", status=409, code="Conflict", match="^GET /certificates/", times=2,
                                message="The object is in use.")
    broker.vault.add_certificate("orders")
    broker.register("orders")
    assert broker.vault.hits(number) == 2
    broker.vault.fault(kind="vault-error", status=409, code="Conflict", match="^GET /certificates/", times=1000,
                       message="The object is in use.")
    broker.vault.clear_log()
    refused("Failed", broker.refresh, "orders")
    assert broker.asked("GET", "/certificates/orders") == 4


# ---- V13, V14: not now

@pytest.mark.parametrize("fault,least", [("seconds", 7), ("date", 5), ("milliseconds", 7), ("x-milliseconds", 7),
                                         ("far", 60), ("absurd", 60), ("overflow", 60)])
def test_v13_asked_to_wait(orders, refused, fault, least):
    orders.vault.fault(f"V13.{fault}", match="^POST /keys", times=1)
    message = refused("Throttled", orders.try_sign)
    orders.vault.clear_log()
    end = time.monotonic() + min(least - 2, 3)
    while time.monotonic() < end:
        message = refused("Throttled", orders.try_sign)
        time.sleep(0.2)
    assert "try again in" in message
    assert orders.vault.requests("vault") == []
    seconds = int(message.split("try again in ")[1].split()[0])
    assert seconds <= 300
    wait_until(lambda: orders.vault_state()[0] == "degraded", "it says so")
    still_served(orders)
    if least < 10:
        wait_until(lambda: orders.vault_state()[0] == "ready", "over", least + 3)
        orders.check_signature()


@pytest.mark.parametrize("fault", ["missing", "past", "negative", "text"])
def test_v13_without_a_time_that_makes_sense(orders, fault):
    number = orders.vault.fault(f"V13.{fault}", match="^POST /keys", times=1)
    orders.check_signature()
    assert orders.vault.hits(number) == 1


@pytest.mark.parametrize("fault", ["408", "500", "502", "503", "504", "json", "retry-after"])
def test_v14_fails_once(orders, fault):
    number = orders.vault.fault(f"V14.{fault}", match="^POST /keys", times=1)
    orders.check_signature()
    assert orders.vault.hits(number) == 1


def test_v14_fails_for_long(orders, refused):
    number = orders.vault.fault("V14.503", times=100000)
    refused("SourceUnavailable", orders.try_sign)
    wait_until(lambda: orders.vault_state()[0] == "unavailable", "the breaker is open")
    hits = orders.vault.hits(number)
    for _ in range(50):
        refused("SourceUnavailable", orders.try_sign)
    time.sleep(3)
    assert orders.vault.hits(number) - hits <= 5  # probes
    still_served(orders)
    orders.vault.clear_faults()
    recovers(orders)


# ---- V15, V16: somewhere else

@pytest.mark.parametrize("fault", ["301", "302", "303", "307", "308", "http", "metadata", "file"])
@pytest.mark.parametrize("match", ["^POST /keys", "^GET "])
def test_v15_redirects(orders, fault, match):
    orders.vault.fault(f"V15.{fault}", match=match, times=1000)
    with pytest.raises(Failure) as caught:
        orders.try_sign() if "POST" in match else orders.refresh("orders")
    assert caught.value.name == "SourceUnavailable"
    assert "redirect" in caught.value.message
    assert orders.sent_elsewhere() == []
    assert [r for r in orders.vault.requests("metadata")] == []
    still_served(orders)


def test_v15_a_token_endpoint_that_redirects(vaulted):
    vaulted.vault.fault("V15.token", times=1000)
    broker = vaulted.begin(ready=None)
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert broker.sent_elsewhere() == []


@pytest.mark.parametrize("fault", ["loop", "no-location", "interim", "http09", "garbage", "smuggled"])
def test_v16_nonsense_of_http(orders, fault):
    orders.vault.fault(f"V16.{fault}", match="^POST /keys", times=1000)
    start = time.monotonic()
    try:
        orders.check_signature()
        assert fault == "smuggled"  # the first answer is whole; what follows it must not answer the next request
    except Failure as failure:
        assert failure.name in ("SourceUnavailable", "Failed"), str(failure)
    assert time.monotonic() - start < 25 * PATIENCE
    still_served(orders)
    orders.vault.clear_faults()
    orders.source_call("vault", "Refresh")
    for _ in range(3):
        orders.check_signature()


# ---- V17 to V20: another key

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


@pytest.mark.parametrize("fault", ["V19.certificate", "V19.key"])
def test_v19_certificate_for_another_key(broker, refused, fault):
    broker.vault.add_certificate("orders")
    broker.vault.fault(fault, times=1000)
    refused("KeyMismatch", broker.register, "orders")
    assert broker.list_ids() == []
    assert "another key" in broker.log_text()


@pytest.mark.parametrize("key_type,algorithm", [("ec-p256", "ecdsa-sha256"), ("rsa-2048", "rsa-pss-sha256")])
@pytest.mark.parametrize("how", ["other-digest", "other-key", "flipped", "short", "long", "empty", "der", "zero",
                                 "not-base64", "other-kid"])
def test_v20_bad_signatures(broker, how, key_type, algorithm):
    if how == "der" and key_type == "rsa-2048":
        return  # an RSA signature has one form
    broker.add(key_type=key_type)
    number = broker.vault.fault(f"V20.{how}", times=1000)
    with pytest.raises(Failure) as caught:
        broker.try_sign(algorithm=algorithm)
    assert caught.value.name == "Failed", str(caught.value)
    assert broker.vault.hits(number) == 1


def test_v20_high_s_is_a_signature(orders):
    orders.vault.fault("V20.high-s", times=1000)
    orders.check_signature()


# ---- V25 to V28

def test_v25_no_key_log(vaulted):
    path = vaulted.folder / "keys.log"
    broker = vaulted.begin(environment={"SSLKEYLOGFILE": path})
    broker.add()
    broker.check_signature()
    assert not path.exists()


def test_v26_misses_are_coalesced(vaulted):
    """A broker that has just started knows no public key: a hundred signatures ask for it once."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 200;\n")
    broker.add()
    broker.vault.set(latency={"vault": 0.2})
    broker.vault.clear_log()
    broker.restart("vault")
    assert answered(broker.sign_many(100)) == 100
    assert 1 <= broker.asked("GET", "/keys/") <= 2  # by the signatures together, and by the look-up of the start
    assert broker.asked("POST", "/keys/") == 100


@pytest.mark.parametrize("fault", ["V27.itself", "V27.elsewhere"])
def test_v27_pages_without_end(broker, fault):
    """Pages are read to see whether a version that could not be published is the only one."""
    from cryptography import x509  # noqa: F401
    key = pki.key("ec-p256", 1)
    broker.import_bundle("orders", pki.p12(key, pki.certificate(key), passphrase=b""), source="vault")
    broker.vault.fault(fault, times=100000)
    broker.vault.fault("V20.flipped", times=100000)  # the trial fails, so the version is discarded
    other = pki.key("ec-p256", 2)
    with pytest.raises(Failure) as caught:
        broker.import_bundle("orders", pki.p12(other, pki.certificate(other), passphrase=b""), source="vault",
                             replace=True)
    assert caught.value.name in ("Failed", "KeyMismatch")
    assert broker.asked("GET", "/certificates/orders/versions") <= 100
    assert broker.sent_elsewhere() == []


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
