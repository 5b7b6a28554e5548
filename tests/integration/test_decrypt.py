# SPDX-License-Identifier: Apache-2.0
"""Decrypt: OAEP against python3-cryptography's encryption; and that what is wrong with a ciphertext stays secret."""

import os

import dbus
import lifecycle
import pki
import pytest

from broker import ME, Failure, wait_until
from cryptography.hazmat.primitives.asymmetric import padding

ALGORITHMS = ("rsa-oaep-sha1", "rsa-oaep-sha256")


@pytest.fixture
def decrypter(stopped):
    stopped.configure(grants=lifecycle.GRANT_EVERYTHING)
    return stopped.start()


def encrypt(public, algorithm, message, label=None, mgf=None):
    chosen = pki.HASHES[algorithm.rsplit("-", 1)[1]]()
    return public.encrypt(message, padding.OAEP(padding.MGF1(mgf or chosen), chosen, label))


def decrypt(broker, id, algorithm, ciphertext, generation=0):
    return bytes(broker.certificate(id, "Decrypt", "tsay", dbus.UInt64(generation), algorithm,
                                    dbus.ByteArray(ciphertext)))


def longest(public, algorithm):
    return public.key_size // 8 - 2 * pki.HASHES[algorithm.rsplit("-", 1)[1]]().digest_size - 2


def both_ways(broker, key_type):
    public = broker.import_new("client", key_type).public_key()
    for algorithm in ALGORITHMS:
        for message in (b"", b"x", os.urandom(32), bytes(64), os.urandom(longest(public, algorithm))):
            assert decrypt(broker, "client", algorithm, encrypt(public, algorithm, message)) == message


def test_rsa_2048(decrypter):
    both_ways(decrypter, "rsa-2048")


def test_rsa_3072(decrypter):
    both_ways(decrypter, "rsa-3072")


def test_rsa_4096(decrypter):
    both_ways(decrypter, "rsa-4096")


def test_generated_key_and_older_generation(decrypter):
    ca = pki.Issuer()
    first = lifecycle.make(decrypter, "client", ca, "rsa-2048")
    second = lifecycle.make(decrypter, "client", ca, "rsa-2048", replace=True)
    for algorithm in ALGORITHMS:
        for leaf, generation in ((first, 1), (second, 2), (second, 0)):
            ciphertext = encrypt(leaf.public_key(), algorithm, b"message")
            assert decrypt(decrypter, "client", algorithm, ciphertext, generation) == b"message"


def test_every_wrong_ciphertext_is_the_same(decrypter, refused):
    public = decrypter.import_new("client", "rsa-2048").public_key()
    n = public.public_numbers().n
    sha1, sha256 = (encrypt(public, algorithm, b"message") for algorithm in ALGORITHMS)
    wrong = {
        "zeros": bytes(256), "one": (1).to_bytes(256, "big"), "ones": b"\xff" * 256,
        "the modulus": n.to_bytes(256, "big"), "one less": (n - 1).to_bytes(256, "big"),
        "random": os.urandom(256), "one more random": b"\0" + os.urandom(255),
        "PKCS#1 v1.5": public.encrypt(b"message", padding.PKCS1v15()),
        "with a label": encrypt(public, "rsa-oaep-sha1", b"message", b"label"),
        "with a label, too": encrypt(public, "rsa-oaep-sha256", b"message", b"label"),
        "MGF1 of another hash": encrypt(public, "rsa-oaep-sha256", b"message", mgf=pki.HASHES["sha1"]()),
        "of another key": encrypt(pki.key("rsa-2048", 1).public_key(), "rsa-oaep-sha256", b"message"),
        # every encoding in which just the first byte is not zero, as Manger's attack makes them
        "first byte": pow(int.from_bytes(sha256, "big") * pow(2, public.public_numbers().e, n), 1, n)
                      .to_bytes(256, "big"),
    }
    sentences = set()
    for algorithm, others in (("rsa-oaep-sha1", sha256), ("rsa-oaep-sha256", sha1)):
        for ciphertext in (*wrong.values(), others):
            sentences.add(refused("InvalidArgument", decrypt, decrypter, "client", algorithm, ciphertext))
    assert len(sentences) == 1
    # None of it was the token's fault.
    assert decrypter.source_properties()["State"] == "ready"
    assert "token is gone" not in decrypter.log_text()
    for algorithm, ciphertext in zip(ALGORITHMS, (sha1, sha256)):
        assert decrypt(decrypter, "client", algorithm, ciphertext) == b"message"


def test_wrong_length(decrypter, refused):
    public = decrypter.import_new("client", "rsa-2048").public_key()
    for algorithm in ALGORITHMS:
        ciphertext = encrypt(public, algorithm, b"message")
        for wrong in (b"", ciphertext[:-1], ciphertext[1:], b"\0" + ciphertext, ciphertext + b"\0", bytes(70000)):
            refused("InvalidArgument", decrypt, decrypter, "client", algorithm, wrong)


def test_not_supported(decrypter, refused):
    public = decrypter.import_new("client", "rsa-2048").public_key()
    ciphertext = public.encrypt(b"message", padding.PKCS1v15())
    for algorithm in ("rsa-pkcs1", "rsa-pkcs1-v1_5", "rsa-oaep", "rsa-oaep-sha512", "RSA-OAEP-SHA1", "", "rsa"):
        refused("NotSupported", decrypt, decrypter, "client", algorithm, ciphertext)
    for key_type in ("ec-p256", "ed25519"):
        decrypter.import_new(key_type, key_type)
        refused("NotSupported", decrypt, decrypter, key_type, "rsa-oaep-sha1", bytes(32))
    refused("NotFound", decrypt, decrypter, "client", "rsa-oaep-sha1", ciphertext, 2)
    refused("NotFound", decrypt, decrypter, "nobody", "rsa-oaep-sha1", ciphertext)


@pytest.fixture
def faulty(stopped):
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()),
                      grants=lifecycle.GRANT_EVERYTHING)
    stopped.start()
    return stopped


def test_tokens_that_have_less(faulty, refused):
    public = faulty.import_new("client", "rsa-2048").public_key()
    sha1, sha256 = (encrypt(public, algorithm, b"message") for algorithm in ALGORITHMS)
    no_oaep, no_raw = "C_GetMechanismInfo type=0x9 rv=0x70\n", "C_GetMechanismInfo type=0x3 rv=0x70\n"
    faulty.fault_rules(no_raw)
    assert decrypt(faulty, "client", "rsa-oaep-sha1", sha1) == b"message"
    assert "CKM_RSA_X_509" in refused("NotSupported", decrypt, faulty, "client", "rsa-oaep-sha256", sha256)
    faulty.fault_rules(no_oaep)
    assert decrypt(faulty, "client", "rsa-oaep-sha1", sha1) == b"message"
    assert decrypt(faulty, "client", "rsa-oaep-sha256", sha256) == b"message"
    faulty.fault_rules(no_oaep + no_raw)
    refused("NotSupported", decrypt, faulty, "client", "rsa-oaep-sha1", sha1)


def test_a_token_that_goes_is_no_wrong_ciphertext(faulty, refused):
    public = faulty.import_new("client", "rsa-2048").public_key()
    ciphertext = encrypt(public, "rsa-oaep-sha1", b"message")
    faulty.fault_rules("C_Decrypt count=1 rv=0xb3\n")  # CKR_SESSION_HANDLE_INVALID: tried once more
    assert decrypt(faulty, "client", "rsa-oaep-sha1", ciphertext) == b"message"
    faulty.fault_rules("C_Decrypt rv=0x5\nC_GetTokenInfo rv=0x5\n")  # CKR_GENERAL_ERROR, to everything
    refused("SourceUnavailable", decrypt, faulty, "client", "rsa-oaep-sha1", ciphertext)
    faulty.fault_rules("")

    def works():
        try:
            return decrypt(faulty, "client", "rsa-oaep-sha1", ciphertext) == b"message"
        except Failure as error:
            assert error.name == "SourceUnavailable", str(error)
            return False
    wait_until(works, "the token is back", 20)


def test_a_grant_narrows_decryption_too(stopped, refused):
    """A grant that names algorithms allows none but these, whether they sign or decrypt."""
    for named, allowed in (("rsa-pss-sha256", ()), ("rsa-oaep-sha256", ("rsa-oaep-sha256",)),
                           ('rsa-oaep-sha1", "ed25519', ("rsa-oaep-sha1",))):
        stopped.configure(grants=f"""
          keepers = {{ user = "{ME}"; allow = "manage"; certificate = "*"; source = "*"; }};
          narrow = {{ user = "{ME}"; allow = "decrypt"; certificate = "*"; algorithm = [ "{named}" ]; }};
        """)
        stopped.start(ready=None)
        stopped.wait_source("hsm", "ready")
        if "client" not in stopped.list_ids():
            stopped.import_new("client", "rsa-2048")
        public = pki.key("rsa-2048").public_key()
        for algorithm in ALGORITHMS:
            ciphertext = encrypt(public, algorithm, b"x")
            if algorithm in allowed:
                assert decrypt(stopped, "client", algorithm, ciphertext) == b"x"
            else:
                refused("AccessDenied", decrypt, stopped, "client", algorithm, ciphertext)
        stopped.stop()
