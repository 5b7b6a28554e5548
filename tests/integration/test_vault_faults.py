# SPDX-License-Identifier: Apache-2.0
"""What a key vault, its network and its authority can do to us, and what must follow.

The faults, by the numbers that tests/keyvault/standin/catalogue.py has as well, and their tests; where no file is named,
here:

V1   its name does not resolve, or the name server does not answer    test_vault_hosts.py
V2   it refuses, drops or stalls connections                          test_v2_*; a second vault: test_vault_hosts.py;
                                                                      under load: test_vault_gateway.py
V3   it is somebody else, or TLS is bad                               test_v3_tls
V4   it answers a byte a second                                       test_v4_slow
V5   its answer is cut                                                test_v5_*
V6   its answer is huge                                               test_v6_huge
V7   its answer is nonsense                                           test_v7_*
V8   it refuses a fresh token                                         test_v8_*
V9   a token ends soon, or clocks differ                              test_v9_*; lives of tokens: test_vault_tokens.py
V10  it forbids                                                       test_v10_*; a second vault: test_vault_hosts.py
V11  it has it not, or it was deleted softly                          test_v11_*; deleted: test_vault_lookup.py
V12  it is busy with the object                                       test_v12_busy
V13  it asks to be left alone                                         test_v13_*; a second vault: test_vault_hosts.py
V14  it fails                                                         test_v14_*; one object alone, and what is behind its
                                                                      door: test_vault_objects.py
V15  it sends us elsewhere                                            test_v15_*
V16  it does not speak HTTP                                           test_v16_nonsense_of_http
V17  a rotation between two requests                                  test_vault_versions.py
V18  disabled, expired, not yet valid, not for signing                test_vault_versions.py
V19  a certificate of another key                                     test_vault_versions.py
V20  a signature that is none                                         test_v20_*
V21  a challenge that leads elsewhere                                 test_vault_tokens.py
V22  the identity endpoint                                            test_vault_tokens.py; Arc: test_vault_auth.py
V23  a token for somebody else, or too big; tokens that are seen      test_vault_tokens.py; test_vault_auth.py
V24  a caller who names a host                                        test_vault_hosts.py; identifiers: test_vault_lookup.py
V25  a key log                                                        test_v25_no_key_log
V26  many ask for the same                                            test_v26_*; a thousand look-ups: test_vault_lookup.py
V27  pages without end                                                test_v27_pages_without_end
V28  an older version than before                                     test_vault_versions.py
"""

import pathlib
import time
import uuid

import dbus
import pytest

import pki
from test_reload import Calls
from vaulted import *  # noqa: F401,F403
from vaulted import Failure, PATIENCE, answered, certificate_path, still_served, wait_until


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


@pytest.mark.parametrize("end", ["disabled", "deleted"])
def test_a_slow_vaults_signature_comes_too_late(broker, end):
    """What the vault has signed when its certificate was disabled or deleted meanwhile is kept."""
    broker.add()
    broker.check_signature()
    broker.vault.set(latency={"POST /keys": 1.5 * PATIENCE})
    before, calls = broker.asked("POST", "/keys/"), Calls(broker)
    calls.send(certificate_path("orders"), "org.certbroker1.Certificate", "Sign", "tsay", dbus.UInt64(0), "ecdsa-sha256",
               dbus.ByteArray(bytes(32)))
    wait_until(lambda: broker.asked("POST", "/keys/") > before, "the vault is asked")
    if end == "disabled":
        broker.certificate("orders", "SetEnabled", "b", False)
    else:
        broker.delete_certificate("orders")
    assert calls.end() == {"Sign": {"disabled": "Disabled", "deleted": "NotFound"}[end]}


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
    assert word in orders.log_text() or "SSL" in orders.log_text()
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


@pytest.mark.parametrize("fault, path", [(fault, path)
                                         for fault in ("V5.truncated", "V5.chunk", "V5.reset", "V5.cut-json", "V5.closed")
                                         for path in ("certificates", "keys", "secrets")
                                         if (fault, path) != ("V5.cut-json", "secrets")])
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


def test_v5_a_secret_that_is_cut(broker):
    """A whole answer whose JSON is not: it costs the chain alone, as any secret that cannot be read."""
    broker.vault.add_certificate("orders")
    broker.vault.fault("V5.cut-json", match="^GET /secrets/", times=100)
    broker.register("orders")
    assert len(broker.chain("orders")) == 1
    assert "secret of orders in the vault" in broker.last_error()
    broker.check_signature()
    broker.vault.clear_faults()
    broker.refresh("orders")
    assert len(broker.chain("orders")) > 1 and broker.last_error() == ""


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


# what is said of a member names it
V7_MEMBERS = {"type": "'cer'", "attributes-type": "'attributes'", "enabled-type": "'attributes.enabled'",
              "overflow": "JSON", "negative": "'attributes.exp'", "fraction": "'attributes.exp'", "base64": "'cer'",
              "no-cer": "'cer'", "no-id": "'id'", "foreign-kid": "/keys/orders/", "secret": "'value'", "secret-null": "'value'"}


@pytest.mark.parametrize("path", V7)
def test_v7_nonsense(broker, path):
    for fault in V7[path]:
        id = f"{path}-{fault}"
        broker.vault.add_certificate(id)
        number = broker.vault.fault(f"V7.{fault}", match=f"^GET /{path}/", times=100)
        if path == "secrets":  # the chain is all that it costs
            broker.register(id)
            assert broker.vault.hits(number) > 0, fault
            assert f"secret of {id} in the vault" in broker.last_error(id)
            assert V7_MEMBERS.get(fault, "") in broker.last_error(id)
            assert len(broker.chain(id)) == 1
            broker.check_signature(id)
            broker.vault.clear_faults()
            continue
        with pytest.raises(Failure) as caught:
            broker.register(id)
        assert broker.vault.hits(number) > 0, fault
        assert caught.value.name in ("Failed", "BadBundle", "KeyMismatch"), f"{fault}: {caught.value}"
        assert V7_MEMBERS.get(fault, "") in caught.value.message, f"{fault}: {caught.value}"
        assert "not*base64" not in caught.value.message and "99999999" not in caught.value.message
        assert id not in broker.list_ids()
        broker.vault.clear_faults()
        broker.register(id)
    assert len(broker.list_ids()) == len(V7[path])
    assert broker.sent_elsewhere() == []


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


def test_v10_a_network_that_is_closed_disables_nothing(orders, refused):
    """It is closed between two requests of one look-up: that says nothing of the certificate."""
    orders.vault.fault("V10.ForbiddenByConnection", match="^GET /keys", times=1000)
    orders.source_call("vault", "Refresh")
    orders.refresh("orders")  # the key need not be read
    assert orders.certificate_properties("orders")["State"] == "active"
    orders.check_signature()
    orders.vault.fault("V10.ForbiddenByConnection", match="^(GET|POST) /(certificates|keys|secrets)/", times=1000)
    assert "private endpoint" in refused("SourceDenied", orders.try_sign)
    assert orders.certificate_properties("orders")["State"] == "active"
    still_served(orders)


@pytest.mark.parametrize("object", ["certificates", "keys"])
@pytest.mark.parametrize("fault", ["V11.not-found", "V11.html", "V11.empty"])
def test_v11_not_found_once_is_no_end(orders, object, fault):
    orders.vault.fault(fault, match=f"^GET /{object}/", times=1)
    orders.refresh("orders")
    assert orders.certificate_properties("orders")["State"] == "active"
    assert orders.last_error() == ""


@pytest.mark.parametrize("object", ["certificates", "keys"])
@pytest.mark.parametrize("fault", ["V11.not-found", "V11.html", "V11.empty"])
def test_v11_not_found_twice(orders, object, fault):
    orders.vault.fault(fault, match=f"^GET /{object}/", times=2)
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


def test_v3_a_ca_file_that_is_corrected(vaulted):
    """In place, while the vault cannot be believed: the next try takes it, and so does who does not wait for that."""
    path = vaulted.folder / "authorities.pem"
    good = pathlib.Path(vaulted.vault.ca_file).read_bytes()
    path.write_bytes(pki.pem(pki.certificate(pki.key("ec-p256", "no authority"))))
    broker = vaulted.begin(ready=None, **{"ca-file": str(path)})
    wait_until(lambda: "not secure" in broker.vault_state()[1], "it is not believed")
    path.write_bytes(good)
    broker.source_call("vault", "Refresh")
    broker.wait_source("vault", "ready")
    broker.add()
    broker.check_signature()
    path.write_bytes(b"no certificate")
    broker.vault.network("refuse")  # and with it the connections from before
    with pytest.raises(Failure):
        broker.try_sign()
    broker.vault.network("open")
    with pytest.raises(Failure):
        broker.source_call("vault", "Refresh")
    assert "ca-file" in broker.vault_state()[1]


def test_each_request_can_be_found_in_the_vaults_log(orders, refused):
    """It says who asks, and has a number, which is in the sentence where it failed."""
    orders.vault.revoke_tokens()
    orders.check_signature()
    orders.vault.fault("V10.ForbiddenByFirewall", match="^POST /keys", times=1)
    message = refused("SourceDenied", orders.try_sign)
    requests = [{name.lower(): value for name, value in request["headers"]} for request in orders.vault.requests()]
    ids = [str(uuid.UUID(headers["x-ms-client-request-id"])) for headers in requests]
    assert len(set(ids)) == len(ids) >= 4
    assert {headers["user-agent"] for headers in requests} == {f"certbroker/{orders.get('/org/certbroker1', 'Manager', 'Version')}"}
    assert f"client-request-id {ids[-1]}" in message


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


# ---- V20: signatures that are none

@pytest.mark.parametrize("key_type,algorithm", [("ec-p256", "ecdsa-sha256"), ("rsa-2048", "rsa-pss-sha256")])
def test_v20_bad_signatures(broker, key_type, algorithm):
    broker.add(key_type=key_type)
    for how in ("other-digest", "other-key", "flipped", "short", "long", "empty", "der", "zero", "not-base64",
                "other-kid"):
        if how == "der" and key_type == "rsa-2048":
            continue  # an RSA signature has one form
        number = broker.vault.fault(f"V20.{how}", times=1000)
        with pytest.raises(Failure) as caught:
            broker.try_sign(algorithm=algorithm)
        assert caught.value.name == "Failed", f"{how}: {caught.value}"
        assert broker.vault.hits(number) == 1, how
        broker.vault.clear_faults()
        broker.check_signature(algorithm=algorithm)


def test_v20_high_s_is_a_signature(orders):
    orders.vault.fault("V20.high-s", times=1000)
    orders.check_signature()


# ---- V25 to V27

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
