# SPDX-License-Identifier: Apache-2.0
"""The test vault, judged where Azure's clients do not look: its strictness, its shapes, and its log."""

import base64
import hashlib
import pathlib
import re
import subprocess
import time
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

import standin.store
from client import DIGEST, Client, ask, entra, imds, sign
from standin import jwt
from standin.issuing import Issuing

RECORDED = pathlib.Path(__file__).resolve().parents[1] / "unit" / "data"

# ---- tokens

@pytest.mark.parametrize("changes, says", [
    ({"audience": "https://vault.azure.net/"}, "AKV10022"),
    ({"audience": "https://management.azure.com"}, "AKV10022"),
    ({"tid": "99999999-8888-7777-6666-555555555555",
      "iss": "https://sts.windows.net/99999999-8888-7777-6666-555555555555/"}, "AKV10032"),
    ({"exp": 1}, "TokenExpired"), ({"nbf": 1 << 40}, "NotYetValid"), ({"oid": "somebody"}, "AKV10050"),
])
def test_token_that_is_wrong(vault, orders, client, changes, says):
    answer = client.get("/certificates/orders", token=vault.token(**changes))
    assert answer.status == 401 and says in answer.json["error"]["message"]
    assert "www-authenticate" in answer.headers


def test_token_of_another_signer(vault, orders, client):
    header, claims = jwt.parse(vault.token())
    forged = jwt.sign(rsa.generate_private_key(65537, 2048), claims, kid=header["kid"])
    assert client.get("/certificates/orders", token=forged).status == 401
    unsigned = jwt.b64url(b'{"alg":"none","kid":"' + header["kid"].encode() + b'"}') + "." + \
        jwt.b64url(b"{}") + "."
    assert client.get("/certificates/orders", token=unsigned).status == 401
    assert client.get("/certificates/orders").status == 200


def test_challenge(vault, client):
    answer = client.get("/certificates/orders", token="none")
    assert answer.status == 401 and "AKV10000" in answer.json["error"]["message"]
    assert answer.headers["www-authenticate"] == \
        f'Bearer authorization="{vault.authority}/{vault.tenant}", resource="https://vault.localhost"'
    assert int(answer.headers["content-length"]) == 97, "as the recorded one"


def test_revoked_tokens(vault, orders, client):
    old = vault.token()
    vault.revoke_tokens()
    assert client.get("/certificates/orders", token=old).status == 401
    time.sleep(0.01)
    assert client.get("/certificates/orders").status == 200


def test_clock(vault, orders, client):
    token = vault.token()
    vault.set(clock_offset=7200)
    assert "TokenExpired" in client.get("/certificates/orders", token=token).json["error"]["message"]
    vault.set(clock_offset=-7200)
    assert "NotYetValid" in client.get("/certificates/orders", token=token).json["error"]["message"]


# ---- what is asked

def test_api_version(orders, vault, client):
    assert Client(vault, api=None).get("/certificates/orders").code == "BadParameter"
    assert Client(vault, api="1.0").get("/certificates/orders").code == "BadParameter"
    assert Client(vault, api="7.6").get("/certificates/orders").status == 200


def test_host(vault, orders):
    for url, host in ((vault.url, "https://localhost"), (vault.named_url, "https://vault.localhost")):
        answer = Client(vault, url).get("/certificates/orders", token=vault.token(audience=host))
        assert answer.status == 200 and answer.json["id"].startswith(url)
    port = urllib.parse.urlsplit(vault.url).port
    for wrong in (f"https://a.b.vault.localhost:{port}", f"https://other.localhost:{port}"):
        answer = ask(f"{wrong}/certificates/orders?api-version=7.4", "GET",
                     {"Authorization": "Bearer " + vault.token()}, ca_file=None)
        assert answer.status is None, "not even a certificate for that name without our CA"
        answer = ask(f"{vault.url}/certificates/orders?api-version=7.4", "GET",
                     {"Authorization": "Bearer " + vault.token(), "Host": "evil.example"}, ca_file=vault.ca_file)
        assert answer.status in (200, 403)


def test_names_and_paths(client):
    for path in ("/certificates/" + "x" * 128, "/certificates/a_b", "/certificates/a%20b"):
        assert client.get(path).code == "BadParameter"
    assert client.get("/certificates/" + "x" * 127).code == "CertificateNotFound"
    lost = client.get("/no/such/thing")
    assert lost.status == 404 and lost.body.startswith(b"<!DOCTYPE html>")
    assert client.ask("/keys/x/sign", "PUT", {}).code == "BadParameter"


def test_names_without_case(orders, client):
    assert client.get("/certificates/ORDERS/" + orders["version"].upper()).json["x5t"] == orders["x5t"]


def test_digest_is_strict(orders, client):
    for value, says in ((jwt.b64url(b"d" * 31), "31 bytes. ES256 requires 32 bytes"), (DIGEST + "=", "base64url"),
                        (base64.b64encode(b"\xff" * 32).decode(), "base64url"), ("", "required"), (17, "required")):
        answer = sign(client, orders, value=value)
        assert answer.code == "BadParameter" and says in answer.json["error"]["message"], value
    assert sign(client, orders).status == 200
    assert sign(client, orders, "RS256").code == "BadParameter"


def test_windows_and_states(vault, orders, client):
    for fields, inner in (({"not_before": 1 << 40}, "KeyNotYetValid"), ({"not_before": 1, "expires": 2}, "KeyExpired"),
                          ({"expires": 1 << 40, "enabled": False}, "KeyDisabled"),
                          ({"enabled": True, "key_operations": ["verify"]}, "KeyOperationForbidden")):
        vault.change("orders", **fields)
        answer = sign(client, orders)
        assert answer.status == 403 and answer.inner == inner


@pytest.mark.parametrize("model, inner", [("policy", "ForbiddenByPolicy"), ("rbac", "ForbiddenByRbac"),
                                          ("legacy", "AccessDenied")])
def test_permissions(vault, orders, client, model, inner):
    vault.set(permission_model=model)
    asked = {"certificates/get": lambda: client.get("/certificates/orders"),
             "certificates/list": lambda: client.get("/certificates"), "keys/get": lambda: client.get("/keys/orders"),
             "secrets/get": lambda: client.get("/secrets/orders"), "keys/sign": lambda: sign(client, orders),
             "certificates/import": lambda: client.post("/certificates/new/import", {"value": "x"}),
             "certificates/delete": lambda: client.ask("/certificates/orders", "DELETE")}
    for denied in asked:
        vault.change_identity("system", permissions="*")
        vault.deny("system", denied)
        for operation, question in asked.items():
            if operation == denied:
                answer = question()
                assert answer.status == 403 and answer.inner == inner, operation
            elif operation not in ("certificates/import", "certificates/delete"):
                assert question().status == 200, operation
    assert client.get("/certificates/orders", token=vault.token("user-assigned")).status == 200


def test_limit(vault, orders, client):
    vault.add_certificate("heavy", key_type="rsa-3072")
    vault.set(limit=10)
    assert [sign(client, orders).status for _ in range(12)] == [200] * 10 + [429] * 2
    assert "retry-after" not in sign(client, orders).headers
    assert client.get("/certificates/orders").status == 200, "another count"
    vault.set(clock_offset=11)
    heavy = vault.certificate("heavy")
    found = [sign(client, heavy, "RS256").status for _ in range(3)]
    assert found == [200, 200, 429], "each counts for four"


# ---- what is answered

def openssl_info(data):
    """What OpenSSL says of a PKCS#12, without what differs between any two."""
    done = subprocess.run(["openssl", "pkcs12", "-passin", "pass:", "-info", "-nodes"], input=data,
                          capture_output=True, check=True)
    text = (done.stderr + done.stdout).decode()
    text = re.sub(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "GUID", text)
    return re.sub(r"(subject|issuer)=.*", r"\1", text)


@pytest.mark.parametrize("exportable", [True, False])
def test_pkcs12_is_the_real_one_s(vault, client, exportable):
    key = rsa.generate_private_key(65537, 2048)
    chain = Issuing().chain(key, "CN=one", [])[:1]
    vault.add_certificate("one", key=standin.store.pem_of_key(key), chain=[standin.store.pem_of(chain[0])],
                          exportable=exportable)
    data = base64.b64decode(client.get("/secrets/one").json["value"], validate=True)
    recorded = (RECORDED / ("akv-with-key.p12" if exportable else "akv-without-key.p12")).read_bytes()
    assert openssl_info(data) == openssl_info(recorded)
    assert "iteration 2000" in openssl_info(data).lower()


def test_recorded_secret(vault, client):
    recorded = (RECORDED / "akv-with-key.p12").read_bytes()
    parsed = pkcs12.load_pkcs12(recorded, None)
    made = vault.add_certificate("real", key=standin.store.pem_of_key(parsed.key),
                                 chain=[standin.store.pem_of(parsed.cert.certificate)],
                                 secret_value=base64.b64encode(recorded).decode())
    assert base64.b64decode(client.get("/secrets/real").json["value"]) == recorded
    der = base64.b64decode(client.get("/certificates/real").json["cer"])
    assert made["x5t"] == jwt.b64url(hashlib.sha1(der).digest())


@pytest.mark.parametrize("content", [standin.store.PFX, standin.store.PEM])
def test_orders_of_a_chain(vault, client, content):
    key = ec.generate_private_key(ec.SECP256R1())
    chain = [standin.store.pem_of(each) for each in Issuing().chain(key, "CN=chain", [])]
    seen = {}
    for order in ("leaf-first", "root-first", "shuffled"):
        vault.add_certificate("chain", key=standin.store.pem_of_key(key), chain=chain, order=order,
                              content_type=content)
        seen[order] = subjects(client.get("/secrets/chain").json["value"], content)
    assert seen["leaf-first"][0] == "CN=chain" and seen["root-first"] == seen["leaf-first"][::-1]
    assert seen["shuffled"] != seen["leaf-first"] and sorted(seen["shuffled"]) == sorted(seen["leaf-first"])


def subjects(value, content):
    """The subjects in a secret, in its order, as OpenSSL sees them."""
    text = value
    if content == standin.store.PFX:
        done = subprocess.run(["openssl", "pkcs12", "-passin", "pass:", "-nokeys"], check=True, capture_output=True,
                              input=base64.b64decode(value))
        text = done.stdout.decode()
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)
    return [x509.load_pem_x509_certificate(block.encode()).subject.rfc4514_string() for block in blocks]


def test_pages(vault, client):
    for number in range(26):
        vault.add_certificate(f"c{number}")
    sizes, link = [], "/certificates"
    while link:
        page = client.get(link)
        sizes.append(len(page.json["value"]))
        link = page.json["nextLink"]
    assert sizes == [25, 0, 1]
    assert client.get("/certificates?maxresults=26").code == "BadParameter"
    vault.set(empty_pages=False, page_size=20)
    assert client.get(client.get("/certificates").json["nextLink"]).json["nextLink"] is None


def test_rotation_keeps_what_was(vault, orders, client):
    newest = vault.rotate("orders")
    assert client.get("/certificates/orders").json["kid"].endswith(newest["version"])
    assert sign(client, orders).status == 200, "the old version goes on signing"
    assert client.get(f"/secrets/orders/{orders['version']}").status == 200
    vault.change("orders", orders["version"], current=True)
    assert client.get("/certificates/orders").json["x5t"] == orders["x5t"]
    assert vault.rotate("orders", reuse_key=True)["key"] == orders["key"]


def test_a_version_that_never_was(vault, orders, client):
    """What a purge and the restore of an older backup leave."""
    newer = vault.rotate("orders")
    vault.remove_certificate("orders", newer["version"])
    assert client.get(f"/certificates/orders/{newer['version']}").status == 404
    assert client.get("/certificates/orders").json["id"].endswith(orders["version"])
    vault.remove_certificate("orders", orders["version"])
    assert client.get("/certificates/orders").status == 404


def test_strict(vault, orders, client):
    """Text where base64 belongs, and a key usage that does not go with the key, as other services see it."""
    bundle = {"value": orders["key"] + "".join(orders["chain"]),
              "policy": {"secret_props": {"contentType": "application/x-pem-file"}}}
    usage = {"policy": {"key_props": {"kty": "EC", "crv": "P-256"}, "issuer": {"name": "Unknown"},
                        "x509_props": {"subject": "CN=x", "key_usage": ["digitalSignature", "keyEncipherment"]}}}
    for strict, status in ((True, 400), (False, 200)):
        vault.set(strict=strict)
        assert client.post(f"/certificates/import-{strict}/import", bundle).status == status
        assert client.post(f"/certificates/create-{strict}/create", usage).status == (400 if strict else 202)


def test_deletion_takes_its_time(vault, orders, client):
    vault.set(delete_seconds=30)
    assert client.ask("/certificates/orders", "DELETE").json["recoveryId"].endswith("/deletedcertificates/orders")
    assert client.get("/deletedcertificates/orders").status == 404
    wanted = {"policy": {"x509_props": {"subject": "CN=x"}, "issuer": {"name": "Unknown"}}}
    assert client.post("/certificates/orders/create", wanted).inner == "ObjectIsBeingDeleted"
    vault.set(delete_seconds=0)
    assert client.get("/deletedcertificates/orders").status == 200
    assert client.post("/certificates/orders/create", wanted).inner == "ObjectIsDeletedButRecoverable"
    for path in ("/certificates/orders", "/keys/orders", "/secrets/orders"):
        assert client.get(path).status == 404


# ---- identity endpoints

def test_imds(vault):
    answer = imds(vault)
    assert answer.status == 200 and all(isinstance(value, str) for value in answer.json.values())
    assert imds(vault, Metadata="false").json["error"] == "bad_request_102"
    assert imds(vault, **{"X-Forwarded-For": "1.2.3.4"}).status == 400
    assert imds(vault, version="1").status == 400
    assert imds(vault, extra="&client_id=nobody").json["error_description"] == "Identity not found"
    unknown = ask(f"{vault.imds}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fevil",
                  headers={"Metadata": "true"})
    assert unknown.status == 400


def test_arc_key_is_good_once(vault):
    url = f"{vault.arc}?api-version=2019-11-01&resource=https%3A%2F%2Fvault.azure.net"
    first = ask(url, headers={"Metadata": "true"})
    file = pathlib.Path(first.headers["www-authenticate"].removeprefix("Basic realm="))
    assert first.status == 401 and file.suffix == ".key" and file.stat().st_size <= 4096
    key = {"Metadata": "true", "Authorization": "Basic " + file.read_text()}
    assert ask(url, headers=key).status == 200
    assert ask(url, headers=key).status == 401 and not file.exists()


@pytest.mark.parametrize("algorithm, field", [("PS256", "x5t#S256"), ("RS256", "x5t")])
def test_client_assertion(vault, algorithm, field):
    key = rsa.generate_private_key(65537, 2048)
    certificate = Issuing().chain(key, "CN=broker", [])[0]
    vault.change_identity("application", certificates=[standin.store.pem_of(certificate)])
    me, now = vault.identity("application")["client_id"], int(time.time())
    url = f"{vault.authority}/{vault.tenant}/oauth2/v2.0/token"
    digest = hashes.SHA256() if field.endswith("S256") else hashes.SHA1()
    good = {"aud": url, "iss": me, "sub": me, "jti": "1", "nbf": now, "iat": now, "exp": now + 600}
    head = {field: jwt.b64url(certificate.fingerprint(digest))}

    def ask_with(claims, header=head, signer=key):
        return entra(vault, client_assertion=jwt.sign(signer, claims, algorithm, **header),
                     client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer")

    assert ask_with(good).status == 200
    for changes, number in (({"aud": "https://evil/"}, 700023), ({"exp": now - 1}, 700024), ({"jti": ""}, 50027),
                            ({"iss": "me"}, 70021), ({"sub": "me"}, 70021)):
        answer = ask_with({**good, **changes})
        assert answer.status == 401 and answer.json["error_codes"] == [number], changes
    assert ask_with(good, {field: "AAAA"}).json["error_codes"] == [700027]
    assert ask_with(good, {}).json["error_codes"] == [700027]
    assert ask_with(good, head, rsa.generate_private_key(65537, 2048)).json["error_codes"] == [700027]


def test_token_endpoint(vault):
    secret = vault.identity("application")["secret"]
    assert entra(vault, client_secret=secret).status == 200
    for wrong in ({}, {"client_secret": "x"}, {"client_secret": secret, "grant_type": "password"},
                  {"client_secret": secret, "scope": "https://vault.azure.net"},
                  {"client_secret": secret, "scope": "https://evil/.default"},
                  {"client_secret": secret, "client_id": "nobody"}):
        assert entra(vault, **wrong).status in (400, 401), wrong


# ---- the log

def test_log_has_all_but_secrets(vault, orders, client):
    token = vault.token()
    client.get("/secrets/orders", token=token)
    ask(vault.elsewhere_http + "/x", headers={"Authorization": "Bearer " + token})
    imds(vault)
    entra(vault, client_secret=vault.identity("application")["secret"])
    text = str(vault.log())
    assert token not in text and vault.identity("application")["secret"] not in text
    assert orders["key"][40:80] not in text
    assert vault.requests("vault")[0]["token"] == "Bearer sha256:" + hashlib.sha256(token.encode()).hexdigest()
    assert vault.requests("elsewhere-http")[0]["token"] == vault.requests("vault")[0]["token"]
    assert len(vault.connections("elsewhere-http")) == 1 and not vault.connections("elsewhere")
    assert vault.requests("login")[0]["form"]["grant_type"] == "client_credentials"
    vault.clear_log()
    assert vault.log() == []


def test_one_request_is_one(vault, orders, client):
    client.get("/certificates/orders")
    assert vault.count("vault", "GET", "/certificates/orders") == 1 and vault.count("vault") == 1
    assert vault.count(path="/keys") == 0
    assert len(vault.requests("vault", "GET", "/certificates/orders")) == 1
