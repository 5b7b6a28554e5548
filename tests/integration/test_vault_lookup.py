# SPDX-License-Identifier: Apache-2.0
"""RegisterCertificate and Refresh of certificates in a key vault."""

import base64
import concurrent.futures
import contextlib

import dbus
import pytest
from cryptography import x509

import pki
from vaulted import *  # noqa: F401,F403
from client import Client  # of tests/keyvault, which vaulted has put on the path
from vaulted import NONE, Failure, answered, memfd, wait_until


def pems(made):
    return [x509.load_pem_x509_certificate(pem.encode()) for pem in made["chain"]]


@pytest.mark.parametrize("order", ["shuffled", "leaf-first", "root-first"])
@pytest.mark.parametrize("content_type", ["application/x-pkcs12", "application/x-pem-file"])
@pytest.mark.parametrize("exportable", [True, False])
def test_chain_of_every_kind(broker, order, content_type, exportable):
    made = broker.add(order=order, content_type=content_type, exportable=exportable)
    expected = [pki.der(c) for c in pems(made)]
    chain = broker.chain("orders")
    assert chain[0] == expected[0]
    assert set(chain) <= set(expected) and len(chain) >= 2
    assert broker.last_error() == ""
    properties = broker.certificate_properties("orders")
    assert broker.key_is("orders", made)
    assert properties["Extractable"] == exportable
    assert properties["State"] == "active"


def try_refresh(broker):
    """Looks again, and what is said of the source then."""
    with contextlib.suppress(Failure):
        broker.refresh("orders")
    return broker.vault_state()[0]


def test_without_secrets_the_chain_is_the_leaf(broker):
    broker.vault.deny("system", "secrets/get")
    made = broker.add()
    assert broker.chain("orders") == [pki.der(pems(made)[0])]
    assert "secrets/get" in broker.last_error() and "Key Vault Secrets User" in broker.last_error()
    broker.check_signature()
    wait_until(lambda: "lacking: secrets/get (role Key Vault Secrets User)" in broker.vault_state()[1],
               "the state names what is lacking")
    assert broker.vault_state()[0] == "ready"
    for verb in (("show", "vault"), ("list",)):
        text = broker.cli("source", *verb).stdout.decode()
        assert "permissions seen: " in text and "notes" in text.lower() and "error" not in text.lower(), text
    # away: beside the reason and the next try
    broker.vault.network("refuse")
    wait_until(lambda: try_refresh(broker) == "unavailable", "the vault is away")
    text = broker.vault_state()[1]
    assert "next try in" in text and "seen: " in text and "keys/sign" in text, text
    assert text.endswith("lacking: secrets/get (role Key Vault Secrets User)"), text
    broker.vault.network("open")
    wait_until(lambda: try_refresh(broker) == "ready", "the vault is back")
    # granted since: seen as soon as somebody asks
    broker.vault.allow("system", "secrets/get")
    broker.source_call("vault", "Refresh")
    broker.refresh("orders")
    assert len(broker.chain("orders")) > 1
    assert broker.last_error() == ""
    wait_until(lambda: "lacking" not in broker.vault_state()[1], "nothing is lacking any more")


def unreadable_secrets():
    """By what is told of it: base64 of something else, a passphrase, more than a vault keeps, nothing at all."""
    key = pki.key("ec-p256")
    return {"neither PKCS#12 nor PEM": base64.b64encode(b'{"key": "x", "certificate": "y"}').decode(),
            "has a passphrase": base64.b64encode(pki.p12(key, pki.certificate(key), passphrase=b"other")).decode(),
            "larger than": base64.b64encode(bytes(149 << 10)).decode(),
            "'value' is neither": "nothing of the kind *"}


def test_a_secret_that_cannot_be_read(broker):
    """It costs the chain alone: the key signs in the vault, which is as well as it was."""
    states = set()
    for i, (words, value) in enumerate(unreadable_secrets().items()):
        made = broker.add(f"orders-{i}", secret_value=value)
        assert broker.chain(f"orders-{i}") == [pki.der(pems(made)[0])], words
        error = broker.last_error(f"orders-{i}")
        assert words in error and f"secret of orders-{i} in the vault" in error and "file" not in error, error
        for _ in range(4):  # each would be one more failure of the vault
            broker.refresh(f"orders-{i}")
            states.add(broker.vault_state()[0])
        broker.check_signature(f"orders-{i}")
    assert states == {"ready"}
    # read again: the chain is there, and nothing is left to say
    broker.vault.change("orders-0", secret_value=None)
    broker.refresh("orders-0")
    assert len(broker.chain("orders-0")) > 1 and broker.last_error("orders-0") == ""


def test_without_keys_get(broker):
    broker.vault.deny("system", "keys/get")
    broker.add()
    broker.check_signature()


def test_without_certificates_get(broker, refused):
    broker.vault.deny("system", "certificates/get")
    broker.vault.add_certificate("orders")
    message = refused("SourceDenied", broker.register, "orders")
    assert "certificates/get" in message and "Key Vault Certificate User" in message
    assert broker.list_ids() == []
    # a refusal is not asked for again within a minute
    n = broker.asked("GET", "/certificates/orders")
    refused("SourceDenied", broker.register, "orders")
    assert broker.asked("GET", "/certificates/orders") == n


def test_without_keys_sign(broker, refused):
    broker.vault.deny("system", "keys/sign")
    broker.vault.add_certificate("orders")
    message = refused("SourceDenied", broker.register, "orders")
    assert "keys/sign" in message and "Key Vault Crypto User" in message
    assert broker.list_ids() == []


def test_pinned_and_followed(broker):
    first = broker.vault.add_certificate("orders")
    broker.register("followed", broker.uri("orders"))
    broker.register("pinned", broker.uri("orders", first["version"]))
    second = broker.vault.rotate("orders")
    for id in ("followed", "pinned"):
        broker.refresh(id)
    assert broker.key_is("followed", second)
    assert broker.certificate_properties("followed")["Generation"] == 2
    assert broker.key_is("pinned", first)
    shown = {id: broker.cli("certificate", "show", id).stdout.decode() for id in ("followed", "pinned")}
    assert "never (pinned to this version)" in shown["pinned"] and "followed" not in shown["pinned"], shown["pinned"]
    assert "(rotations are followed)" in shown["followed"] and "pinned to" not in shown["followed"], shown["followed"]
    assert broker.certificate_properties("pinned")["Generation"] == 1
    assert broker.certificate_properties("pinned")["NextRefresh"] == 0


def test_next_refresh_has_jitter_and_comes_by_itself(vaulted):
    broker = vaulted.begin(refresh="4h")
    nexts = set()
    for i in range(6):
        broker.add(f"orders-{i}")
        properties = broker.certificate_properties(f"orders-{i}")
        ahead = properties["NextRefresh"] - properties["LastRefresh"]
        assert 0.9 * 4 * 3600 - 2 <= ahead <= 4 * 3600 + 2
        nexts.add(int(ahead))
    assert len(nexts) > 1
    broker.stop()
    broker.begin(refresh="2s")
    for i in range(6):
        broker.refresh(f"orders-{i}")
    made = broker.vault.rotate("orders-3")
    wait_until(lambda: broker.key_is("orders-3", made), "the new version is found",
               20)


def test_rotation(broker, signals):
    first = broker.add()
    broker.create_backend("orders-backend", "orders")
    seen = signals()
    old = x509.load_der_x509_certificate(broker.chain("orders")[0])
    second = broker.vault.rotate("orders")
    broker.refresh("orders")
    assert seen.wait("Rotated")[0][3] == (2,)
    assert seen.wait("CredentialChanged")[0][3] == (2,)
    assert len(seen.of("Rotated")) == len(seen.of("CredentialChanged")) == 1
    new = broker.leaf()
    assert pki.der(new) != pki.der(old)
    for generation, certificate, kid in ((1, old, first["kid"]), (2, new, second["kid"])):
        broker.vault.clear_log()
        signature = broker.sign("orders", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"), generation)
        pki.verify(certificate.public_key(), "ecdsa-sha256", signature, b"m")
        [request] = broker.vault.requests("vault", "POST", "/keys/")
        assert kid.endswith(request["path"].removesuffix("/sign"))


WRONG_KIND = [
    "{url}/secrets/orders", "{url}/keys/orders", "{url}/keys/orders/{version}", "{url}/secrets/orders/{version}",
    "{http}/certificates/orders", "https://user@{host}/certificates/orders", "https://u:p@{host}/certificates/orders",
    "{url}/certificates/orders?api-version=7.4", "{url}/certificates/orders#x", "{url}/certificates/",
    "{url}/certificates", "{url}/", "{url}", "{url}/certificates/or_ders", "{url}/certificates/or.ders",
    "{url}/certificates/orders/pending", "{url}/certificates/orders/a/b", "{url}/certificates/" + "a" * 128,
    "{url}/certificates/orders%2f..", "{url}/certificates/../secrets/orders", "{url}/certificates/ord%00ers",
    "{url}/certificates/örders", "{url}/certificates/orders/{version}x_", "{elsewhere}/certificates/orders",
    "https://other.vault.localhost/certificates/orders", "https://contoso.vault.localhost/certificates/orders",
    "https://[::1/certificates/orders", "https:///certificates/orders", "{url}@evil/certificates/orders",
]


def test_identifiers_of_the_wrong_kind(broker, refused):
    made = broker.vault.add_certificate("orders")
    url = broker.vault.named_url
    broker.vault.clear_log()
    for uri in WRONG_KIND:
        refused("InvalidArgument", broker.register, "orders",
                uri.format(url=url, http=url.replace("https:", "http:"), host=url.removeprefix("https://"),
                           version=made["version"], elsewhere=broker.vault.elsewhere))
    assert broker.list_ids() == []
    assert broker.vault.log() == []


def test_identifiers_in_other_cases(broker):
    made = broker.vault.add_certificate("orders")
    broker.register("upper", broker.uri("orders").replace("contoso", "CONTOSO").replace("https", "HTTPS"))
    broker.register("slash", broker.uri("orders", made["version"].upper()))
    broker.check_signature("upper")


def test_what_is_not_there(broker, refused):
    message = refused("NotFound", broker.register, "orders")
    assert "twice" in message
    assert broker.asked("GET", "/certificates/orders") == 2


def test_missing_intermediate_is_said(broker):
    root = pki.Issuer("Root")
    middle = pki.Issuer("Middle", parent=root)
    key = pki.key("ec-p256")
    leaf = pki.certificate(key, "orders.example", issuer=middle)
    broker.add(key=pki.pem(key).decode(), chain=[pki.pem(leaf).decode()])
    assert "Middle" in broker.last_error() and "incomplete" in broker.last_error()
    broker.check_signature()


def test_a_thousand_refreshes_are_two(vaulted):
    """The first one's, and one for all who came while that was on its way."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 2000;\n")
    broker.add()
    broker.vault.set(latency={"vault": 1})
    broker.vault.clear_log()
    assert answered(broker.call_many(1000, "orders", "Refresh", connections=20)) == 1000
    for path in ("/certificates/", "/keys/", "/secrets/"):
        assert broker.asked("GET", path) == 2, path


def test_a_refresh_tells_what_is_there_when_it_is_asked_for(broker):
    """It is not answered with a look-up that was on its way before: what it has seen may be older."""
    broker.add()
    broker.vault.set(latency={"GET /keys": 2})
    broker.vault.clear_log()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        before = pool.submit(broker.refresh, "orders", connection=broker.connect())
        wait_until(lambda: broker.asked("GET", "/certificates/"), "it has seen the version before")
        broker.vault.rotate("orders")
        broker.refresh("orders")
        assert broker.certificate_properties("orders")["Generation"] == 2
        before.result()


def test_only_what_the_vault_can_do_is_listed(broker, refused):
    expected = {"rsa-2048": pki.RSA_ALGORITHMS, "ec-p256": ["ecdsa-sha256"], "ec-p384": ["ecdsa-sha384"],
                "ec-p521": ["ecdsa-sha512"]}
    for key_type, algorithms in expected.items():
        broker.add(f"orders-{key_type}", key_type=key_type)
        assert sorted(broker.certificate_properties(f"orders-{key_type}")["Algorithms"]) == sorted(algorithms)
        for algorithm in algorithms:
            broker.check_signature(f"orders-{key_type}", algorithm)
    refused("NotSupported", broker.try_sign, "orders-ec-p256", "ecdsa-sha384")


def test_kinds_of_keys_that_are_none_of_ours(broker, refused):
    broker.vault.add_certificate("orders", key_type="ec-p256k")
    refused("NotSupported", broker.register, "orders")
    assert broker.list_ids() == []


@pytest.mark.parametrize("softly", [True, False])
def test_deleted_is_said(broker, softly):
    """A certificate that was deleted in the vault goes, and why is told; what was cached is still there."""
    broker.add()
    broker.create_backend("orders-backend", "orders")
    if softly:
        assert Client(broker.vault).ask("/certificates/orders", "DELETE").status == 200
        wait_until(lambda: Client(broker.vault).get("/deletedcertificates/orders").status == 200, "it is deleted")
    else:
        broker.vault.remove_certificate("orders")
    broker.refresh("orders")
    assert broker.certificate_properties("orders")["State"] == "unavailable"
    assert ("soft delete" if softly else "twice") in broker.last_error()
    assert broker.backend("orders-backend", "GetCredential")["generation"] == 1
    if softly:
        assert Client(broker.vault).post("/deletedcertificates/orders/recover", {}).status == 200
        wait_until(lambda: Client(broker.vault).get("/certificates/orders").status == 200, "it is recovered")
        broker.refresh("orders")
        assert broker.certificate_properties("orders")["State"] == "active"
        broker.check_signature()


def test_a_use_finds_the_key_gone(broker, refused):
    """The vault has it no more: a signature says so, and the look-up that it starts, which asks twice, too."""
    state = lambda: broker.certificate_properties("orders")["State"]  # noqa: E731
    broker.add()
    broker.check_signature()
    broker.vault.fault("V11.not-found", match="^POST /keys/", times=1)
    broker.vault.clear_log()
    refused("NotFound", broker.try_sign)  # only the key's answer was wrong
    wait_until(lambda: broker.asked("GET", "/certificates/") > 0, "a look-up")
    assert state() == "active"
    broker.vault.remove_certificate("orders")
    refused("NotFound", broker.try_sign)
    wait_until(lambda: state() == "unavailable", "unavailable")
    assert "twice" in broker.last_error()


def test_a_chain_that_the_identity_may_not_read(broker):
    """Given by hand for the same leaf it completes the chain, and stays."""
    import os
    broker.vault.deny("system", "secrets/get")
    chain = pems(broker.add())
    assert len(broker.chain("orders")) == 1
    fd = memfd(pki.pem(*reversed(chain)))
    broker.certificate("orders", "InstallCertificate", "ha{sv}", dbus.types.UnixFd(fd), NONE)
    os.close(fd)
    for _ in range(2):
        assert len(broker.chain("orders")) > 1 and broker.last_error() == ""
        assert broker.certificate_properties("orders")["Generation"] == 1
        broker.refresh("orders")
