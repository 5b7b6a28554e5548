# SPDX-License-Identifier: Apache-2.0
"""Certificates for the vault to hold, where a test does not bring its own: a root, an intermediate, and leaves."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .store import PFX, new_key, pem_of, pem_of_key

KEY_TYPES = {
    "rsa-2048": ("RSA", 2048, None), "rsa-3072": ("RSA", 3072, None), "rsa-4096": ("RSA", 4096, None),
    "ec-p256": ("EC", None, "P-256"), "ec-p384": ("EC", None, "P-384"), "ec-p521": ("EC", None, "P-521"),
    "ec-p256k": ("EC", None, "P-256K"),
}
# What a version may be given besides its key and chain; see store.Version.
FIELDS = ("enabled", "not_before", "expires", "exportable", "content_type", "order", "key_operations", "tags",
          "secret_value", "hsm", "created")


def make(key_type):
    return new_key(*KEY_TYPES[key_type])


class Issuing:
    def __init__(self):
        self.root_key, self.root = self._ca("Test issuing root", None, None)
        self.key, self.intermediate = self._ca("Test issuing CA", self.root_key, self.root)
        self.keys = {}

    @staticmethod
    def _ca(common_name, issuer_key, issuer):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = datetime.datetime.utcnow()
        issuer_key = issuer_key or key
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(issuer.subject if issuer else name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
            .sign(issuer_key, hashes.SHA256()))
        return key, certificate

    def chain(self, key, subject, sans, not_before=None, not_after=None):
        """[leaf, intermediate, root] for the key; times are seconds since 1970."""
        now = datetime.datetime.utcnow()
        start = datetime.datetime.utcfromtimestamp(not_before) if not_before else now - datetime.timedelta(minutes=10)
        end = datetime.datetime.utcfromtimestamp(not_after) if not_after else now + datetime.timedelta(days=365)
        builder = (
            x509.CertificateBuilder().subject_name(x509.Name.from_rfc4514_string(subject))
            .issuer_name(self.intermediate.subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                           False))
        if sans:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in sans]), False)
        return [builder.sign(self.key, hashes.SHA256()), self.intermediate, self.root]

    def material(self, wish, previous=None):
        """(key, chain) of a control request: given as PEM, or made. previous: the version before, in a rotation."""
        key = serialization.load_pem_private_key(wish["key"].encode(), None) if wish.get("key") else None
        if key is None and wish.get("reuse_key") and previous:
            key = previous.key
        if key is None:
            key = make(wish.get("key_type") or self.type_of(previous) or "ec-p256")
        if wish.get("chain"):
            return key, [x509.load_pem_x509_certificate(each.encode()) for each in wish["chain"]]
        subject = wish.get("subject")
        if not subject:
            subject = previous.leaf.subject.rfc4514_string() if previous else f"CN={wish['name']}"
        sans = wish.get("sans")
        if sans is None:
            sans = self.sans_of(previous) if previous else [f"{wish['name'].lower()}.example"]
        return key, self.chain(key, subject, sans, wish.get("leaf_not_before"), wish.get("leaf_not_after"))

    @staticmethod
    def type_of(version):
        if version is None:
            return None
        if isinstance(version.key, ec.EllipticCurvePrivateKey):
            return {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521",
                    "secp256k1": "ec-p256k"}[version.key.curve.name]
        return f"rsa-{version.key.key_size}"

    @staticmethod
    def sans_of(version):
        try:
            found = version.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return []
        return found.value.get_values_for_type(x509.DNSName)


def fields_of(wish):
    return {name: wish[name] for name in FIELDS if name in wish}


def shown(item, version, base):
    """What a test is told of a version, its key included."""
    return {"name": item.name, "version": version.id, "x5t": version.thumbprint, "key": pem_of_key(version.key),
            "chain": [pem_of(each) for each in version.chain], "exportable": version.exportable,
            "content_type": version.content_type or PFX, "enabled": version.enabled,
            "id": f"{base}/certificates/{item.name}", "versioned_id": f"{base}/certificates/{item.name}/{version.id}",
            "kid": f"{base}/keys/{item.name}/{version.id}", "sid": f"{base}/secrets/{item.name}/{version.id}"}
