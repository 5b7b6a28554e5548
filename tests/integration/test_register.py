# SPDX-License-Identifier: Apache-2.0
"""RegisterCertificate and Refresh: keys that are in the token already."""

import time

import dbus
import pki
import pytest

from broker import Failure, SOFTHSM, certificate_path, wait_until
from conftest import Signals
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from lifecycle import GRANT_EVERYTHING
from test_metrics import value


def register(broker, id, uri, **options):
    return broker.manager("RegisterCertificate", "ssa{sv}", id, uri, dbus.Dictionary(options, signature="sv"))


def put(broker, label, key, cert, id="01", token="test", more=()):
    """Writes a key and its certificate into the token without the broker."""
    for kind, data in (("privkey", key.private_bytes(serialization.Encoding.DER,
                                                     serialization.PrivateFormat.TraditionalOpenSSL,
                                                     serialization.NoEncryption()) if key else None),
                       ("cert", pki.der(cert) if cert else None)):
        if data:
            file = broker.folder / f"{kind}.der"
            file.write_bytes(data)
            broker.pkcs11_tool("--write-object", str(file), "--type", kind, "--label", label, "--id", id,
                               *(["--usage-sign", *more] if kind == "privkey" else []), token=token)


def encrypted(public):
    return public.encrypt(b"message", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))


@pytest.fixture
def prepared(stopped):
    key = pki.key("rsa-2048")
    stopped.cert = pki.certificate(key, "in.the.token")
    put(stopped, "outside", key, stopped.cert, more=("--usage-decrypt",))
    return stopped.start()


def test_register(prepared):
    assert register(prepared, "client", "pkcs11:token=test;object=outside") == certificate_path("client")
    properties = prepared.certificate_properties("client")
    assert properties["Thumbprint"] == pki.thumbprint(prepared.cert)
    assert properties["State"] == "active"
    assert properties["Source"] == "hsm"
    signature = prepared.sign("client", "rsa-pss-sha256", pki.digest("rsa-pss-sha256", b"m"))
    pki.verify(prepared.cert.public_key(), "rsa-pss-sha256", signature, b"m")


def test_register_by_id(prepared):
    register(prepared, "client", "pkcs11:id=%01;type=private")
    assert prepared.certificate_properties("client")["Thumbprint"] == pki.thumbprint(prepared.cert)


def test_register_with_the_source_named(prepared, refused):
    register(prepared, "client", "pkcs11:object=outside", source="hsm")
    refused("NotFound", register, prepared, "other", "pkcs11:object=outside", source="vault")


def test_what_a_uri_may_not_say(prepared, refused):
    """No caller chooses a PIN, a file or a library."""
    for query in ("pin-value=1234", "pin-source=/etc/passwd", "pin-source=file:/etc/passwd",
                  f"module-path={SOFTHSM}", "module-name=softhsm2", "module-path=/tmp/evil.so&pin-value=1"):
        message = refused("InvalidArgument", register, prepared, "bad", f"pkcs11:token=test;object=outside?{query}")
        assert any(part.split("=")[0] in message for part in query.split("&"))
        assert "1234" not in message
    assert prepared.list_ids() == []


def test_uris_that_are_wrong(prepared):
    for uri in ("", "pkcs11", "pkcs11:object=%zz", "pkcs11:object=%", "PKCS11;x", "file:/etc/passwd",
                "pkcs11:object=a;object=b", "pkcs11:" + "a" * 100000, "pkcs11:object=%00", "certbroker:certificate/x",
                "pkcs11:object=\x7f", "pkcs11:slot-id=x", "pkcs11:object=a?;id=%01"):
        with pytest.raises(Failure) as caught:
            register(prepared, "bad", uri)
        assert caught.value.name in ("InvalidArgument", "NotSupported", "NotFound"), (uri, str(caught.value))
    assert prepared.list_ids() == []


def test_nothing_there(prepared, refused):
    refused("NotFound", register, prepared, "bad", "pkcs11:token=test;object=missing")
    refused("NotFound", register, prepared, "bad", "pkcs11:token=elsewhere;object=outside")
    assert prepared.list_ids() == []


def test_a_source_that_is_away_hides_no_other(stopped, refused):
    """Nor is it asked for what is not its own."""
    key = pki.key("rsa-2048")
    put(stopped, "outside", key, pki.certificate(key, "in.the.token"))
    stopped.configure(sources=stopped.source("away", uri="pkcs11:token=gone") + stopped.source())
    stopped.start()
    stopped.wait_source("away", "unavailable")
    refused("NotFound", register, stopped, "bad", "pkcs11:token=test;object=missing")
    refused("NotFound", register, stopped, "bad", "pkcs11:object=missing;token=t%65st")
    refused("SourceUnavailable", register, stopped, "bad", "pkcs11:token=gone;object=outside")
    refused("SourceUnavailable", register, stopped, "bad", "pkcs11:object=missing")
    register(stopped, "named", "pkcs11:token=test;object=outside")
    register(stopped, "unnamed", "pkcs11:object=outside")
    assert stopped.list_ids() == ["named", "unnamed"]


def test_which_of_two(stopped, refused):
    """Two keys that fit: never the first that is found."""
    for i in (1, 2):
        key = pki.key("ec-p256", i)
        put(stopped, "same", key, pki.certificate(key, f"cn-{i}"), id=f"0{i}")
    stopped.start()
    refused("InvalidArgument", register, stopped, "client", "pkcs11:object=same")
    register(stopped, "client", "pkcs11:object=same;id=%02")
    assert stopped.certificate_properties("client")["Subject"] == "CN=cn-2"


def test_key_without_certificate(stopped, refused):
    """It waits for one, and makes the request for it."""
    stopped.start()
    put(stopped, "bare", pki.key("rsa-2048"), None)
    register(stopped, "client", "pkcs11:object=bare")
    shown = stopped.certificate_properties("client")
    assert shown["State"] == "pending" and shown["LastError"] != ""
    refused("Pending", stopped.sign, "client", "rsa-pss-sha256", bytes(32))
    assert bytes(stopped.certificate("client", "CreateRequest", "sas", "CN=client.example", []))


def test_certificate_without_key(stopped, refused):
    put(stopped, "lonely", None, pki.certificate(pki.key("ec-p256")))
    stopped.start()
    refused("NotFound", register, stopped, "client", "pkcs11:object=lonely")


def test_key_of_another_certificate(stopped, refused):
    put(stopped, "mixed", pki.key("ec-p256", 1), pki.certificate(pki.key("ec-p256", 2)))
    stopped.start()
    refused("KeyMismatch", register, stopped, "client", "pkcs11:object=mixed")
    assert stopped.list_ids() == []


def test_refresh(prepared):
    register(prepared, "client", "pkcs11:object=outside")
    before = prepared.certificate_properties("client")
    prepared.certificate("client", "Refresh")
    after = prepared.certificate_properties("client")
    assert after["LastRefresh"] >= before["LastRefresh"] > 0
    assert after["Generation"] == 1
    prepared.source_call("hsm", "Refresh")


def test_a_renewal_beside_the_key_that_cannot_be_published(stopped, refused):
    """Its owner has put a newer certificate there, and the key does not sign: said, and tried again a minute later."""
    key = pki.key("rsa-2048")
    put(stopped, "outside", key, pki.certificate(key, "in.the.token", not_before=pki.NOW - 10 * pki.DAY))
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start()
    register(stopped, "client", "pkcs11:object=outside")
    assert stopped.certificate_properties("client")["NextRefresh"] == 0
    put(stopped, "outside", None, pki.certificate(key, "in.the.token", not_before=pki.NOW - 5 * pki.DAY))
    stopped.fault_rules("C_Sign flipbit\n")
    refused("KeyMismatch", stopped.certificate, "client", "Refresh")
    properties = stopped.certificate_properties("client")
    assert "was not published" in properties["LastError"] and "trial" in properties["LastError"]
    assert time.time() < properties["NextRefresh"] < time.time() + 62
    assert properties["Generation"] == 1 and properties["State"] == "active"
    assert value(stopped, "certbroker_rotations_failed_total", certificate="client") == 1
    stopped.fault_rules("")
    stopped.certificate("client", "Refresh")
    properties = stopped.certificate_properties("client")
    assert properties["Generation"] == 2 and properties["LastError"] == "" and properties["NextRefresh"] == 0


def test_destroyed_key_is_unavailable(prepared):
    """The key is gone from the token: said so at the next look; the chain is still served."""
    register(prepared, "client", "pkcs11:object=outside")
    prepared.create_backend("orders", "client")
    prepared.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "outside")
    with pytest.raises(Failure):
        prepared.certificate("client", "Refresh")
        prepared.sign("client", "rsa-pss-sha256", bytes(32))
    wait_until(lambda: prepared.certificate_properties("client")["State"] == "unavailable", "unavailable")
    assert prepared.backend("orders", "GetCredential")["thumbprint"] == pki.thumbprint(prepared.cert)
    with pytest.raises(Failure) as caught:
        prepared.sign("client", "rsa-pss-sha256", bytes(32))
    assert caught.value.name in ("SourceUnavailable", "NotFound"), str(caught.value)


@pytest.mark.parametrize("use", ["Sign", "SignTls", "Decrypt"])
def test_a_use_finds_the_key_gone(prepared, use):
    """Nobody asks for a look-up: a use that misses the key makes one; so does one that finds it again."""
    state = lambda: prepared.certificate_properties("client")["State"]  # noqa: E731
    prepared.configure(grants=GRANT_EVERYTHING)
    prepared.manager("Reload")
    register(prepared, "client", "pkcs11:object=outside")
    signals = Signals(prepared)
    uses = {
        "Sign": lambda: prepared.sign("client", "rsa-pss-sha256", bytes(32)),
        "SignTls": lambda: prepared.certificate("client", "SignTls", "tssay", dbus.UInt64(0), "rsa-pss-sha256",
                                                "client", dbus.ByteArray(bytes(32))),
        "Decrypt": lambda: prepared.certificate("client", "Decrypt", "tsay", dbus.UInt64(0), "rsa-oaep-sha1",
                                                dbus.ByteArray(encrypted(prepared.cert.public_key()))),
    }
    uses[use]()
    assert state() == "active"
    prepared.pkcs11_tool("--delete-object", "--type", "privkey", "--label", "outside")
    with pytest.raises(Failure) as caught:
        uses[use]()
    assert caught.value.name == "NotFound", str(caught.value)
    wait_until(lambda: state() == "unavailable", "unavailable")
    told = signals.wait("PropertiesChanged", certificate_path("client"))
    assert any(arguments[1].get("State") == "unavailable" for *_, arguments in told)
    put(prepared, "outside", pki.key("rsa-2048"), None, more=("--usage-decrypt",))
    uses[use]()
    wait_until(lambda: state() == "active", "active again")


def test_destroying_one_id_leaves_the_key_to_the_others(prepared, refused):
    register(prepared, "client", "pkcs11:object=outside")
    register(prepared, "again", "pkcs11:object=outside")
    message = refused("InUse", prepared.delete_certificate, "again", destroy_key=True)
    assert "'again'" in message and "destroy-key" in message
    prepared.sign("client", "rsa-pss-sha256", bytes(32))
    prepared.sign("again", "rsa-pss-sha256", bytes(32))
    prepared.delete_certificate("again")
    prepared.sign("client", "rsa-pss-sha256", bytes(32))
    prepared.delete_certificate("client", destroy_key=True)
    assert prepared.token_objects("Private Key") == []


def test_forgetting_leaves_the_key(prepared):
    register(prepared, "client", "pkcs11:object=outside")
    prepared.delete_certificate("client")
    assert [k["label"] for k in prepared.token_objects("Private Key")] == ["outside"]
    register(prepared, "again", "pkcs11:object=outside")
