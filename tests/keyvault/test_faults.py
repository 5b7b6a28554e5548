# SPDX-License-Identifier: Apache-2.0
"""That each fault of the test vault's catalogue strikes, and is gone when it is switched off."""

import concurrent.futures
import os
import re
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from client import DIGEST, ask, entra, imds, sign
from standin import catalogue, jwt


def probe(vault, client, made, name, **how):
    """The request that a fault of this name is about, and what came of it, without what differs each time."""
    arc = f"{vault.arc}?api-version=2019-11-01&resource=https%3A%2F%2Fvault.azure.net"
    probes = {
        "V22.arc": lambda: ask(arc, headers={"Metadata": "true"}, **how),
        "V23.invalid-client": lambda: entra(vault, client_secret=vault.identity("application")["secret"]),
        "V15.token": lambda: imds(vault, **how), "V9.": lambda: imds(vault, **how),
        "V22.": lambda: imds(vault, **how), "V23.": lambda: imds(vault, **how),
        "V20.": lambda: sign(client, made, **how), "V27.": lambda: client.get("/certificates", **how),
        "V19.key": lambda: client.get("/keys/orders", **how),
        "V7.secret": lambda: client.get("/secrets/orders", **how)}
    for start, question in probes.items():
        if name.startswith(start):
            return question()
    return client.get("/certificates/orders", **how)


def told(answer, made):
    """What of an answer is the same each time that nothing is wrong."""
    if answer.status != 200 or answer.error:
        folder = os.path.dirname(answer.headers.get("www-authenticate", "")) if answer.status == 401 else None
        return answer.status, answer.error, answer.headers.get("location"), folder
    try:
        value = answer.json
    except (ValueError, RecursionError):
        return answer.body
    if not isinstance(value, dict):
        return answer.body
    for varying in ("expires_on", "not_before"):
        if len(str(value.get(varying, ""))) >= 10:
            value.pop(varying)
    if set(value) == {"kid", "value"}:
        value["value"] = "good" if is_signature(made, value["value"]) else value["value"]
    if "access_token" in value:
        value["access_token"] = told_token(value["access_token"])
    return str(value)


def told_token(token):
    try:
        claims = jwt.parse(token)[1]
    except (ValueError, AttributeError):
        return token
    return [(name, claims.get(name)) for name in ("aud", "tid", "groups")]


def is_signature(made, text):
    """Whether it is one of DIGEST with the certificate's key, in the form that the real service gives it."""
    public = x509.load_pem_x509_certificate(made["chain"][0].encode()).public_key()
    try:
        raw = jwt.unb64url(text)
        public.verify(utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
                      b"d" * 32, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except (ValueError, InvalidSignature):
        return False
    return len(raw) == 64


# What the probe cannot tell from a sound answer; each has a test of its own below.
APART = ("V9.ahead", "V9.behind", "V9.wall-clock", "V7.duplicate", "V16.smuggled", "V16.interim", "V17.rotated",
         "V17.disabled", "V20.high-s", "V28.rollback")
STRIKING = [name for name, fault in catalogue.FAULTS.items() if "note" not in fault and name not in APART]


GROUPS = sorted({name.split(".")[0] for name in STRIKING}, key=lambda name: int(name[1:]))
LATE = ("V2.", "V4.", "V16.", "V22.")     # of these some give no answer at all


@pytest.mark.parametrize("group", GROUPS)
def test_each_fault_strikes(vault, client, group):
    """None of the catalogue leaves the answer as it was; and with it off all is as before."""
    idle = []
    made = vault.add_certificate("orders", key_type="ec-p256")
    for name in [each for each in STRIKING if each.split(".")[0] == group]:
        before = told(probe(vault, client, made, name), made)
        vault.fault(name)
        if told(probe(vault, client, made, name, seconds=0.6 if name.startswith(LATE) else 5.0), made) == before:
            idle.append(name)
        vault.clear_faults()
        if "settings" in catalogue.FAULTS[name]:
            vault.set(network={"vault": "open", "metadata": "open"}, tls={"vault": "good"})
        assert told(probe(vault, client, made, name), made) == before, f"{name} goes on"
    assert not idle, "these did nothing"


@pytest.mark.parametrize("mode, reason", [
    ("wrong-ca", "unable to get local issuer|self-signed certificate in"), ("self-signed", "self-signed"),
    ("expired", "expired"), ("not-yet-valid", "not yet valid"), ("wrong-host", "does not match|no alternative"),
    ("sha1", "too weak"), ("tls1.1", "protocol version|unsupported protocol|legacy sigalg"),
    ("client-certificate", "certificate required|handshake failure|SYSCALL"),
])
def test_tls(vault, client, mode, reason):
    """As curl sees it, which is what the broker's HTTP is made of; and no request gets through."""
    vault.fault(f"V3.{mode}")
    done = subprocess.run(["curl", "-sS", "--cacert", vault.ca_file, vault.url + "/certificates?api-version=7.4"],
                          capture_output=True, text=True)
    assert done.returncode != 0 and re.search(reason, done.stderr), done.stderr
    assert vault.connections("vault") and not vault.requests("vault")


def test_high_s(vault, orders, client):
    vault.fault("V20.high-s")
    for _ in range(3):
        text = sign(client, orders).json["value"]
        assert is_signature(orders, text), "a high s verifies all the same"
        assert int.from_bytes(jwt.unb64url(text)[32:], "big") > 1 << 255


def test_rotated_between(vault, orders, client):
    number = vault.fault("V17.disabled", times=1)
    first = client.get("/certificates/orders").json
    assert first["kid"].endswith(orders["version"]) and vault.hits(number) == 1
    assert sign(client, orders).inner == "KeyDisabled"
    second = client.get("/certificates/orders").json
    assert second["kid"] != first["kid"] and second["cer"] != first["cer"]
    vault.fault("V17.rotated", times=1)
    assert client.get("/certificates/orders").json["kid"] == second["kid"]
    assert client.get("/certificates/orders").json["kid"] != second["kid"]
    assert client.post(second["kid"] + "/sign", {"alg": "ES256", "value": DIGEST}).status == 200


def test_rollback(vault, orders, client):
    newest = vault.rotate("orders")
    vault.fault("V28.rollback", times=1)
    assert client.get("/certificates/orders").json["x5t"] == orders["x5t"]
    assert client.get("/certificates/orders").json["x5t"] == newest["x5t"]


def test_wire_faults_of_their_own(vault, orders, client):
    right = client.get("/certificates/orders").body
    vault.fault("V16.smuggled", times=1)
    smuggled = client.get("/certificates/orders")
    assert right in smuggled.data and b'"smuggled"' in smuggled.data and smuggled.data.count(b"HTTP/1.1 200") == 2
    vault.fault("V16.interim", times=1, count=200)
    assert client.get("/certificates/orders").data.count(b"HTTP/1.1 103") == 200
    vault.fault("V7.duplicate", times=1)
    twice = client.get("/certificates/orders").body.decode()
    assert twice.count('"id":') == right.decode().count('"id":') + 1 and twice.endswith("}")
    vault.fault("V9.wall-clock", times=1)
    assert imds(vault).json["expires_on"] == "1"


def test_latency_does_not_queue(vault, orders, client):
    """A vault that takes 400 ms takes them for each of many at the same time."""
    vault.set(latency={"POST /keys": 0.4})
    token, begun = vault.token(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: sign(client, orders, token=token, seconds=30).status, range(40)))
    assert found == [200] * 40
    assert time.monotonic() - begun < 40 * 0.4 / 2, "they waited one for another"


def test_fault_skips_and_ends(vault, orders, client):
    vault.fault("V14.503", skip=1, times=2)
    assert [client.get("/certificates/orders").status for _ in range(5)] == [200, 503, 503, 200, 200]
    vault.fault(kind="status", status=418, match="^POST /keys")
    assert client.get("/certificates/orders").status == 200 and sign(client, orders).status == 418
    with pytest.raises(ValueError, match="no such fault"):
        vault.fault("V99")


def test_network_comes_back(vault, orders, client):
    for mode in ("refuse", "drop", "stall"):
        vault.network(mode)
        assert client.get("/certificates/orders", seconds=0.5).status is None
        vault.network("open")
        assert client.get("/certificates/orders").status == 200
