# SPDX-License-Identifier: Apache-2.0
"""What an owner of keys does, call by call: for the tests of keys that are made, certified, renewed and given away."""

import contextlib
import os

import dbus
import pki

from broker import ME, memfd
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

GRANT_EVERYTHING = f"""
  everything = {{
    user = "{ME}";
    allow = [ "manage", "use", "decrypt", "export", "audit" ];
    certificate = [ "*" ];
    backend = [ "*" ];
    source = [ "*" ];
  }};
"""

KEY_TYPES = ["rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384", "ec-p521", "ed25519"]


def options(values):
    return dbus.Dictionary({k.replace("_", "-"): dbus.Boolean(v) for k, v in values.items()}, signature="sv")


def generate(broker, id, key_type="ec-p256", source="hsm", connection=None, **flags):
    """GenerateKey; the object's path."""
    return broker.manager("GenerateKey", "sssa{sv}", id, source, key_type, options(flags), timeout=110,
                          connection=connection)


def request(broker, id, subject="CN=client.example", names=(), connection=None):
    """CreateRequest, read and verified by the judge."""
    der = bytes(broker.certificate(id, "CreateRequest", "sas", subject, dbus.Array(names, signature="s"),
                                   connection=connection))
    csr = x509.load_der_x509_csr(der)
    assert csr.is_signature_valid
    return csr


@contextlib.contextmanager
def descriptor(data):
    fd = memfd(data)
    try:
        yield dbus.types.UnixFd(fd)
    finally:
        os.close(fd)


def install(broker, id, data, connection=None, **flags):
    with descriptor(data) as fd:
        return broker.certificate(id, "InstallCertificate", "ha{sv}", fd, options(flags), connection=connection)


def issue(csr, ca, sans=None, **how):
    """The certificate that a CA makes of a request, with its names unless others are given."""
    if sans is None:
        try:
            sans = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
                x509.DNSName)
        except x509.ExtensionNotFound:
            sans = ()
    return pki.certificate(csr, subject=csr.subject, issuer=ca, sans=sans, **how)


def certify(broker, id, ca, subject="CN=client.example", names=("DNS:client.example",), **how):
    """Request, issue, install; the leaf."""
    leaf = issue(request(broker, id, subject, names), ca, **how)
    install(broker, id, pki.pem(leaf, ca.certificate))
    return leaf


def make(broker, id, ca, key_type="ec-p256", **flags):
    """A generated key with its certificate; the leaf."""
    generate(broker, id, key_type, **flags)
    return certify(broker, id, ca)


def signs(broker, id, leaf, generation=0):
    """Asserts that this generation signs, with the leaf's key."""
    public = leaf.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        algorithm = "ecdsa-sha256"
    else:
        algorithm = "rsa-pss-sha256" if isinstance(public, rsa.RSAPublicKey) else "ed25519"
    message = os.urandom(32)
    signature = broker.sign(id, algorithm, pki.digest(algorithm, message), generation)
    pki.verify(public, algorithm, signature, message)


def generations(broker, id):
    """(number, thumbprint, usable until), oldest first."""
    rows = broker.certificate_properties(id)["Generations"]
    return [(int(n), str(thumbprint), int(until)) for n, thumbprint, until in rows]


def set_current(broker, id, generation):
    return broker.certificate(id, "SetCurrent", "t", dbus.UInt64(generation))


def retire(broker, id, generation):
    return broker.certificate(id, "Retire", "t", dbus.UInt64(generation))
