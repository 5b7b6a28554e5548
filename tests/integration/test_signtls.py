# SPDX-License-Identifier: Apache-2.0
"""SignTls: a TLS 1.3 CertificateVerify (RFC 8446, 4.4.3), built here again and judged by python3-cryptography."""

import os

import dbus
import pki
import pytest

from broker import ERROR, GRANT_ALL, ME, certificate_path
from cryptography.exceptions import InvalidSignature

OF_TLS13 = {
    "rsa-2048": ["rsa-pss-sha256", "rsa-pss-sha384", "rsa-pss-sha512"],
    "ec-p256": ["ecdsa-sha256"], "ec-p384": ["ecdsa-sha384"], "ec-p521": ["ecdsa-sha512"],
    "ed25519": ["ed25519"],
}


def content(role, transcript_hash):
    return b" " * 64 + b"TLS 1.3, %s CertificateVerify" % role.encode() + b"\0" + transcript_hash


def sign_tls(broker, id, algorithm, role, transcript_hash, generation=0, **how):
    return bytes(broker.certificate(id, "SignTls", "tssay", dbus.UInt64(generation), algorithm, role,
                                    dbus.ByteArray(transcript_hash), **how))


def verified(broker, key_type):
    public = broker.import_new("client", key_type).public_key()
    for algorithm in OF_TLS13[key_type]:
        for role, other in (("client", "server"), ("server", "client")):
            for n in (32, 48):
                transcript_hash = os.urandom(n)
                signature = sign_tls(broker, "client", algorithm, role, transcript_hash)
                pki.verify(public, algorithm, signature, content(role, transcript_hash))
                for wrong in (content(other, transcript_hash), transcript_hash):
                    with pytest.raises(InvalidSignature):
                        pki.verify(public, algorithm, signature, wrong)


def test_rsa_2048(broker):
    verified(broker, "rsa-2048")


def test_ec_p256(broker):
    verified(broker, "ec-p256")


def test_ec_p384(broker):
    verified(broker, "ec-p384")


def test_ec_p521(broker):
    verified(broker, "ec-p521")


def test_ed25519(broker):
    verified(broker, "ed25519")


def test_what_tls13_has_not(broker, refused):
    for key_type in OF_TLS13:
        broker.import_new(key_type, key_type)
        for algorithm in pki.RSA_ALGORITHMS + pki.EC_ALGORITHMS + ["ed25519"]:
            if algorithm not in OF_TLS13[key_type]:
                refused("NotSupported", sign_tls, broker, key_type, algorithm, "client", bytes(32))
    for algorithm in ("", "ecdsa", "ECDSA-SHA256", "rsa-oaep-sha256", "x" * 300):
        refused("NotSupported", sign_tls, broker, "ec-p256", algorithm, "client", bytes(32))


def test_sha1_even_where_it_is_granted(stopped, refused):
    stopped.configure(grants=GRANT_ALL.format(me=ME) +
                      f'  old = {{ user = "{ME}"; allow = [ "use" ]; certificate = [ "*" ];\n'
                      '    algorithm = [ "rsa-pkcs1-sha1", "ecdsa-sha1", "ecdsa-sha256" ]; };\n')
    broker = stopped.start()
    broker.import_new("ec")
    broker.import_new("rsa", "rsa-2048")
    broker.sign("ec", "ecdsa-sha1", bytes(20))
    refused("NotSupported", sign_tls, broker, "ec", "ecdsa-sha1", "client", bytes(32))
    refused("NotSupported", sign_tls, broker, "rsa", "rsa-pkcs1-sha1", "client", bytes(32))


def test_wrong_role_and_hash(broker, refused):
    broker.import_new("client")
    for role in ("", "Client", "peer", "client ", "client\n", "TLS 1.3, client CertificateVerify"):
        refused("InvalidArgument", sign_tls, broker, "client", "ecdsa-sha256", role, bytes(32))
    for n in (0, 1, 20, 31, 33, 47, 49, 64, 70000):
        refused("InvalidArgument", sign_tls, broker, "client", "ecdsa-sha256", "client", bytes(n))
    refused("NotFound", sign_tls, broker, "client", "ecdsa-sha256", "client", bytes(32), 7)
    refused("NotFound", sign_tls, broker, "nobody", "ecdsa-sha256", "client", bytes(32))


def test_tls_alone_signs_nothing_else(stopped, root):
    """Who is granted `tls` gets TLS signatures and credentials, and cannot have a digest of theirs signed."""
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
  gateway = { user = "www-data"; allow = "tls"; certificate = "client"; backend = "orders"; };
  narrow = { user = "nobody"; allow = "tls"; certificate = "client"; algorithm = "ecdsa-sha384"; };
""")
    broker = stopped.start()
    public = broker.import_new("client").public_key()
    broker.create_backend("orders", "client")
    transcript_hash = os.urandom(32)
    given = {"hex": transcript_hash.hex()}
    path, interface = certificate_path("client"), "org.certbroker1.Certificate"
    tls = [path, interface, "SignTls", "tssay", 0, "ecdsa-sha256", "client", given]
    calls = [
        tls,
        ["/org/certbroker1/backend/orders", "org.certbroker1.Backend", "GetCredential", ""],
        [path, interface, "Sign", "tsay", 0, "ecdsa-sha256", given],
        [path, interface, "Decrypt", "tsay", 0, "rsa-oaep-sha1", given],
        [path, interface, "CreateRequest", "sas", "CN=x", []],
    ]
    results = broker.as_user("www-data", *calls)
    pki.verify(public, "ecdsa-sha256", bytes.fromhex(results[0]["value"]), content("client", transcript_hash))
    assert "value" in results[1]
    assert [r.get("error") for r in results[2:]] == [ERROR + "AccessDenied"] * 3
    [narrowed] = broker.as_user("nobody", tls)
    assert narrowed["error"] == ERROR + "AccessDenied"
