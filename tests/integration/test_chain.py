# SPDX-License-Identifier: Apache-2.0
"""Chains: of all that was brought, what a verifier would have built. `openssl verify` and a TLS server judge."""

import subprocess

import pki
import pytest

from cryptography import x509
from lifecycle import install
from test_check import Server
from test_register import put
from vaulted import *  # noqa: F401,F403
from vaulted import NONE
from client import Client  # of tests/keyvault, which vaulted has put on the path
from broker import MODULES

ONCE = {"not_before": pki.NOW - 90 * pki.DAY, "not_after": pki.NOW - 30 * pki.DAY}
LATER = {"not_before": pki.NOW + 30 * pki.DAY, "not_after": pki.NOW + 90 * pki.DAY}
NEWER = {"not_before": pki.NOW - pki.DAY / 2}


def again(ca, name, parent=None, **validity):
    """Another certificate for an authority's name and key."""
    return pki.certificate(ca.key, name, issuer=parent, ca=True, **validity)


class Case:
    """What is brought for one key, in the order of a file, and what is made of it."""

    def __init__(self, name):
        self.id = name.replace("_", "-")
        self.root = pki.Issuer(f"{name} Root")
        self.high = pki.Issuer(f"{name} High", parent=self.root)
        self.low = pki.Issuer(f"{name} Low", parent=self.high)
        self.key = pki.key("ec-p256", name)
        self.leaf = pki.certificate(self.key, f"{name}.example", issuer=self.low)
        self.said, self.anchor, self.holds = [], self.root.certificate, True
        getattr(self, name)()

    def ready_made(self, *brought):
        self.brought, self.chain = list(brought), [self.leaf, self.low.certificate, self.high.certificate, self.anchor]

    def expired_twin(self):
        old = again(self.low, "expired_twin Low", self.high, **ONCE)
        self.ready_made(self.leaf, old, self.low.certificate, self.high.certificate, self.root.certificate)

    def expired_twin_without_root(self):
        old = again(self.low, "expired_twin_without_root Low", self.high, **ONCE)
        self.ready_made(self.leaf, old, self.low.certificate, self.high.certificate)
        self.chain.pop()

    def twin_of_the_future(self):
        new = again(self.low, "twin_of_the_future Low", self.high, **LATER)
        self.ready_made(new, self.leaf, self.low.certificate, self.high.certificate, self.root.certificate)

    def expired_alone(self):
        old = again(self.low, "expired_alone Low", self.high, **ONCE)
        self.ready_made(self.leaf, old, self.high.certificate, self.root.certificate)
        self.chain[1], self.holds = old, False
        self.said = ["CN=expired_alone Low", "expired on", f"{ONCE['not_after']:%Y-%m-%d}", "again"]

    def expired_cross(self):
        other = pki.Issuer("expired_cross Other")
        cross = again(self.root, "expired_cross Root", other, **ONCE)
        self.ready_made(self.leaf, self.low.certificate, self.high.certificate, cross, self.root.certificate,
                        other.certificate)

    def valid_cross(self):
        other = pki.Issuer("valid_cross Other")
        cross = again(self.root, "valid_cross Root", other, **NEWER)
        self.ready_made(self.leaf, self.low.certificate, self.high.certificate, cross, self.root.certificate,
                        other.certificate)

    def expired_root_and_cross(self):
        other = pki.Issuer("expired_root_and_cross Other")
        cross = again(self.root, "expired_root_and_cross Root", other)
        old = again(self.root, "expired_root_and_cross Root", **ONCE)
        self.anchor = other.certificate
        self.ready_made(self.leaf, self.low.certificate, old, self.high.certificate, cross, other.certificate)
        self.chain.insert(3, cross)

    def way_that_ends(self):
        one = pki.Issuer("way_that_ends One", parent=pki.Issuer("way_that_ends Absent"))
        two = pki.Issuer("way_that_ends Two", parent=one)
        newest = again(self.high, "way_that_ends High", two, **NEWER)
        self.ready_made(self.leaf, self.low.certificate, newest, two.certificate, one.certificate, self.high.certificate,
                        self.root.certificate)

    def gap(self):
        self.ready_made(self.leaf, self.low.certificate, self.root.certificate)
        self.chain, self.holds = self.chain[:2], False
        self.said = ["the chain is incomplete", "'CN=gap High' is missing", "again"]

    def no_root(self):
        self.ready_made(self.low.certificate, self.leaf)
        self.chain, self.holds = self.chain[:2], False

    def same_name(self):
        other = pki.Issuer("same_name Low", parent=self.high)
        self.ready_made(self.leaf, other.certificate, self.root.certificate, self.low.certificate,
                        self.high.certificate)

    def circle(self):
        back = again(self.root, "circle Root", self.low)
        self.ready_made(self.leaf, back, self.low.certificate, self.high.certificate, self.root.certificate)

    def strangers(self):
        others = [pki.Issuer(f"strangers {i}").certificate for i in range(20)]
        self.ready_made(*others, self.leaf, self.low.certificate, self.leaf, *others[:5], self.high.certificate,
                        self.root.certificate)

    def leaves(self):
        old = pki.certificate(self.key, "old.example", issuer=self.low, **ONCE)
        future = pki.certificate(self.key, "future.example", issuer=self.low, **LATER)
        before = self.leaf
        self.leaf = pki.certificate(self.key, "newest.example", issuer=self.low, **NEWER)
        self.ready_made(future, before, old, self.leaf, self.low.certificate, self.high.certificate,
                        self.root.certificate)

    def expected(self):
        return [pki.der(c) for c in self.chain]


NAMES = ["expired_twin", "expired_twin_without_root", "twin_of_the_future", "expired_alone", "expired_cross",
         "valid_cross", "expired_root_and_cross", "way_that_ends", "gap", "no_root", "same_name", "circle", "strangers",
         "leaves"]


@pytest.fixture
def cases():
    return [Case(name) for name in NAMES]


def verify(folder, anchor, leaf, others):
    """Does it hold, for who trusts the anchor and was sent the others?"""
    for name, certificates in (("anchor", [anchor]), ("others", others), ("leaf", [leaf])):
        (folder / f"{name}.pem").write_bytes(pki.pem(*certificates))
    done = subprocess.run(["openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", folder / "anchor.pem", "-untrusted",
                           folder / "others.pem", folder / "leaf.pem"], capture_output=True, check=False)
    return done.returncode == 0


def check(broker, id, case, said=None):
    chain, error = broker.chain(id), broker.certificate_properties(id)["LastError"]
    assert chain == case.expected(), (id, [x509.load_der_x509_certificate(c).subject for c in chain])
    for word in case.said if said is None else said:
        assert word in error, (id, error)
    assert bool(error) == bool(case.said), (id, error)
    handed = [x509.load_der_x509_certificate(c) for c in chain]
    assert verify(broker.folder, case.anchor, handed[0], handed) == case.holds, id
    if not case.holds:  # where it does, OpenSSL may find another way in the same file, which ends
        assert not verify(broker.folder, case.anchor, case.leaf, case.brought), id


def check_handshake(broker, case):
    """The server has the root and nothing else; what it is sent has to do."""
    servers, key, ca_file = pki.Issuer("Servers"), pki.key("ec-p256", 1), broker.folder / "servers.pem"
    ca_file.write_bytes(pki.pem(servers.certificate))
    server = Server(broker.folder, pki.certificate(key, "localhost", issuer=servers, sans=("localhost",)), key, case.root)
    try:
        broker.create_backend("orders", case.id, f"https://localhost:{server.port}/", CaFile=str(ca_file))
        done = broker.cli("backend", "check", "orders", OPENSSL_MODULES=MODULES)
        assert done.returncode == 0, (done.stdout.decode(), done.stderr.decode())
        assert server.seen == [pki.der(case.leaf)]
    finally:
        server.close()


def test_of_a_bundle_and_of_a_file(vaulted, cases):
    """Import, and the same certificates installed for a key that is there; in the token and in the vault."""
    vaulted.init_token()
    broker = vaulted.begin(more=vaulted.source())
    broker.wait_source("hsm", "ready")
    for i, case in enumerate(cases):
        brought = case.brought[::-1] if i % 2 else case.brought
        broker.import_bundle(case.id, pki.pem(case.key, *brought))
        check(broker, case.id, case)
        broker.import_bundle(f"{case.id}-pfx", pki.p12(case.key, case.leaf, [c for c in brought if c != case.leaf]),
                             b"secret", source="vault" if i % 3 == 0 else "hsm")
        check(broker, f"{case.id}-pfx", case)
        first = pki.certificate(case.key, f"{case.leaf.serial_number}.example")
        broker.import_bundle(f"{case.id}-file", pki.pem(case.key, first))
        install(broker, f"{case.id}-file", pki.pem(*brought))
        check(broker, f"{case.id}-file", case)
    check_handshake(broker, cases[0])


def test_of_what_lies_in_a_token_and_in_a_vault(vaulted, cases):
    """Registered: certificates that their owner has put there, beside the key and anywhere."""
    cases = [case for case in cases if case.id not in ("strangers", "same-name", "expired-twin-without-root", "valid-cross")]
    vaulted.init_token()
    for i, case in enumerate(cases):
        id = f"{16 * i + 256:04x}"
        put(vaulted, case.id, case.key, case.leaf, id=id)
        for k, one in enumerate(c for c in case.brought if c != case.leaf):
            own = one.public_key() == case.key.public_key() or one == case.root.certificate
            put(vaulted, f"other {k}", None, one, id=id if own else f"{k:02x}")
    broker = vaulted.begin(more=vaulted.source())
    broker.wait_source("hsm", "ready")
    client = Client(broker.vault)
    for case in cases:
        said = case.said and [*case.said[:-1], "beside the key in the token"]
        broker.manager("RegisterCertificate", "ssa{sv}", case.id, f"pkcs11:token=test;object={case.id}", NONE)
        check(broker, case.id, case, said)
        others = [c for c in case.brought if c.public_key() != case.key.public_key()]
        client.post(f"/certificates/{case.id}-2/import", {
            "value": pki.pem(case.key, case.leaf, *others).decode(),
            "policy": {"secret_props": {"contentType": "application/x-pem-file"}}})
        broker.register(f"{case.id}-2")
        check(broker, f"{case.id}-2", case)
