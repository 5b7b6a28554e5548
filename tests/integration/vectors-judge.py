# SPDX-License-Identifier: Apache-2.0
"""vectors-judge FOLDER KIND…: what the cryptography package makes of the files of cryptography_vectors.

It is run with both packages of PyPI, which belong together, in its path: the judge is not the one of Debian that other
tests use. For each thing there is a JSON object in a line: its name, what pki-verdicts has to read (made in FOLDER where the
vector alone is no bundle), with which passphrase, and the verdict: `why` it is refused, or what is in it.
"""

import base64
import datetime
import email
import hashlib
import json
import pathlib
import sys
import warnings

import cryptography_vectors
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12
from cryptography.x509.oid import ObjectIdentifier

VECTORS = pathlib.Path(cryptography_vectors.__file__).parent
PKITS = VECTORS / "x509/PKITS_data"
FOLDER = pathlib.Path(sys.argv[1])
DER = serialization.Encoding.DER

# The vectors have no list of these: cryptography's tests name them one by one.
PASSPHRASES = [b"password", b"123456", b"foobar", b"baz", b"a123456", b"hunter2", b"hunter42",
               b"cryptography", b"PolarSSLTest", b"Red Hat Enterprise Linux 7.4"]

# As OpenSSL writes these types; RFC 4514 leaves their names open.
TYPES = {ObjectIdentifier(oid): name for oid, name in {
    "1.2.840.113549.1.9.1": "emailAddress", "2.5.4.5": "serialNumber", "2.5.4.4": "SN", "2.5.4.42": "GN",
    "2.5.4.12": "title", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym", "2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.9": "street",
    "2.5.4.45": "x500UniqueIdentifier", "2.5.4.97": "organizationIdentifier", "2.5.4.16": "postalAddress",
    "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST",
    "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC", "1.2.643.3.131.1.1": "INN", "1.2.643.100.1": "OGRN"}.items()}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def spki_of(public_key):
    return sha256(public_key.public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def type_of(public_key):
    """The contract's word where it has one. A key for PSS alone counts as any RSA key."""
    name = type(public_key).__name__.removesuffix("PublicKey").lower()
    if name == "rsa":
        return f"rsa-{public_key.key_size}"
    if name == "ec":
        return {"secp256r1": "ec-p256", "secp384r1": "ec-p384", "secp521r1": "ec-p521"}.get(public_key.curve.name,
                                                                                          public_key.curve.name)
    return name


def text_of(name):
    return name.rfc4514_string(TYPES)


def other_text(name):
    """The value is DER: of a short text, two bytes before it."""
    kind, value = name.type_id.dotted_string, name.value
    return f"otherName:{kind}:" + (value[2:].decode() if value[0] in (0x0c, 0x13, 0x16) else f"#{value.hex()}")


def alt_names(certificate):
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    texts = {x509.DNSName: lambda name: f"DNS:{name.value}", x509.UniformResourceIdentifier: lambda name: f"URI:{name.value}",
             x509.RFC822Name: lambda name: f"email:{name.value}", x509.IPAddress: lambda name: f"IP:{name.value}",
             x509.DirectoryName: lambda name: f"DirName:{text_of(name.value)}", x509.OtherName: other_text,
             x509.RegisteredID: lambda name: f"RID:{name.value.dotted_string}"}
    return [texts[type(name)](name) for name in names]


def serial_text(number):
    digits = f"{abs(number):X}"
    return "-" * (number < 0) + "0" * (len(digits) % 2) + digits


def facts_of(certificate):
    """Each fact, or how reading it failed."""
    facts = {"sha256": sha256(certificate.public_bytes(DER))}
    for name, read in {
            "subject": lambda: text_of(certificate.subject), "issuer": lambda: text_of(certificate.issuer),
            "serial": lambda: serial_text(certificate.serial_number), "names": lambda: alt_names(certificate),
            "not_before": lambda: max(0, int(certificate.not_valid_before_utc.timestamp())),
            "not_after": lambda: max(0, int(certificate.not_valid_after_utc.timestamp())),
            "key_type": lambda: type_of(certificate.public_key()),
            "spki": lambda: spki_of(certificate.public_key())}.items():
        try:
            facts[name] = read()
        except Exception as error:  # what it raises has many types
            facts[name] = {"why": f"{type(error).__name__}: {error}"}
    return facts


def tried(read, passphrases=(None,)):
    """What the first passphrase gave with which it could be read, and that one; or else why not."""
    why = None
    for passphrase in passphrases:
        try:
            return read(passphrase), passphrase, None
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        if "assword" not in why:  # another one would not help
            break
    return None, None, why


def answer(kind, name, file, passphrase=None, **verdict):
    line = [kind, str(file), passphrase.decode() if passphrase else "-", str(verdict.pop("anchor", "-"))]
    print(json.dumps({"name": name, "read": line, **verdict}))


def name_of(path):
    return str(path.relative_to(VECTORS))


def written(name, data):
    path = FOLDER / name.replace("/", "+")
    path.write_bytes(data)
    return path


# bundles

def bundles():
    for path in sorted((VECTORS / "pkcs12").glob("*.p12")):
        data = path.read_bytes()
        read, passphrase, why = tried(lambda p: pkcs12.load_pkcs12(data, p), [None] + PASSPHRASES)
        if passphrase:
            answer("bundle", f"{name_of(path)} with a wrong passphrase", path, b"wrong", why="wrong passphrase")
        if not why and not read.key:
            why = "no key"
        if why:
            answer("bundle", name_of(path), path, passphrase, why=why)
        else:
            others = [sha256(c.certificate.public_bytes(DER)) for c in read.additional_certs]
            leaf = facts_of(read.cert.certificate) if read.cert else None
            answer("bundle", name_of(path), path, passphrase, spki=spki_of(read.key.public_key()), others=others, leaf=leaf,
                   key_type=type_of(read.key.public_key()))


def pkits_bundles():
    """The certificate in each is also a file of its own; to read the keys takes cryptography half a minute."""
    for path in sorted((PKITS / "pkcs12").glob("*.p12")):
        read, _, why = read_certificates((PKITS / f"certs/{path.stem}.crt").read_bytes())
        if not why:
            spki, _, why = tried(lambda p: spki_of(read[0].public_key()))
        if why:
            answer("bundle", name_of(path), path, b"password", why=why)
        else:
            leaf = facts_of(read[0])
            answer("bundle", name_of(path), path, b"password", spki=spki, others=[], leaf=leaf, key_type=leaf["key_type"])


# keys

LABELS = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY")


def pem_of(data, label):
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), base64.encodebytes(data), label.encode())


def key_files():
    """Name and PEM of each private key; of one in DER, with the label under which the judge reads it."""
    for path in sorted(VECTORS.glob("**/*")):
        if path.suffix in (".pem", ".key") and b"PRIVATE KEY-----" in path.read_bytes():
            yield name_of(path), path.read_bytes()
        elif path.suffix == ".der" and path.parts[-3] == "asymmetric" and "pub" not in path.name and "dhp" not in path.name:
            each = [pem_of(path.read_bytes(), label) for label in LABELS]
            good = [pem for pem in each if read_key(pem)[0]]
            yield name_of(path), (good or each)[0]


def read_key(pem):
    read = serialization.load_ssh_private_key if b"BEGIN OPENSSH" in pem else serialization.load_pem_private_key
    return tried(lambda p: read(pem, p), [None] + PASSPHRASES)


def certificate_for(public_key, signer):
    name = x509.Name.from_rfc4514_string("CN=for a key")
    day = datetime.datetime(2019, 1, 1)
    return x509.CertificateBuilder(name, name, public_key, 1, day, day.replace(year=2049)).sign(signer, hashes.SHA256())


def keys():
    signer = ec.generate_private_key(ec.SECP256R1())
    stranger = certificate_for(signer.public_key(), signer)
    for name, pem in key_files():
        key, passphrase, why = read_key(pem)
        certificate = tried(lambda p: certificate_for(key.public_key(), signer))[0] or stranger
        file = written(name, pem.rstrip() + b"\n" + certificate.public_bytes(serialization.Encoding.PEM))
        if why:
            answer("bundle", name, file, PASSPHRASES[0], why=why)
        else:
            answer("bundle", name, file, passphrase, spki=spki_of(key.public_key()), others=[], leaf=facts_of(certificate),
                   key_type=type_of(key.public_key()))


# certificates

def read_certificates(data):
    if b"-----BEGIN" in data:
        return tried(lambda p: x509.load_pem_x509_certificates(data))
    return tried(lambda p: [x509.load_der_x509_certificate(data)])


def certificates():
    for path in sorted((VECTORS / "x509").glob("**/*")):
        if path.suffix not in (".pem", ".der", ".crt") or path.name.endswith("_key.pem"):
            continue
        read, _, why = read_certificates(path.read_bytes())
        answer("certificates", name_of(path), path, **({"why": why} if why else {"each": [facts_of(c) for c in read]}))


def pkcs7_files():
    for path in sorted((VECTORS / "pkcs7").glob("*")):
        yield path, path.read_bytes()
    for path in sorted((PKITS / "smime").glob("*")):
        for part in email.message_from_bytes(path.read_bytes()).walk():
            if part.get_content_type().endswith("pkcs7-signature"):
                yield path, part.get_payload(decode=True)


def read_collection(data):
    if b"-----BEGIN PKCS7" in data:
        return tried(lambda p: pkcs7.load_pem_pkcs7_certificates(data))
    if b"-----BEGIN" in data:
        return read_certificates(data)
    return tried(lambda p: pkcs7.load_der_pkcs7_certificates(data))


def collections():
    for path, data in pkcs7_files():
        read, _, why = read_collection(data)
        answer("certificates", name_of(path), written(name_of(path), data),
               **({"why": why} if why else {"each": [facts_of(c) for c in read]}))


# chains

def closure(certificate, by_subject):
    """All that may be in a chain of it, by name: so twins, and those of a wrong signature, are among them."""
    found, wanted = {}, [certificate]
    while wanted:
        issuer = wanted.pop().issuer.public_bytes()
        for one in by_subject.get(issuer, []):
            if one not in found:
                found[one] = None
                wanted.append(one)
    return found


def chains():
    read = [read_certificates(path.read_bytes())[0] for path in sorted((PKITS / "certs").glob("*.crt"))]
    all_of_them = [one[0] for one in read if one]
    by_subject = {}
    for certificate in all_of_them:
        by_subject.setdefault(certificate.subject.public_bytes(), []).append(certificate)
    for certificate in all_of_them:
        beside = closure(certificate, by_subject)
        # The leaf comes first, and then those that go before others as little as can be.
        pem = [c.public_bytes(serialization.Encoding.PEM) for c in [certificate, *reversed(beside)]]
        digest = sha256(certificate.public_bytes(DER))
        answer("chain", f"chain of {text_of(certificate.subject)}", written(digest, b"".join(pem)),
               anchor=PKITS / "certs/TrustAnchorRootCertificate.crt", n_beside=len(beside), leaf=digest)


warnings.simplefilter("ignore")
KINDS = {"bundles": bundles, "pkits": pkits_bundles, "keys": keys, "certificates": certificates,
         "collections": collections, "chains": chains}
for kind in sys.argv[2:]:
    KINDS[kind]()
