# SPDX-License-Identifier: Apache-2.0
"""Every PKCS#12, private key and certificate of cryptography_vectors: pki's verdict is that of the cryptography package.

vectors-judge.py gives the judge's verdicts, pki-verdicts.c pki's. What may differ is in a table for each kind, with the
reason; a row that is of nothing any more is a failure too. CERTBROKER_VECTORS=1 has the counts printed.
"""

import collections
import hashlib
import json
import os
import pathlib
import re
import subprocess

import pki

from broker import BUILD, PYTHON, Failure
from cryptography import x509

HERE = pathlib.Path(__file__).resolve().parent
PYPI = BUILD.parent / "build-pypi"
OURS = {"rsa-2048", "rsa-3072", "rsa-4096", "ec-p256", "ec-p384", "ec-p521", "ed25519"}
FACTS = ("subject", "issuer", "serial", "names", "not_before", "not_after", "sha256", "spki", "key_type")


def verdicts(folder, *kinds):
    """Pairs of what the judge says and what pki says."""
    assert (PYPI / "cryptography_vectors").is_dir(), f"{PYPI} lacks the packages of PyPI: .ci/install-pypi puts them there"
    folder.mkdir()
    judged = subprocess.run([PYTHON, "-B", HERE / "vectors-judge.py", folder, *kinds], check=True, stdout=subprocess.PIPE,
                            env={**os.environ, "PYTHONPATH": str(PYPI)}).stdout.splitlines()
    judged = [json.loads(line) for line in judged]
    lines = "".join("\t".join(one["read"]) + "\n" for one in judged)
    read = subprocess.run([BUILD / "tests/integration/pki-verdicts"], input=lines.encode(), check=True,
                          stdout=subprocess.PIPE).stdout.splitlines()
    assert len(read) == len(judged) > 0
    return list(zip(judged, map(json.loads, read)))


class Differences:
    """Rows of (pattern, reason); the pattern is looked for in "NAME: WHAT judge: … pki: …"."""

    def __init__(self, *rows):
        self.rows = rows
        self.counts = collections.Counter()
        self.unexplained = []

    def note(self, name, what, judge, ours):
        text = f"{name}: {what}; judge: {judge}; pki: {ours}"
        for pattern, reason in self.rows:
            if re.search(pattern, text):
                self.counts[reason] += 1
                return
        self.unexplained.append(text)

    def count(self, what):
        self.counts[what] += 1

    def done(self):
        assert not self.unexplained, "\n".join(self.unexplained)
        assert not [reason for _, reason in self.rows if not self.counts[reason]], "of nothing any more"
        if os.environ.get("CERTBROKER_VECTORS"):
            print(*(f"{n:5} {what}" for what, n in sorted(self.counts.items())), sep="\n")


def compare_facts(name, judged, ours, differences):
    """Of one certificate."""
    if ours.get("status") == "not-supported" and str(judged["key_type"]) not in OURS:
        differences.count("certificate refused: its key is of no type of ours")
        return
    if "status" in ours:
        differences.note(name, "certificate refused", judged, ours["text"])
        return
    for fact in FACTS:
        mine = ours[fact].lower() if fact == "sha256" else ours[fact]
        if mine != judged[fact]:
            differences.note(name, fact, judged[fact], mine)
    differences.count("certificate read")


# Keys and bundles

BUNDLES = (
    (r"/OpenSSH/.*an SSH key", "OpenSSH's own form of keys, which is no bundle's"),
    (r"EC/secp\w+-explicit-(no-)?seed.*with its parameters written out", "a curve by its parameters: only named ones are taken"),
    (r"PKCS8/rsa_pss_2048.*RSASSA-PSS", "a key for RSA-PSS alone, which the judge makes any RSA key"),
    (r"no-cert-key-aes256cbc.*holds no certificate", "a key without its certificate"),
    (r"explicit_parameters_private_key.*damaged", "a curve by parameters that make none: its prime is even"),
    (r"(wrong-version|invalid-version|ec-invalid-private-scalar|ec-inconsistent-curve2|wrong-pem-delimiter-rsa)\.\w+: key read",
     "encoded not quite as the standards have it: the judge is stricter than libcrypto"),
)

# What the sentence calls keys that the judge knows, and we do not take.
CALLED = {"dsa": "DSA", "dh": "dh", "x25519": "X25519", "x448": "X448", "ed448": "ED448",
          "mlkem768": "2.16.840.1.101.3.4.4.2", "mldsa44": "2.16.840.1.101.3.4.3.17"}


def called(key_type):
    return f"RSA with {key_type[4:]} bits" if key_type.startswith("rsa-") else CALLED[key_type]


def check_refusal(judged, ours, differences):
    """Refused by both: what the judge knows, the sentence says too."""
    name, why, text = judged["name"], judged["why"], ours["text"]
    if ours["status"] == "key-mismatch":  # the certificate is another key's, for the judge had none
        differences.note(name, "key read", why, text)
        return
    differences.count("refused by both")
    assert why != "wrong passphrase" or ours["status"] == "bad-passphrase", f"{name}: {text}"
    if why == "no key":
        assert "holds no private key" in text, name
    if "UnsupportedAlgorithm" in why and "damaged" in text:
        differences.note(name, "sentence", why, text)


def compare_bundles(pairs, differences):
    for judged, ours in pairs:
        name = judged["name"]
        taken = ours["status"] == "ok"
        if "why" in judged:
            if taken:
                differences.note(name, "taken", judged["why"], ours["leaf"]["subject"])
            else:
                check_refusal(judged, ours, differences)
        elif not taken and judged["key_type"] not in OURS and "/OpenSSH/" not in name:
            assert ours["status"] == "not-supported", f"{name}: {ours['text']}"
            assert f"private key is {called(judged['key_type'])}" in ours["text"], name
            differences.count("refused: a key of no type of ours")
        elif not taken:
            differences.note(name, "refused", judged["key_type"], ours["text"])
        else:
            assert ours["spki"] == judged["spki"], name
            assert ours["chain"][0] == judged["leaf"]["sha256"], name
            assert set(ours["chain"][1:]) <= set(judged["others"]), name
            compare_facts(name, judged["leaf"], ours["leaf"], differences)
            differences.count("taken by both")


def test_bundles_and_keys(tmp_path):
    differences = Differences(*BUNDLES)
    compare_bundles(verdicts(tmp_path / "made", "bundles", "keys"), differences)
    differences.done()
    assert differences.counts["taken by both"] >= 40


def test_pkits_bundles(tmp_path):
    differences = Differences()
    compare_bundles(verdicts(tmp_path / "made", "pkits"), differences)
    differences.done()
    assert differences.counts["taken by both"] == 400


# Certificates

CERTIFICATES = (
    (r"names; judge: \{'why'", "the judge reads no extension where it does not read each; libcrypto reads each alone"),
    (r"(DSAParameter\w+|dsa_null_alg_params|ecdsa_null_alg|ed25519-rfc8410|badasn1time)\.\w+: taken; judge: .*ParseError",
     "encoded not quite as DER has it: the judge is stricter than libcrypto"),
    (r"invalid_version.pem: taken; judge: InvalidVersion: 7", "of a version that there is not: libcrypto takes it"),
    (r": refused; judge: .*'subject': \{'why'", "a name that the judge cannot read either, once it is asked for"),
    (r"subject; judge: x500UniqueIdentifier=#00.*pki: x500UniqueIdentifier=#0309",
     "a bit string in a name: RFC 4514 (2.4) asks for its BER encoding, whose tag and length the judge leaves out"),
    (r"(utf8-dnsname|non-ascii-san)\.pem: names; .*\\xc3",
     "a name of ASCII alone (RFC 5280, 4.2.1.6) that has other bytes: they are shown as such, not as the letters they look like"),
    (r"custom/rsa_pss\w*\.\w+: certificate refused", "a key for RSA-PSS alone, which the judge makes any RSA key"),
    (r"ec_no_named_curve.pem: certificate refused", "a curve by its parameters: only named ones are taken"),
)


# What is in these is known, and said.
NAMED = (("custom/crl_", "list of revoked certificates"), ("x509/requests/", "a certificate request"))


def compare_certificates(pairs, differences):
    for judged, ours in pairs:
        name = judged["name"]
        if "why" in judged and ours["status"] == "ok":
            differences.note(name, "taken", judged["why"], ours["each"])
        elif "why" in judged:
            for part, word in NAMED:
                assert part not in name or word in ours["text"], f"{name}: {ours['text']}"
            differences.count("refused by both")
        elif ours["status"] != "ok":
            differences.note(name, "refused", judged["each"], ours["text"])
        else:
            assert ours["certificates"] == [one["sha256"] for one in judged["each"]], name
            for one, mine in zip(judged["each"], ours["each"]):
                compare_facts(name, one, mine, differences)


def test_certificates(tmp_path):
    differences = Differences(*CERTIFICATES)
    compare_certificates(verdicts(tmp_path / "made", "certificates", "collections"), differences)
    differences.done()
    assert differences.counts["certificate read"] >= 900


# Through everything

def import_one(broker, id, judged, ours):
    """The broker says what pki said, and has in the token what was in the file."""
    _, file, passphrase, _ = judged["read"]
    try:
        broker.import_bundle(id, pathlib.Path(file).read_bytes(), b"" if passphrase == "-" else passphrase.encode())
    except Failure as failure:
        assert failure.name.lower() == ours["status"].replace("-", ""), judged["name"]
        assert failure.message == f"certificate '{id}': {ours['text']}", judged["name"]
        return
    assert ours["status"] == "ok", judged["name"]
    properties = broker.certificate_properties(id)
    for fact, name in (("subject", "Subject"), ("key_type", "KeyType"), ("names", "SubjectAltNames"), ("sha1", "Thumbprint")):
        assert properties[name] == ours["leaf"][fact], judged["name"]
    chain = broker.chain(id)
    assert [hashlib.sha256(der).hexdigest() for der in chain] == ours["chain"], judged["name"]
    if properties["State"] == "active":
        algorithm = pki.algorithms_of(properties["KeyType"])[0]
        signature = broker.sign(id, algorithm, pki.digest(algorithm, b"message"))
        pki.verify(x509.load_der_x509_certificate(chain[0]).public_key(), algorithm, signature, b"message")


def test_some_through_the_broker(broker, tmp_path):
    pairs = verdicts(tmp_path / "made", "bundles", "keys")
    for i, (judged, ours) in enumerate(pairs):
        if judged["name"].startswith("pkcs12/") or i % 3 == 0:
            import_one(broker, f"v{i}", judged, ours)
    assert len(broker.list_ids()) >= 25


# Chains

def test_chains_verify(tmp_path):
    """Where libcrypto finds a way to the anchor with all that is there, it finds one with the chain that was made."""
    differences = Differences()
    for judged, ours in verdicts(tmp_path / "made", "chains"):
        if ours["status"] == "not-supported":
            differences.count("refused: a key of no type of ours")
            continue
        assert ours["status"] == "ok", ours["text"]
        assert ours["chain"][0] == judged["leaf"]
        assert ours["chain_verifies"] or not ours["all_verify"], judged["name"]
        differences.count("verified" if ours["chain_verifies"] else "verified by nothing")
    differences.done()
    assert differences.counts["verified"] >= 340
