# SPDX-License-Identifier: Apache-2.0
"""Sign: every algorithm with every key type that has it, judged by python3-cryptography; and every refusal."""

import concurrent.futures
import os

import dbus
import pki
import pytest

from broker import Failure
from cryptography.exceptions import InvalidSignature


def sign_and_verify(broker, key_type):
    cert = broker.import_new("client", key_type)
    assert sorted(broker.certificate_properties("client")["Algorithms"]) == sorted(pki.algorithms_of(key_type))
    for algorithm in pki.algorithms_of(key_type):
        for message in (b"", b"x", os.urandom(4096)):
            signature = broker.sign("client", algorithm, pki.digest(algorithm, message))
            pki.verify(cert.public_key(), algorithm, signature, message)
            with pytest.raises(InvalidSignature):
                pki.verify(cert.public_key(), algorithm, signature, message + b"!")


def test_rsa_2048(broker):
    sign_and_verify(broker, "rsa-2048")


def test_rsa_3072(broker):
    sign_and_verify(broker, "rsa-3072")


def test_rsa_4096(broker):
    sign_and_verify(broker, "rsa-4096")


def test_ec_p256(broker):
    sign_and_verify(broker, "ec-p256")


def test_ec_p384(broker):
    sign_and_verify(broker, "ec-p384")


def test_ec_p521(broker):
    sign_and_verify(broker, "ec-p521")


def test_ed25519(broker):
    sign_and_verify(broker, "ed25519")


def test_ed25519_up_to_64_kib(broker, refused):
    cert = broker.import_new("client", "ed25519")
    message = os.urandom(64 << 10)
    pki.verify(cert.public_key(), "ed25519", broker.sign("client", "ed25519", message), message)
    refused("InvalidArgument", broker.sign, "client", "ed25519", message + b"!")


def test_ecdsa_is_der_also_with_short_halves(broker):
    """r or s with leading zero bytes, or the top bit set: about one signature in 128 each."""
    cert = broker.import_new("client", "ec-p256")
    lengths = set()
    for i in range(600):
        signature = broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"%d" % i))
        assert pki.ecdsa_is_der(signature)
        pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"%d" % i)
        lengths.add(len(signature))
    assert len(lengths) > 2, lengths


def test_digest_of_the_wrong_length(broker, refused):
    broker.import_new("rsa", "rsa-2048")
    broker.import_new("ec", "ec-p521")
    for id, algorithms in (("rsa", pki.RSA_ALGORITHMS), ("ec", pki.EC_ALGORITHMS)):
        for algorithm in algorithms:
            right = len(pki.digest(algorithm, b""))
            for n in {0, 1, right - 1, right + 1, 20, 32, 48, 64, 4096} - {right}:
                message = refused("InvalidArgument", broker.sign, id, algorithm, bytes(n))
                assert str(right) in message, message
    broker.sign("rsa", "rsa-pss-sha256", bytes(32))


def test_unknown_algorithm(broker, refused):
    broker.import_new("rsa", "rsa-2048")
    for algorithm in ("", "rsa", "RSA-PKCS1-SHA256", "rsa-pkcs1-sha256 ", "rsa-pkcs1-md5", "rsa-pkcs1-sha224",
                      "rsa-raw", "none", "ecdsa-sha3-256", "a" * 1000, "ä"):
        refused("NotSupported", broker.sign, "rsa", algorithm, bytes(32))


def test_algorithm_of_another_key_type(broker, refused):
    for id, key_type in (("rsa", "rsa-2048"), ("ec", "ec-p256"), ("ed", "ed25519")):
        broker.import_new(id, key_type)
        for algorithm in pki.RSA_ALGORITHMS + pki.EC_ALGORITHMS + ["ed25519"]:
            if algorithm not in pki.algorithms_of(key_type):
                message = refused("NotSupported", broker.sign, id, algorithm, pki.digest(algorithm, b""))
                assert algorithm in message


def test_sha1_only_where_a_grant_names_it(stopped, refused):
    stopped.configure(grants="""
      plain = { user = "%(me)s"; allow = [ "manage", "use" ]; certificate = "*"; source = "*"; };
    """ % {"me": __import__("broker").ME})
    stopped.start()
    certs = {id: stopped.import_new(id, key_type) for id, key_type in (("rsa", "rsa-2048"), ("ec", "ec-p256"))}
    for id, algorithm in (("rsa", "rsa-pkcs1-sha1"), ("ec", "ecdsa-sha1")):
        refused("AccessDenied", stopped.sign, id, algorithm, bytes(20))
    stopped.configure(grants="""
      plain = { user = "%(me)s"; allow = [ "manage", "use" ]; certificate = "*"; source = "*"; };
      old = { user = "%(me)s"; allow = "use"; certificate = "*"; algorithm = [ "rsa-pkcs1-sha1", "ecdsa-sha1" ]; };
    """ % {"me": __import__("broker").ME})
    stopped.manager("Reload")
    for id, algorithm in (("rsa", "rsa-pkcs1-sha1"), ("ec", "ecdsa-sha1")):
        signature = stopped.sign(id, algorithm, pki.digest(algorithm, b"m"))
        pki.verify(certs[id].public_key(), algorithm, signature, b"m")


def test_unknown_generation(broker, refused):
    broker.import_new("client", "ec-p256")
    for generation in (2, 3, 1 << 32, (1 << 64) - 1):
        message = refused("NotFound", broker.sign, "client", "ecdsa-sha256", bytes(32), generation)
        assert str(generation) in message
    broker.sign("client", "ecdsa-sha256", bytes(32), 1)


def test_unknown_certificate(broker, refused):
    refused("NotFound", broker.sign, "nobody", "ecdsa-sha256", bytes(32))


def test_disabled(broker, refused):
    broker.import_new("client", "ec-p256")
    broker.certificate("client", "SetEnabled", "b", False)
    assert broker.certificate_properties("client")["State"] == "disabled"
    assert "client" in refused("Disabled", broker.sign, "client", "ecdsa-sha256", bytes(32))
    broker.certificate("client", "SetEnabled", "b", True)
    assert broker.certificate_properties("client")["State"] == "active"
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_expired_and_not_yet_valid(broker, refused):
    key = pki.key("ec-p256")
    old = pki.certificate(key, not_before=pki.NOW - 9 * pki.DAY, not_after=pki.NOW - pki.DAY)
    new = pki.certificate(key, not_before=pki.NOW + pki.DAY, not_after=pki.NOW + 9 * pki.DAY)
    broker.import_bundle("old", pki.p12(key, old), b"secret")
    broker.import_bundle("new", pki.p12(key, new), b"secret")
    assert broker.certificate_properties("old")["State"] == "expired"
    assert broker.certificate_properties("new")["State"] == "pending"
    refused("Expired", broker.sign, "old", "ecdsa-sha256", bytes(32))
    refused("Pending", broker.sign, "new", "ecdsa-sha256", bytes(32))


def test_many_at_once(broker):
    """Each answer is the one of its own question."""
    certs = {id: broker.import_new(id, key_type) for id, key_type in (("a", "rsa-2048"), ("b", "ec-p256"))}

    def work(n):
        connection = broker.connect()
        for i in range(25):
            message = b"%d.%d" % (n, i)
            id, algorithm = (("a", "rsa-pss-sha256"), ("b", "ecdsa-sha256"))[i % 2]
            signature = broker.sign(id, algorithm, pki.digest(algorithm, message), connection=connection)
            pki.verify(certs[id].public_key(), algorithm, signature, message)
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_more_than_the_limit_in_flight(stopped):
    """Those beyond max-in-flight-per-client are refused at once, the others are answered; and then all again."""
    stopped.configure(broker="max-in-flight-per-client = 4;")
    stopped.start()
    cert = stopped.import_new("client", "rsa-4096")
    import dbus.mainloop.glib
    from gi.repository import GLib
    connection = stopped.connect(mainloop=dbus.mainloop.glib.DBusGMainLoop())
    answers, context = [], GLib.MainContext.default()
    digest = pki.digest("rsa-pss-sha256", b"m")
    for _ in range(60):
        connection.call_async(
            "org.certbroker1", "/org/certbroker1/certificate/client", "org.certbroker1.Certificate", "Sign",
            "tsay", (dbus.UInt64(0), "rsa-pss-sha256", dbus.ByteArray(digest)),
            lambda s: answers.append(bytes(s)), lambda e: answers.append(Failure(e).name))
    while len(answers) < 60:
        context.iteration(True)
    good = [a for a in answers if isinstance(a, bytes)]
    assert len(good) >= 4
    for signature in good:
        pki.verify(cert.public_key(), "rsa-pss-sha256", signature, b"m")
    assert set(a for a in answers if not isinstance(a, bytes)) == {"LimitExceeded"}
    refused = f'operation="Sign",source="",outcome="LimitExceeded"}} {len(answers) - len(good)}\n'
    assert refused in str(stopped.manager("GetMetrics"))
    stopped.sign("client", "rsa-pss-sha256", digest)


def test_a_wrong_signature_is_held_back(stopped, refused):
    """A token that makes a mistake in one RSA signature gives the key away with it: it does not leave the broker."""
    stopped.fault_rules("")
    sources = stopped.source(module=stopped.fault_module())
    stopped.configure(sources=sources)
    stopped.start()
    certs = {key_type: stopped.import_new(key_type, key_type) for key_type in ("rsa-2048", "ec-p256")}
    of_rsa, of_ec = ([a for a in pki.algorithms_of(key_type) if "sha256" in a] for key_type in certs)

    stopped.fault_rules("C_Sign flipbit\n")
    for algorithm in of_rsa:
        message = refused("Failed", stopped.sign, "rsa-2048", algorithm, pki.digest(algorithm, b"m"))
        assert "public key" in message
    assert stopped.sign("ec-p256", of_ec[0], bytes(32))  # not looked at, which is the default
    stopped.configure(sources=sources, broker='  verify-signatures = "always";')
    stopped.manager("Reload")
    refused("Failed", stopped.sign, "ec-p256", of_ec[0], bytes(32))
    stopped.fault_rules("")
    for key_type, algorithm in (("rsa-2048", of_rsa[0]), ("ec-p256", of_ec[0])):
        signature = stopped.sign(key_type, algorithm, pki.digest(algorithm, b"m"))
        pki.verify(certs[key_type].public_key(), algorithm, signature, b"m")


def test_many_keys(broker):
    """A policy or an index that only looks at the first key of a token is found here."""
    certs = {}
    for i in range(12):
        key = pki.key("ec-p256", i)
        certs[f"key-{i}"] = pki.certificate(key, f"cn-{i}")
        broker.import_bundle(f"key-{i}", pki.p12(key, certs[f"key-{i}"]), b"secret")
    for id, cert in certs.items():
        signature = broker.sign(id, "ecdsa-sha256", pki.digest("ecdsa-sha256", id.encode()))
        pki.verify(cert.public_key(), "ecdsa-sha256", signature, id.encode())
