# SPDX-License-Identifier: Apache-2.0
"""Keys, certificates and bundles for the tests, and the independent judge of signatures: python3-cryptography."""

import contextlib
import datetime
import functools
import hashlib
import os
import pathlib
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, ed448, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.utcnow().replace(microsecond=0)
DAY = datetime.timedelta(days=1)

CURVES = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1, "ec-p521": ec.SECP521R1}
HASHES = {"sha1": hashes.SHA1, "sha256": hashes.SHA256, "sha384": hashes.SHA384, "sha512": hashes.SHA512}

RSA_ALGORITHMS = [f"rsa-{kind}-sha{n}" for kind in ("pkcs1", "pss") for n in (256, 384, 512)]
EC_ALGORITHMS = [f"ecdsa-sha{n}" for n in (256, 384, 512)]


def new_key(key_type):
    """A new private key of a type that the contract names, or of one that it does not."""
    if key_type.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(key_type[4:]))
    if key_type in CURVES:
        return ec.generate_private_key(CURVES[key_type]())
    return {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ed448": ed448.Ed448PrivateKey.generate,
        "dsa-2048": lambda: dsa.generate_private_key(2048),
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
        "brainpoolP256r1": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    }[key_type]()


@functools.lru_cache(maxsize=None)
def _kept(key_type, which):
    if not key_type.startswith("rsa-") or "CERTBROKER_BUILD" not in os.environ:
        return new_key(key_type)
    path = pathlib.Path(os.environ["CERTBROKER_BUILD"], "tests/integration", f"{key_type}-{which}.pem")
    with contextlib.suppress(FileNotFoundError):
        return serialization.load_pem_private_key(path.read_bytes(), None)
    made = new_key(key_type)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:  # whole, or not there
        file.write(pem(made))
    os.replace(file.name, path)
    return made


def key(key_type, which=0):
    """As new_key, but the same one each time: making RSA keys takes long. Those are kept in the build, for other tests."""
    return _kept(key_type, which)


def algorithms_of(key_type):
    if key_type.startswith("rsa-"):
        return RSA_ALGORITHMS
    return ["ed25519"] if key_type == "ed25519" else EC_ALGORITHMS


def name(common_name, **more):
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if "organization" in more:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, more["organization"]))
    return x509.Name(attributes)


class Issuer:
    """A certificate authority: a key and a certificate that signs others."""

    def __init__(self, common_name="Test Root", parent=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name(common_name)
        self.certificate = certificate(self.key, common_name, issuer=parent, ca=True)


def certificate(private_key, common_name="client.example", issuer=None, sans=(), ca=False,
                not_before=None, not_after=None, serial=None, subject=None, extensions=()):
    """A certificate for private_key; self-signed where there is no issuer."""
    subject = subject or name(common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name if issuer else subject)
        .public_key(private_key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before or NOW - DAY)
        .not_valid_after(not_after or NOW + 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if sans:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(san) for san in sans]), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signer = issuer.key if issuer else private_key
    digest = None if isinstance(signer, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)) else hashes.SHA256()
    return builder.sign(signer, digest)


def pem(*things):
    """Keys and certificates as PEM, in the order given."""
    out = b""
    for thing in things:
        if isinstance(thing, x509.Certificate):
            out += thing.public_bytes(serialization.Encoding.PEM)
        else:
            out += thing.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption())
    return out


def p12(private_key, leaf, chain=(), passphrase=b"secret", friendly=b"friendly"):
    """With few rounds of its key derivation: a thousand cases open one."""
    few = serialization.PrivateFormat.PKCS12.encryption_builder().kdf_rounds(100)
    how = few.build(passphrase) if passphrase else serialization.NoEncryption()
    return pkcs12.serialize_key_and_certificates(friendly, private_key, leaf, list(chain) or None, how)


def der(cert):
    return cert.public_bytes(serialization.Encoding.DER)


def thumbprint(cert, algorithm="sha1"):
    return hashlib.new(algorithm, der(cert)).hexdigest().upper()


def digest(algorithm, message):
    """What Sign takes for this algorithm: the digest, or for ed25519 the message."""
    if algorithm == "ed25519":
        return message
    return hashlib.new(algorithm.rsplit("-", 1)[1], message).digest()


def verify(public_key, algorithm, signature, message):
    """Raises InvalidSignature unless signature is algorithm's over message."""
    if algorithm == "ed25519":
        return public_key.verify(signature, message)
    kind, hash_name = algorithm.rsplit("-", 1)
    chosen = HASHES[hash_name]()
    if kind == "ecdsa":
        return public_key.verify(signature, message, ec.ECDSA(chosen))
    if kind == "rsa-pkcs1":
        return public_key.verify(signature, message, padding.PKCS1v15(), chosen)
    # exactly as long as the digest: PSS.MAX_LENGTH or AUTO would accept others
    return public_key.verify(signature, message,
                             padding.PSS(padding.MGF1(chosen), chosen.digest_size), chosen)


def ecdsa_is_der(signature):
    r, s = utils.decode_dss_signature(signature)
    return utils.encode_dss_signature(r, s) == signature


# Just enough DER to make what no well-behaved library makes.

def tlv(tag, *contents):
    body = b"".join(contents)
    if len(body) < 0x80:
        length = bytes([len(body)])
    else:
        n = (len(body).bit_length() + 7) // 8
        length = bytes([0x80 | n]) + len(body).to_bytes(n, "big")
    return bytes([tag]) + length + body


def with_raw_subject(private_key, old, new, common_name):
    """A self-signed certificate of an EC key in whose names `old` is replaced by the bytes `new`, signed anew."""
    assert len(old) == len(new)
    tbs = certificate(private_key, common_name).tbs_certificate_bytes
    assert old in tbs
    tbs = tbs.replace(old, new)
    ecdsa_with_sha256 = bytes.fromhex("300a06082a8648ce3d040302")
    signature = private_key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, tbs, ecdsa_with_sha256, tlv(0x03, b"\x00", signature))


def der_to_pem(data, label="CERTIFICATE"):
    import base64
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n".encode()


# A PKCS#12 file of hard work, by hand: no library makes one without doing it.


def tlv(tag, *parts):
    body = b"".join(parts)
    if len(body) < 128:
        return bytes([tag, len(body)]) + body
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def p12_of_work(iterations, n_parts):
    """Encrypted parts, each of which needs so many iterations of PBKDF2; what is in them is nonsense."""
    oid = {name: tlv(6, bytes.fromhex(digits)) for name, digits in (
        ("data", "2a864886f70d010701"), ("encrypted", "2a864886f70d010706"), ("pbes2", "2a864886f70d01050d"),
        ("pbkdf2", "2a864886f70d01050c"), ("hmac-sha512", "2a864886f70d020b"), ("aes-256", "60864801650304012a"))}
    number = tlv(2, iterations.to_bytes(iterations.bit_length() // 8 + 1, "big"))
    work = tlv(0x30, oid["pbes2"], tlv(0x30, tlv(0x30, oid["pbkdf2"], tlv(
        0x30, tlv(4, b"saltsalt"), number, tlv(0x30, oid["hmac-sha512"], b"\x05\0"))),
        tlv(0x30, oid["aes-256"], tlv(4, bytes(16)))))
    content = tlv(0x30, oid["data"], work, tlv(0x80, bytes(400)))
    part = tlv(0x30, oid["encrypted"], tlv(0xa0, tlv(0x30, tlv(2, b"\0"), content)))
    parts = tlv(4, tlv(0x30, part * n_parts))
    return tlv(0x30, tlv(2, b"\3"), tlv(0x30, oid["data"], tlv(0xa0, parts)))
