# SPDX-License-Identifier: Apache-2.0
"""Files as people have them, through ImportCertificate and InstallCertificate: what is taken, and what is said of the rest."""

import base64
import subprocess

import dbus
import pki
import pytest

from broker import Failure, certificate_path, memfd
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
CERTIFICATE = "org.certbroker1.Certificate"


def install(broker, id, chain):
    broker.call(certificate_path(id), CERTIFICATE, "InstallCertificate", "ha{sv}", dbus.types.UnixFd(memfd(chain)),
                dbus.Dictionary(signature="sv"))


def openssl(*arguments, data):
    return subprocess.run(["openssl", *arguments], input=data, check=True, capture_output=True).stdout


JKS = b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1" + bytes(200)  # how it begins, and nothing in it


@pytest.fixture
def files(broker):
    """The key, its certificate and the authority's, and more in which they are."""
    ca, key = pki.Issuer(), pki.key("ec-p256")
    cert = pki.certificate(key, issuer=ca)
    p12 = pki.p12(key, cert, [ca.certificate])
    request = openssl("req", "-new", "-key", "/dev/stdin", "-subj", "/CN=x", data=pki.pem(key))
    return {
        "ca": ca, "key": key, "cert": cert, "p12": p12, "pem": pki.pem(key, cert, ca.certificate),
        "p7b": pkcs7.serialize_certificates([cert, ca.certificate], DER),
        "strangers": [pki.Issuer(f"Stranger {i}").certificate for i in range(40)],
        "request": request,
    }


def test_import(broker, files):
    """Each is taken with its whole chain, or refused with words that help."""
    cert, key, p12, pem = files["cert"], files["key"], files["p12"], files["pem"]
    trusted = openssl("x509", "-trustout", "-addtrust", "clientAuth", data=pki.pem(cert))
    latin = "pässwörd".encode().decode("latin-1").encode()
    table = [
        # name, file, passphrase, None or the error's name and words of its message
        ("padded-p12", p12 + bytes(8), b"secret", None),
        ("pem-of-p12", pki.der_to_pem(p12, "PKCS12"), b"secret", None),
        ("key-and-p7b", pki.pem(key) + pki.der_to_pem(files["p7b"]), b"", None),
        ("many", pki.p12(key, cert, [*files["strangers"], files["ca"].certificate]), b"secret", None),
        ("key-twice", pki.pem(key) + pem, b"", None),
        ("comment", b"see -----BEGIN above\r" + pem.replace(b"\n", b"\r"), b"", None),
        ("trusted", pki.pem(key) + trusted + pki.pem(files["ca"].certificate), b"", None),
        ("openssl-1-0", pki.p12(key, cert, [files["ca"].certificate], latin), "pässwörd".encode(), None),
        ("two", p12 + p12, b"secret", ("BadBundle", "goes on after PKCS#12")),
        ("base64", base64.encodebytes(p12), b"secret", ("BadBundle", "base64 -d")),
        ("utf-16", pem.decode().encode("utf-16"), b"", ("BadBundle", "iconv -f UTF-16")),
        ("java", JKS, b"secret", ("BadBundle", "keytool -importkeystore")),
        ("der", pki.der(cert), b"", ("BadBundle", "certbroker certificate install")),
        ("p7b", files["p7b"], b"", ("BadBundle", "PKCS#7, which has no private key")),
        ("request", files["request"], b"", ("BadBundle", "a certificate request")),
        ("escaped", pem.replace(b"\n", b"\\n"), b"", ("BadBundle", 'sed "s/')),
        ("broken", pem + b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", b"",
         ("BadBundle", "certificate 3 of the bundle cannot be read")),
        ("rsa-1024", pki.pem(pki.key("rsa-1024"), cert), b"", ("NotSupported", "RSA with 1024 bits")),
        ("long", p12, b"x" * 4097, ("InvalidArgument", "longer than 4096 bytes")),
        ("marked", p12, b"\xef\xbb\xbfsecret", ("BadPassphrase", "byte order mark")),
    ]
    taken = []
    for name, bundle, passphrase, refusal in table:
        try:
            broker.import_bundle(name, bundle, passphrase)
        except Failure as failure:
            assert refusal and (failure.name, refusal[1] in failure.message) == (refusal[0], True), (name, str(failure))
            assert f"'{name}'" in failure.message, "the certificate is named"
            continue
        assert refusal is None, name
        assert broker.chain(name) == [pki.der(cert), pki.der(files["ca"].certificate)], name
        taken.append(name)
    assert broker.list_ids() == sorted(taken)


def test_install(broker, files):
    broker.import_bundle("client", pki.pem(files["key"], files["cert"]))

    def p7b(cert, encoding):
        return pkcs7.serialize_certificates([cert, files["ca"].certificate], encoding)

    for name, make in (
            ("padded DER", lambda c: pki.der(c) + b"\n"),
            ("padded PKCS#7", lambda c: p7b(c, DER) + bytes(4)),
            ("PKCS#7 as CERTIFICATE", lambda c: pki.der_to_pem(p7b(c, DER))),
            ("PKCS#7 in PEM", lambda c: p7b(c, PEM)),
            ("trusted", lambda c: openssl("x509", "-trustout", "-addtrust", "clientAuth", data=pki.pem(c))),
            ("with strangers", lambda c: pki.pem(*files["strangers"], c))):
        cert = pki.certificate(files["key"], issuer=files["ca"])
        install(broker, "client", make(cert))
        assert broker.chain("client")[0] == pki.der(cert), name
    generation = broker.certificate_properties("client")["Generation"]
    for name, file, words in (
            ("PKCS#12", files["p12"], "certbroker certificate import"),
            ("two", pki.der(files["cert"]) * 2, "goes on after a certificate"),
            ("key", pki.pem(files["key"]), "a private key"),
            ("request", files["request"], "a certificate request"),
            ("base64", base64.encodebytes(files["p7b"]), "base64 -d"),
            ("UTF-16", files["pem"].decode().encode("utf-16"), "iconv -f UTF-16"),
            ("Java", JKS, "keytool -exportcert")):
        with pytest.raises(Failure) as caught:
            install(broker, "client", file)
        assert caught.value.name == "BadBundle" and words in caught.value.message, (name, str(caught.value))
        assert "'client'" in caught.value.message, "the certificate is named"
    assert broker.certificate_properties("client")["Generation"] == generation
