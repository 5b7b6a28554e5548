# SPDX-License-Identifier: Apache-2.0
"""Which hosts a source asks, and which it never does: names that do not resolve, a vault beside one that fails, and hosts
that a caller would like to have asked. The numbers are those of test_vault_faults.py."""

import datetime
import os
import time

import dbus
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import AuthorityInformationAccessOID

import pki
from broker import BUILD, SANITIZED, backend_path, source_path
from vaulted import *  # noqa: F401,F403
from vaulted import NONE, Failure, PATIENCE, TestVault, certificate_path, memfd, wait_until

RESOLVER = BUILD / "tests/integration/slow-resolver.so"


def slow_resolver():
    preload = [os.environ["CERTBROKER_PRELOAD"]] if SANITIZED else []
    return {"LD_PRELOAD": ":".join([*preload, str(RESOLVER)])}


# ---- V1: names

@pytest.mark.parametrize("host,word", [("vault.invalid", "resolve"), ("servfail.invalid", "resolve"),
                                       ("slow.invalid", "time")])
def test_v1_names_that_do_not_resolve(vaulted, host, word):
    """No call waits for a name server: deadlines are kept, and the credential is served as ever."""
    broker = vaulted.begin()
    broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.stop()
    broker.begin(ready=None, environment=slow_resolver(), uri=f"https://contoso.{host}", resource=f"https://{host}")
    begun = time.monotonic()
    assert broker.backend("orders-backend", "GetCredential")["stale"]
    assert time.monotonic() - begun < 1 * PATIENCE
    wait_until(lambda: word in broker.vault_state()[1], "it is said that the name does not resolve", 20)
    assert broker.vault_state()[0] == "unavailable"
    for _ in range(5):
        begun = time.monotonic()
        with pytest.raises(Failure) as caught:
            broker.register("more", f"https://contoso.{host}/certificates/more")
        assert caught.value.name == "SourceUnavailable"
        with pytest.raises(Failure) as caught:
            broker.try_sign()
        assert caught.value.name == "SourceUnavailable"
        assert broker.backend("orders-backend", "GetCredential")["stale"]
        assert time.monotonic() - begun < 3 * PATIENCE


# ---- V2, V10, V13: one vault fails, another is not touched

@pytest.fixture
def two(vaulted):
    """A broker with the vaults `vault` and `other`, and a certificate and a backend in each, of the source's name."""
    folder = vaulted.folder / "second"
    folder.mkdir()
    vaulted.other = TestVault(folder).start()
    try:
        other = vaulted.other
        broker = vaulted.begin(more=vaulted.vault_source("other", other.named_url, **{
            "imds-endpoint": other.imds, "ca-file": other.ca_file}))
        broker.wait_source("other", "ready")
        for name, vault in (("vault", broker.vault), ("other", other)):
            vault.add_certificate(name, key_type="ec-p256")
            broker.register(name, f"{vault.named_url}/certificates/{name}")
            broker.create_backend(name, name)
        yield broker
    finally:
        vaulted.other.close()


def other_goes_on(broker):
    for _ in range(10):
        begun = time.monotonic()
        broker.check_signature("other")
        assert not broker.backend("other", "GetCredential")["stale"]
        assert time.monotonic() - begun < 1 * PATIENCE
    assert broker.vault_state("other")[0] == "ready"


@pytest.mark.parametrize("mode", ["refuse", "drop", "stall"])
def test_v2_another_vault_is_not_delayed(two, mode):
    two.vault.network(mode)
    other_goes_on(two)
    wait_until(lambda: refused_by(two) == "SourceUnavailable" and two.vault_state()[0] == "unavailable",
               "it is known to be away", 60)
    other_goes_on(two)


def refused_by(broker, id="vault"):
    with pytest.raises(Failure) as caught:
        broker.try_sign(id, timeout=30)
    return caught.value.name


def test_v10_another_vault_still_lets_us_in(two):
    two.vault.fault("V10.ForbiddenByPolicy", match="^(GET|POST) /(keys|certificates|secrets)", times=100000)
    assert refused_by(two) == "SourceDenied"
    other_goes_on(two)
    assert two.backend("vault", "GetCredential")["generation"] == 1  # cached, and not forgotten


def test_v13_another_vault_need_not_wait(two):
    two.vault.fault("V13.seconds", match="^POST /keys", times=1, value=60)
    assert refused_by(two) == "Throttled"
    other_goes_on(two)
    assert refused_by(two) == "Throttled"


# ---- V24: no caller of ours names a host

def test_v24_each_identifier_is_asked_of_its_own_vault_alone(two, refused):
    made = two.other.add_certificate("orders", key_type="ec-p256")
    uri = f"{two.other.named_url}/certificates/orders"
    for vault in (two.vault, two.other):
        vault.clear_log()
    refused("InvalidArgument", two.register, "orders", uri, source="vault")
    refused("NotFound", two.register, "orders", uri, source="nobody")
    assert two.vault.requests() == [] and two.other.requests() == []
    two.register("orders", uri)
    assert two.certificate_properties("orders")["Source"] == "other"
    two.register("again", f"{uri}/{made['version']}", source="other")
    two.check_signature("orders")
    assert two.vault.requests() == []
    assert {request["host"] for request in two.other.requests("vault")} == {two.other.named_url.split("//")[1]}


def with_links(key, url):
    """A certificate that tells where its issuer, its revocation list and its responder are."""
    where = x509.UniformResourceIdentifier(url)
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(pki.name("orders.example")).issuer_name(pki.name("Elsewhere"))
            .public_key(key.public_key()).serial_number(7).not_valid_before(now - pki.DAY)
            .not_valid_after(now + pki.DAY)
            .add_extension(x509.AuthorityInformationAccess([
                x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where),
                x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)]), False)
            .add_extension(x509.CRLDistributionPoints([x509.DistributionPoint([where], None, None, None)]), False)
            .sign(key, hashes.SHA256()))


def failing_calls(broker, url):
    """Every place in which a caller may write something, with a URL in it, where that is no good."""
    text = {"signature": "sv"}
    bundle, empty = memfd(b"x"), memfd(b"")
    fds = (dbus.types.UnixFd(bundle), dbus.types.UnixFd(empty))
    os.close(bundle)
    os.close(empty)
    good = broker.uri("orders")
    manager = (
        ("RegisterCertificate", "ssa{sv}", "x", f"{url}/certificates/orders", NONE),
        ("RegisterCertificate", "ssa{sv}", "x", f"{good}@{url.split('//')[1]}/certificates/orders", NONE),
        ("RegisterCertificate", "ssa{sv}", "x", good.replace("://", f"://{url.split('//')[1]}@"), NONE),
        ("RegisterCertificate", "ssa{sv}", "x", f"{url}#{good}", NONE),
        ("RegisterCertificate", "ssa{sv}", url, good, NONE),
        *[("RegisterCertificate", "ssa{sv}", "x", good, dbus.Dictionary({option: url}, **text))
          for option in ("source", "uri", "vault", "resource", "authority", "proxy", "ca-file", "imds-endpoint")],
        ("GenerateKey", "sssa{sv}", "x", url, "ec-p256", NONE),
        ("GenerateKey", "sssa{sv}", "x", "vault", url, NONE),
        ("GenerateKey", "sssa{sv}", "x", "vault", "ec-p256", dbus.Dictionary({"uri": url}, **text)),
        ("GenerateKey", "sssa{sv}", url, "vault", "ec-p256", NONE),
        ("ImportCertificate", "sshha{sv}", "x", url, *fds, NONE),
        ("ImportCertificate", "sshha{sv}", url, "vault", *fds, NONE),
        ("ImportCertificate", "sshha{sv}", "x", "vault", *fds, dbus.Dictionary({"uri": url}, **text)),
        ("GetCertificate", "s", url),
        ("GetCertificate", "s", f"subject=CN={url}"),
        ("CreateBackend", "sa{sv}", "x", dbus.Dictionary({"Url": url, "Certificate": url}, **text)),
        ("CreateBackend", "sa{sv}", url, dbus.Dictionary({"Url": url, "Certificate": "orders"}, **text)),
    )
    for call in manager:
        yield call, lambda c=call: broker.manager(*c)
    for name in ("Source", "KeyUri"):
        yield name, lambda n=name: broker.set(certificate_path("orders"), "Certificate", n, url)
    yield "Uri", lambda: broker.set(source_path("vault"), "Source", "Uri", url)
    yield "Refresh", lambda: broker.source_call(url, "Refresh")
    yield "Certificate", lambda: broker.set(backend_path("orders"), "Backend", "Certificate", url)


def test_v24_no_caller_names_a_host(vaulted):
    """A caller names a source, and a certificate in it. Whatever else is a URL is refused, or kept and never asked."""
    broker = vaulted.begin()
    key = pki.key("ec-p256", "links")
    elsewhere = (broker.vault.elsewhere, broker.vault.elsewhere_http)
    leaf = with_links(key, elsewhere[1] + "/x")
    broker.vault.add_certificate("orders", key=pki.pem(key).decode(), chain=[pki.pem(leaf).decode()])
    broker.register("orders")
    broker.import_bundle("imported", pki.p12(key, leaf, passphrase=b""), source="vault")
    for url in elsewhere:
        if url.startswith("https:"):
            broker.create_backend("orders", "orders", url)
            assert broker.backend("orders", "GetCredential")["url"].startswith(url)
        for call, make in failing_calls(broker, url):
            with pytest.raises(Failure):
                make()
                print(call)  # which it was, if none is raised
    for id in ("orders", "imported"):
        broker.check_signature(id)
        broker.refresh(id)
    assert broker.list_ids() == ["imported", "orders"]
    assert broker.sent_elsewhere() == []
    assert {request["host"] for request in broker.vault.requests("vault")} == {broker.vault.named_url.split("//")[1]}
