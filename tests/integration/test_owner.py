# SPDX-License-Identifier: Apache-2.0
"""What the token's owner keeps in it stays as it is, byte for byte, also where it looks like the broker's own: with an
id's label, and a CKA_ID as long as the broker's (16 bytes; 17 for the further certificates of a chain)."""

import time

import pki
import pytest

from broker import wait_until
from lifecycle import generate, install
from managers import token_files
from test_recovery import interrupted, kill_helper, notes, outcome, start_faulty
from test_register import put, register

A, B, C = "a1" * 16, "b2" * 16, "c3" * 16
LABEL = "orders"


@pytest.fixture
def owned(stopped):
    """A token with the owner's objects, all of them called as the id that is to come; .owners() asserts they are there."""
    key, other = pki.key("ec-p256", 1), pki.key("ec-p256", 2)
    put(stopped, LABEL, key, pki.certificate(key, "owner.example"), id=A)
    # what an import of the same bundle by hand has left, under another CKA_ID; and certificates that seem to belong to both
    put(stopped, LABEL, None, pki.certificate(pki.key("ec-p256"), "client.example"), id=B)
    put(stopped, LABEL, None, pki.certificate(key, "owner.example", not_before=pki.NOW - pki.DAY), id=C)
    for id in (A, B, C):
        for i in (1, 2):
            put(stopped, LABEL, None, pki.certificate(other, f"issuer {i}"), id=f"{id}{i:02x}")
    stopped.pkcs11_tool("--keygen", "--key-type", "AES:16", "--label", LABEL, "--id", C)
    start_faulty(stopped)
    before = token_files(stopped)

    def owners(without=0):
        now = token_files(stopped)
        assert sum(now.get(name) != digest for name, digest in before.items()) == without

    stopped.owners, stopped.key = owners, key
    return stopped


def bundle(n, issuer, which=0):
    key = pki.key("ec-p256", which)
    return pki.p12(key, pki.certificate(key, "client.example", issuer=issuer, sans=["a.example"], serial=n),
                   [issuer.certificate])


def test_import_rotate_and_destroy(owned):
    issuer = pki.Issuer()
    kept = len(token_files(owned))
    owned.import_bundle(LABEL, bundle(1, issuer), b"secret")
    owned.owners()
    owned.import_bundle(LABEL, bundle(2, issuer, which=3), b"secret", replace=True)
    owned.import_bundle(LABEL, bundle(3, issuer), b"secret", replace=True)
    generate(owned, LABEL, replace=True)
    owned.owners()
    owned.certificate(LABEL, "Refresh")
    owned.restart()
    owned.delete_certificate(LABEL, destroy_key=True)
    owned.owners()
    assert len(token_files(owned)) == kept, "and nothing of ours is left"


def test_install_beside_the_owners_key(owned):
    kept = len(token_files(owned))
    issuer = pki.Issuer()
    register(owned, LABEL, f"pkcs11:id={''.join('%' + A[i:i + 2] for i in range(0, 32, 2))}")
    for serial in (11, 12, 12, 13):
        leaf = pki.certificate(owned.key, "client.example", issuer=issuer, serial=serial)
        outcome(install, owned, LABEL, pki.pem(leaf, issuer.certificate), force=True)
        assert owned.chain(LABEL) == [pki.der(leaf), pki.der(issuer.certificate)]
        owned.owners()
        assert len(token_files(owned)) == kept + 2
    owned.delete_certificate(LABEL)
    owned.owners()


def test_destroying_the_owners_key_takes_that_alone(owned):
    """Key and certificate with the key's own CKA_ID, as was asked for; nothing of what looks as if it belonged to them."""
    kept = len(token_files(owned))
    register(owned, LABEL, f"pkcs11:id={''.join('%' + A[i:i + 2] for i in range(0, 32, 2))}")
    install(owned, LABEL, pki.pem(pki.certificate(owned.key, "client.example")), force=True)
    owned.delete_certificate(LABEL, destroy_key=True)
    owned.owners(without=2)
    assert len(token_files(owned)) == kept - 2


@pytest.mark.parametrize("who", ["source", "broker"])
def test_killed_in_the_midst_of_an_import(owned, who):
    issuer = pki.Issuer()
    kept = len(token_files(owned))
    kill = owned.kill if who == "broker" else lambda: kill_helper(owned)
    interrupted(owned, "C_CreateObject after=3 hang\n",
                lambda **how: owned.import_bundle(LABEL, bundle(1, issuer), b"secret", **how), kill)
    if who == "broker":
        owned.start()
    owned.wait_source("hsm", "ready")
    wait_until(lambda: not notes(owned), "what was begun is taken back")
    owned.owners()
    assert len(token_files(owned)) == kept


def test_a_module_that_is_initialised_anew_meanwhile(owned):
    """Its handles begin anew: what an object was called before is another's by now, and is not destroyed by that."""
    kept = len(token_files(owned))
    time.sleep(10.5)  # a source that has served for ten seconds is opened again at once
    owned.calls.write_text("")
    # when two objects are made, the log-in is lost; and the token, when that is done again
    owned.fault_rules("C_CreateObject after=2 count=1 rv=0x101\nC_Login count=1 rv=0x32\n")
    owned.import_bundle(LABEL, bundle(1, pki.Issuer()), b"secret")
    calls = owned.calls.read_text()
    assert calls.count("C_Finalize") == 1 and "C_DestroyObject 0x82" not in calls, calls
    owned.owners()
    assert len(token_files(owned)) == kept + 4
    owned.delete_certificate(LABEL, destroy_key=True)
    owned.owners()
    assert len(token_files(owned)) == kept
