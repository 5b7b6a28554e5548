# SPDX-License-Identifier: Apache-2.0
"""Export: a key that may leave its token, read back by python3-cryptography and by ourselves; and every refusal."""

import fcntl
import os
import subprocess

import dbus
import lifecycle
import pki
import pytest

from broker import ME, SANITIZED, certificate_path
from conftest import Signals
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography import x509

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@pytest.fixture
def exporter(stopped):
    stopped.configure(grants=lifecycle.GRANT_EVERYTHING)
    return stopped.start()


def export(broker, id, form, passphrase=b"secret"):
    """Export, and what is true of every answer: sealed, and read from its beginning."""
    with lifecycle.descriptor(passphrase) as fd:
        answer = broker.certificate(id, "Export", "sh", form, fd)
    fd = answer.take()
    try:
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == SEALS
        with pytest.raises(OSError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(OSError):
            os.ftruncate(fd, 0)
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def certificates_in(text):
    return [x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----" + part)
            for part in text.split(b"-----BEGIN CERTIFICATE-----")[1:]]


def same_key(private, public):
    encode = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(*encode) == public.public_bytes(*encode)


def round_trip(broker, key_type):
    ca = pki.Issuer()
    leaf = lifecycle.make(broker, "client", ca, key_type, extractable=True)
    assert broker.certificate_properties("client")["Extractable"]
    before = len(broker.token_objects())

    passphrases = b"secret", "Schlüssel mit Leerzeichen\n".encode(), b""
    # Derivations from them are slow with sanitizers: there, not every type with every passphrase.
    for passphrase in passphrases if key_type == "rsa-2048" or not SANITIZED else passphrases[:1]:
        typed = passphrase.removesuffix(b"\n")
        bundle = export(broker, "client", "pkcs12", passphrase)
        read = pkcs12.load_pkcs12(bundle, typed)
        assert same_key(read.key, leaf.public_key())
        assert read.cert.certificate == leaf
        assert read.cert.friendly_name == b"client"
        assert [c.certificate for c in read.additional_certs] == [ca.certificate]

        text = export(broker, "client", "pem", passphrase)
        assert same_key(serialization.load_pem_private_key(text, typed or None), leaf.public_key())
        assert (b"ENCRYPTED PRIVATE KEY" in text) == bool(typed)
        assert certificates_in(text) == [leaf, ca.certificate]
    assert len(broker.token_objects()) == before  # the wrapping key was of one call

    with pytest.raises(ValueError):
        pkcs12.load_pkcs12(export(broker, "client", "pkcs12"), b"wrong")
    broker.import_bundle("again", export(broker, "client", "pkcs12"), b"secret")
    lifecycle.signs(broker, "again", leaf)
    broker.import_bundle("once-more", export(broker, "client", "pem"), b"secret", extractable=True)
    assert same_key(pkcs12.load_pkcs12(export(broker, "once-more", "pkcs12"), b"secret").key, leaf.public_key())


def test_rsa_2048(exporter):
    round_trip(exporter, "rsa-2048")


def test_rsa_4096(exporter):
    round_trip(exporter, "rsa-4096")


def test_ec_p256(exporter):
    round_trip(exporter, "ec-p256")


def test_ec_p384(exporter):
    round_trip(exporter, "ec-p384")


def test_ec_p521(exporter):
    round_trip(exporter, "ec-p521")


def test_ed25519(exporter, refused):
    """SoftHSM makes such keys extractable, and then wraps none: CKR_KEY_NOT_WRAPPABLE."""
    lifecycle.make(exporter, "client", pki.Issuer(), "ed25519", extractable=True)
    message = refused("NotSupported", export, exporter, "client", "pkcs12")
    assert "ed25519" in message and "CKR_KEY_NOT_WRAPPABLE" in message


def test_modern_ciphers(exporter):
    """What openssl, which shows it, says of the files."""
    lifecycle.make(exporter, "client", pki.Issuer(), extractable=True)
    path = exporter.folder / "client.p12"
    path.write_bytes(export(exporter, "client", "pkcs12"))
    shown = subprocess.run(["openssl", "pkcs12", "-in", path, "-info", "-noout", "-passin", "pass:secret"],
                           capture_output=True, text=True, check=True).stderr
    assert "MAC: sha256, Iteration 300000" in shown
    assert shown.count("PBES2, PBKDF2, AES-256-CBC, Iteration 300000, PRF hmacWithSHA256") == 2
    path.write_bytes(export(exporter, "client", "pem"))
    shown = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True).stdout
    assert "PBES2" in shown and "aes-256-cbc" in shown and "hmacWithSHA256" in shown
    assert f"{300000:X}" in shown.replace(":0", ":")


def test_the_current_generation(exporter):
    ca = pki.Issuer()
    first = lifecycle.make(exporter, "client", ca, extractable=True)
    second = lifecycle.make(exporter, "client", ca, "rsa-2048", extractable=True, replace=True)
    assert same_key(pkcs12.load_pkcs12(export(exporter, "client", "pkcs12"), b"secret").key, second.public_key())
    lifecycle.set_current(exporter, "client", 1)
    assert same_key(pkcs12.load_pkcs12(export(exporter, "client", "pkcs12"), b"secret").key, first.public_key())


def test_refusals(exporter, refused):
    ca = pki.Issuer()
    lifecycle.make(exporter, "client", ca, extractable=True)
    lifecycle.make(exporter, "kept", ca)
    exporter.import_new("imported")
    lifecycle.generate(exporter, "waiting", extractable=True)
    for form in ("", "der", "PKCS12", "pkcs12 ", "jks"):
        refused("InvalidArgument", export, exporter, "client", form)
    for id in ("kept", "imported"):
        assert "not extractable" in refused("NotSupported", export, exporter, id, "pkcs12")
    refused("Pending", export, exporter, "waiting", "pem")
    refused("NotFound", export, exporter, "nobody", "pem")
    for passphrase in (b"\xff\xfe", b"with\0nul", b"x" * 1025, bytes((1 << 20) + 1)):
        for form in ("pem", "pkcs12"):
            refused("InvalidArgument", export, exporter, "client", form, passphrase)
    for path in ("/", "/dev/zero", "/dev/null"):
        fd = os.open(path, os.O_RDONLY)
        refused("InvalidArgument", exporter.certificate, "client", "Export", "sh", "pem", dbus.types.UnixFd(fd))
        os.close(fd)
    assert export(exporter, "client", "pem")


def test_a_pipe_that_never_ends(exporter, refused):
    lifecycle.make(exporter, "client", pki.Issuer(), extractable=True)
    read, write = os.pipe()
    refused("InvalidArgument", exporter.certificate, "client", "Export", "sh", "pem", dbus.types.UnixFd(read))
    os.close(read)
    os.close(write)


def test_no_grant(broker, refused):
    """Neither `manage` nor `use` lets a key be exported, nor decrypted with."""
    lifecycle.make(broker, "client", pki.Issuer(), "rsa-2048", extractable=True)
    refused("AccessDenied", export, broker, "client", "pem")
    refused("AccessDenied", broker.certificate, "client", "Decrypt", "tsay", 0, "rsa-oaep-sha1",
            dbus.ByteArray(bytes(256)))


def test_the_grant_alone(stopped, refused):
    """`export` lets read and just that."""
    lonely = f'  lonely = {{ user = "{ME}"; allow = [ "export" ]; certificate = [ "*" ]; }};\n'
    broker = stopped.start()
    leaf = lifecycle.make(broker, "client", pki.Issuer(), extractable=True)
    broker.configure(grants=lonely)
    broker.restart(ready=None)
    assert same_key(serialization.load_pem_private_key(export(broker, "client", "pem"), b"secret"), leaf.public_key())
    for call in (("Sign", "tsay", 0, "ecdsa-sha256", dbus.ByteArray(bytes(32))), ("SetEnabled", "b", False),
                 ("Retire", "t", 1)):
        refused("AccessDenied", broker.certificate, "client", *call)


def test_a_token_that_gives_nothing_away(stopped, refused):
    stopped.fault_rules("C_GetMechanismInfo type=0x210a rv=0x70\n")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()),
                      grants=lifecycle.GRANT_EVERYTHING)
    broker = stopped.start()
    lifecycle.make(broker, "client", pki.Issuer(), extractable=True)
    before = len(broker.token_objects())
    assert "CKM_AES_KEY_WRAP_PAD" in refused("NotSupported", export, broker, "client", "pem")
    stopped.fault_rules("C_WrapKey rv=0x6a\n")  # CKR_KEY_UNEXTRACTABLE, whatever CKA_EXTRACTABLE says
    refused("SourceDenied", export, broker, "client", "pem")
    stopped.fault_rules("C_WrapKey count=1 rv=0xb3\n")  # CKR_SESSION_HANDLE_INVALID: tried once more
    assert export(broker, "client", "pem")
    assert len(broker.token_objects()) == before


def test_each_generation_is_extractable_or_not(exporter, refused):
    """The property tells of the current generation, and so does what Export does."""
    ca = pki.Issuer()
    extractable = lambda: bool(exporter.certificate_properties("client")["Extractable"])  # noqa: E731
    first = lifecycle.make(exporter, "client", ca, extractable=True)
    assert extractable()
    lifecycle.generate(exporter, "client", replace=True)
    assert extractable(), "the new key is not current yet"
    export(exporter, "client", "pkcs12")
    signals = Signals(exporter)
    lifecycle.certify(exporter, "client", ca)
    assert not extractable()
    told = signals.wait("PropertiesChanged", certificate_path("client"))
    assert any(arguments[1].get("Extractable") == False for *_, arguments in told)  # noqa: E712
    n = len(exporter.token_objects())
    assert "generation 2" in refused("NotSupported", export, exporter, "client", "pkcs12")
    lifecycle.set_current(exporter, "client", 1)
    assert extractable()
    assert pkcs12.load_pkcs12(export(exporter, "client", "pkcs12"), b"secret").cert.certificate == first
    exporter.restart()
    assert extractable()
    lifecycle.set_current(exporter, "client", 2)
    assert not extractable()
    exporter.restart()
    exporter.certificate("client", "Refresh")
    assert not extractable()
    assert len(exporter.token_objects()) == n


def test_an_extractable_key_follows_one_that_is_not(exporter, refused):
    ca = pki.Issuer()
    lifecycle.make(exporter, "client", ca)
    refused("NotSupported", export, exporter, "client", "pem")
    lifecycle.generate(exporter, "client", replace=True, extractable=True)
    refused("NotSupported", export, exporter, "client", "pem")
    leaf = lifecycle.certify(exporter, "client", ca)
    assert exporter.certificate_properties("client")["Extractable"]
    assert same_key(pkcs12.load_pkcs12(export(exporter, "client", "pkcs12"), b"secret").key, leaf.public_key())
