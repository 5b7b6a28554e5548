# SPDX-License-Identifier: Apache-2.0
"""What the vault holds: certificates with their versions, and plain keys and secrets.

A certificate's version is also a key and a secret of the same name and version. Nothing here knows HTTP.
"""

import base64
import calendar
import dataclasses
import datetime
import hashlib
import random
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from . import jwt, pkcs12

PFX, PEM = "application/x-pkcs12", "application/x-pem-file"
CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "P-256K": ec.SECP256K1}
CURVE_NAMES = {curve.name: name for name, curve in CURVES.items()}
RSA_OPERATIONS = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
EC_OPERATIONS = ("sign", "verify")
USAGE_OPERATIONS = {
    "digitalSignature": ("sign", "verify"), "keyEncipherment": ("wrapKey", "unwrapKey"),
    "dataEncipherment": ("encrypt", "decrypt"), "decipherOnly": ("decrypt",), "encipherOnly": ("encrypt",),
    "keyCertSign": ("sign", "verify"), "nonRepudiation": ("sign", "verify"), "cRLSign": ("sign", "verify"),
}
RECOVERABLE_DAYS = 90


def new_version_id():
    return secrets.token_hex(16)


def supported(key):
    """Whether a vault (not a managed HSM) takes such a key."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size in (2048, 3072, 4096)
    return isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVE_NAMES


def new_key(kty="RSA", key_size=2048, crv="P-256"):
    if kty.startswith("EC"):
        return ec.generate_private_key(CURVES[crv]())
    return rsa.generate_private_key(65537, key_size)


def curve_name(key):
    return CURVE_NAMES[key.curve.name]


def operations_of(key, usages=None):
    """The operations of a key whose certificate's policy has these usages; None: an import's, which are all."""
    possible = RSA_OPERATIONS if isinstance(key, rsa.RSAPrivateKey) else EC_OPERATIONS
    if usages is None:
        return list(possible)
    wanted = {operation for usage in usages for operation in USAGE_OPERATIONS.get(usage, ())}
    return [operation for operation in possible if operation in wanted]


def pem_of_key(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption()).decode()


def pem_of(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def der_of(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def public_der(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def epoch(moment):
    return calendar.timegm(moment.timetuple())


@dataclasses.dataclass
class Version:
    """One version. chain: leaf first. order: how the secret has the chain (leaf-first, root-first, shuffled)."""
    id: str
    created: int
    key: object = None
    chain: list = dataclasses.field(default_factory=list)
    enabled: bool = True
    not_before: int = None
    expires: int = None
    updated: int = None
    exportable: bool = True
    content_type: str = PFX
    order: str = "leaf-first"
    key_operations: list = dataclasses.field(default_factory=list)
    tags: dict = dataclasses.field(default_factory=dict)
    secret_value: str = None    # verbatim instead of what is made of key and chain
    shown_key: object = None    # another key in place of the right one, in keys/get
    hsm: bool = False
    _secret: str = None

    @property
    def leaf(self):
        return self.chain[0]

    @property
    def thumbprint(self):
        return jwt.b64url(self.leaf.fingerprint(hashes.SHA1()))

    def ordered(self):
        if self.order == "root-first":
            return self.chain[::-1]
        if self.order == "shuffled" and len(self.chain) > 1:
            # not by chance the right order, and each time the same
            shuffled, dice = list(self.chain), random.Random(self.id)
            while shuffled == self.chain:
                dice.shuffle(shuffled)
            return shuffled
        return self.chain

    def secret(self):
        if self.secret_value is not None:
            return self.secret_value
        if self._secret is None:
            key = self.key if self.exportable else None
            if self.content_type == PEM:
                self._secret = (pem_of_key(key) if key else "") + "".join(map(pem_of, self.ordered()))
            else:
                self._secret = base64.b64encode(pkcs12.write(key, self.ordered(), self.leaf)).decode()
        return self._secret

    def changed(self):
        """Forget what was made of the fields."""
        self._secret = None


@dataclasses.dataclass
class Pending:
    """A certificate that is being made. csr, key: of the request."""
    id: str
    created: int
    key: object
    csr: bytes
    policy: dict
    status: str = "inProgress"
    cancelled: bool = False
    ready_at: float = 0
    tags: dict = dataclasses.field(default_factory=dict)
    attributes: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Object:
    """kind: certificate, key or secret. versions: oldest first."""
    kind: str
    name: str
    versions: list = dataclasses.field(default_factory=list)
    policy: dict = None
    pending: Pending = None
    deleted_at: float = None
    placeholder: Version = None  # what is shown of it before there is a version
    current_id: str = None      # which version is the latest, where it is not the last (a rollback)

    @property
    def latest(self):
        if self.current_id:
            return self.find(self.current_id)
        return self.versions[-1] if self.versions else None

    def find(self, version_id):
        return next((version for version in self.versions if version.id == version_id.lower()), None)


class Store:
    """Names are compared without regard to case, and kept as they were given."""

    def __init__(self, clock):
        self.clock = clock
        self.reset()

    def reset(self):
        self.objects = {}
        self.delete_seconds = 0.2

    def find(self, kind, name):
        """The object with keys and secrets of that kind: a certificate is also a key and a secret."""
        own = self.objects.get((kind, name.lower()))
        if own is None and kind != "certificate":
            backing = self.objects.get(("certificate", name.lower()))
            return backing if backing and backing.versions else None
        return own

    def all(self, kind):
        found = [self.find(kind, each.name) for each in self.objects.values() if each.kind in (kind, "certificate")]
        unique = {each.name.lower(): each for each in found if each and each.deleted_at is None}
        # No order is promised: neither that of names nor that of making.
        return sorted(unique.values(), key=lambda each: hash_of(each.name))

    def put(self, kind, name):
        return self.objects.setdefault((kind, name.lower()), Object(kind, name))

    def remove(self, item):
        self.objects.pop((item.kind, item.name.lower()), None)

    def is_deleting(self, item):
        return item.deleted_at is not None and self.clock.now() < item.deleted_at + self.delete_seconds

    def add_version(self, name, key, chain, policy=None, **fields):
        item = self.put("certificate", name)
        now = self.clock.seconds()
        version = Version(
            id=new_version_id(), created=now, updated=now, key=key, chain=chain,
            not_before=epoch(chain[0].not_valid_before), expires=epoch(chain[0].not_valid_after))
        for field, value in fields.items():
            setattr(version, field, value)
        if not version.key_operations:
            version.key_operations = operations_of(key)
        item.versions.append(version)
        item.current_id = None
        if policy is not None:
            item.policy = policy
        return item, version

    def add_plain(self, kind, name, **fields):
        item = self.put(kind, name)
        now = self.clock.seconds()
        version = Version(id=new_version_id(), created=now, updated=now, **fields)
        item.versions.append(version)
        return item, version


def hash_of(name):
    return hashlib.sha256(name.lower().encode()).digest()


USAGES = {
    "digitalSignature": "digital_signature", "nonRepudiation": "content_commitment",
    "keyEncipherment": "key_encipherment", "dataEncipherment": "data_encipherment", "keyAgreement": "key_agreement",
    "keyCertSign": "key_cert_sign", "cRLSign": "crl_sign", "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only"}


def extensions_of(props):
    """[(extension, critical)] that the vault puts into a request and a certificate of its own, of x509_props."""
    wanted = {field: name in props["key_usage"] for name, field in USAGES.items()}
    out = [(x509.KeyUsage(**wanted), True)] if any(wanted.values()) else []
    if props.get("ekus"):
        out.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(each) for each in props["ekus"]]), False))
    sans = props.get("sans") or {}
    names = [x509.DNSName(each) for each in sans.get("dns_names") or []]
    names += [x509.RFC822Name(each) for each in sans.get("emails") or []]
    if names:
        out.append((x509.SubjectAlternativeName(names), False))
    return [*out, (x509.BasicConstraints(False, None), False)]


def make_leaf(key, subject, props):
    """A self-signed certificate as the vault itself issues it: nbf ten minutes ago."""
    now = datetime.datetime.utcnow()
    name = x509.Name.from_rfc4514_string(subject)
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=10))
               .not_valid_after(now + datetime.timedelta(days=30 * props["validity_months"])))
    for extension, critical in extensions_of(props):
        builder = builder.add_extension(extension, critical)
    public = key.public_key()
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False).sign(key, hashes.SHA256())
