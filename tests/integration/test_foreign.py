# SPDX-License-Identifier: Apache-2.0
"""Bundles of other programs: what GnuTLS, NSS, Java and Windows write is imported and signs, and they read what is exported."""

import functools
import os
import pathlib
import subprocess

import lifecycle
import pki
import pytest

from cryptography import x509
from test_export import export, exporter  # noqa: F401  (a fixture)

DATA = pathlib.Path(__file__).resolve().parents[1] / "unit/data"
FOREIGN = "pässwörd ключ"


def run(*command):
    """Its output. Passphrases are arguments of these programs, in the locale's encoding."""
    return subprocess.run(command, check=True, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout


class Maker:
    """A key and its chain in files, for programs that make bundles of them."""

    def __init__(self, folder, key_type):
        self.key_type = key_type
        self.issuer = pki.Issuer(f"CA of {key_type}")
        self.leaf = pki.certificate(pki.key(key_type), f"{key_type}.example", issuer=self.issuer)
        self.key_file = folder / f"{key_type}.key"
        self.key_file.write_bytes(pki.pem(pki.key(key_type)))
        self.chain_file = folder / f"{key_type}.pem"
        self.chain_file.write_bytes(pki.pem(self.leaf, self.issuer.certificate))
        self.p12_file = folder / f"{key_type}.p12"
        self.p12_file.write_bytes(pki.p12(pki.key(key_type), self.leaf, [self.issuer.certificate], friendly=key_type.encode()))


@pytest.fixture
def maker(folder):
    return functools.lru_cache(maxsize=None)(lambda key_type: Maker(folder, key_type))


def check(broker, id, bundle, passphrase, maker):
    """It is taken, with its chain, and signs; python3-cryptography verifies that."""
    broker.import_bundle(id, bundle, passphrase.encode())
    assert broker.chain(id) == [pki.der(maker.leaf), pki.der(maker.issuer.certificate)], id
    assert broker.certificate_properties(id)["KeyType"] == maker.key_type, id
    lifecycle.signs(broker, id, maker.leaf)


# GnuTLS. It derives with 600,000 iterations, whatever the cipher.

def certtool(maker, out, passphrase, cipher, *more):
    run("certtool", "--to-p12", "--load-privkey", maker.key_file, "--load-certificate", maker.chain_file, "--p12-name", "client",
        "--pkcs-cipher", cipher, *passphrase, *more, "--outfile", out)
    return out.read_bytes()


def test_gnutls(broker, refused, folder, maker):
    out = folder / "made.p12"
    for id, key_type, cipher, how, passphrase in (
            ("aes", "rsa-2048", "aes-256", ["--password", FOREIGN], FOREIGN),
            ("3des", "ec-p256", "3des-pkcs12", ["--empty-password"], ""),
            ("rc2", "ed25519", "rc2-40", ["--null-password"], ""),
            ("rc4", "ec-p384", "arcfour", ["--password", "secret"], "secret")):
        check(broker, id, certtool(maker(key_type), out, how, cipher, "--outder"), passphrase, maker(key_type))

    gost = certtool(maker("ec-p256"), out, ["--password", "secret"], "gost28147-tc26z", "--outder")
    assert "AES-256" in refused("NotSupported", broker.import_bundle, "gost", gost, b"secret")


# NSS

NSS_PBE = "PKCS #12 V2 PBE With SHA-1 And"


@pytest.fixture
def nss(folder):
    database = folder / "nss"
    database.mkdir()
    run("certutil", "-N", "-d", f"sql:{database}", "--empty-password")
    return f"sql:{database}"


def test_nss(broker, folder, maker, nss):
    out = folder / "made.p12"
    for key_type in ("rsa-2048", "ec-p256", "ec-p384"):
        run("pk12util", "-i", maker(key_type).p12_file, "-d", nss, "-W", "secret")
    for id, key_type, how, passphrase in (
            ("default", "rsa-2048", [], FOREIGN),
            ("aes", "ec-p256", ["-c", "AES-256-CBC", "-C", "AES-256-CBC", "-M", "SHA-512"], "secret"),
            ("old", "ec-p384", ["-c", f"{NSS_PBE} 3KEY Triple DES-CBC", "-C", f"{NSS_PBE} 40 Bit RC2 CBC", "-M", "SHA-1"], "")):
        run("pk12util", "-o", out, "-d", nss, "-n", key_type, "-W", passphrase, *how)
        check(broker, id, out.read_bytes(), passphrase, maker(key_type))


# Java

def test_java(broker, refused):
    for id, name in (("java", "java.p12"), ("legacy", "java-legacy.p12")):
        broker.import_bundle(id, (DATA / name).read_bytes(), b"correct")
        assert broker.certificate_properties(id)["Subject"] == "CN=java.example"
        lifecycle.signs(broker, id, x509.load_der_x509_certificate(broker.chain(id)[0]))
    for name in ("java.jks", "java.jceks"):
        said = refused("BadBundle", broker.import_bundle, "store", (DATA / name).read_bytes(), b"correct")
        assert "Java key store" in said and "keytool -importkeystore" in said


# Windows, as far as others can write what it does: old algorithms, its attributes, and zeros at the end

def test_windows(broker, folder, maker):
    made = maker("rsa-2048")
    bundle = run("openssl", "pkcs12", "-export", "-inkey", made.key_file, "-in", made.chain_file, "-passout", f"pass:{FOREIGN}",
                 "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1", "-iter", "2000",
                 "-name", "te-6f0a2d9e-5b07-4f4c-9f3e-6d1a7c0c2b1d", "-CSP", "Microsoft Enhanced RSA and AES Cryptographic Provider",
                 "-LMK")
    for i, padding in enumerate((b"", bytes(8), bytes(512), b"\r\n\r\n")):
        check(broker, f"windows-{i}", bundle + padding, FOREIGN, made)


# What we write

def test_exports_are_read(exporter, folder, nss):  # noqa: F811
    ca = pki.Issuer()
    lifecycle.make(exporter, "client", ca, "rsa-2048", extractable=True)
    bundle, text = folder / "out.p12", folder / "out.pem"
    for passphrase in ("secret", FOREIGN, ""):
        bundle.write_bytes(export(exporter, "client", "pkcs12", passphrase.encode()))
        how = ["--password", passphrase] if passphrase else ["--empty-password"]
        said = run("certtool", "--p12-info", "--inder", "--infile", bundle, *how)
        assert said.count(b"BEGIN CERTIFICATE") == 2 and said.count(b"PRIVATE KEY-----") == 2
        assert b"IMPORT SUCCESSFUL" in run("pk12util", "-i", bundle, "-d", nss, "-W", passphrase)
        assert b"client" in run("certutil", "-K", "-d", nss)
        run("certutil", "-F", "-d", nss, "-n", "client")

    text.write_bytes(export(exporter, "client", "pem", b"secret"))
    said = run("certtool", "--key-info", "--infile", text, "--password", "secret")
    assert b"RSA" in said and b"Medium (2048 bits)" in said
