# SPDX-License-Identifier: Apache-2.0
"""A key at work when its certificate is retired, disabled or deleted: nothing that it made goes out after that."""

import json
import os
import pwd

import dbus
import lifecycle
import pki
import pytest

from broker import ME, certificate_path
from test_register import encrypted
from test_reload import CERTIFICATE, DELAY_MSEC, Calls

DIGEST = dbus.ByteArray(bytes(32))


@pytest.fixture
def slow(stopped):
    """A broker with a token that takes its time where slow.fault_rules() says so, for many at once."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module(), sessions="20"),
                      grants=lifecycle.GRANT_EVERYTHING +
                      lifecycle.GRANT_EVERYTHING.replace("everything", "neighbour").replace(f'"{ME}"', '"www-data"'))
    stopped.start()
    return stopped


class Work(Calls):
    """Uses of keys that are sent and not waited for, each under a name of its own."""

    def use(self, id, method, signature, *arguments, name=None):
        self.send(certificate_path(id), CERTIFICATE, method, signature, *arguments, name=f"{id} {name or method}")

    def sign(self, id, algorithm="ecdsa-sha256", generation=0, name=None):
        self.use(id, "Sign", "tsay", dbus.UInt64(generation), algorithm, DIGEST, name=name)

    def request(self, id):
        self.use(id, "CreateRequest", "sas", "CN=x", dbus.Array([], signature="s"))

    def export(self, id):
        with lifecycle.descriptor(b"secret") as passphrase_fd:
            self.use(id, "Export", "sh", "pkcs12", passphrase_fd)

    def everything(self, id, public):
        self.sign(id, "rsa-pss-sha256")
        self.use(id, "SignTls", "tssay", dbus.UInt64(0), "rsa-pss-sha256", "client", DIGEST)
        self.use(id, "Decrypt", "tsay", dbus.UInt64(0), "rsa-oaep-sha1", dbus.ByteArray(encrypted(public)))
        self.request(id)
        self.export(id)


def set_enabled(broker, id, *enabled):
    for each in enabled:
        broker.certificate(id, "SetEnabled", "b", each)


def retire(broker, id, generation):
    broker.certificate(id, "Retire", "t", dbus.UInt64(generation))


def connect_as(broker, user):
    """A connection of another user of this host, whose management does not wait in one line with ours."""
    os.seteuid(pwd.getpwnam(user).pw_uid)
    try:
        return broker.connect()
    finally:
        os.seteuid(0)


def test_nothing_goes_out_after_the_end(slow, root):
    """Of all that a key can make; also where the certificate is back by then, or another has its id."""
    made = {id: slow.import_new(id, "rsa-2048", extractable=True) for id in ("disabled", "deleted")}
    for id in ("retired", "demoted"):
        slow.import_new(id, extractable=True)
        slow.import_bundle(id, pki.p12(pki.key("ec-p256", 1), pki.certificate(pki.key("ec-p256", 1), "client.example")),
                           b"secret", extractable=True, replace=True)
    for id in ("reborn", "again"):
        slow.import_new(id)
    lifecycle.generate(slow, "pending")

    # Requests and exports of one user are made one after the other: the first waits in the token, the others for it.
    slow.fault_rules(f"C_Sign delay={DELAY_MSEC} count=8\nC_Decrypt delay={DELAY_MSEC} count=2\n"
               f"C_WrapKey delay={DELAY_MSEC} count=1\n")
    work = Work(slow)
    work.connection = connect_as(slow, "www-data")
    work.export("demoted")
    for id, cert in made.items():
        work.everything(id, cert.public_key())
    work.sign("retired", generation=1)
    work.sign("retired", generation=2, name="Sign 2")
    work.sign("reborn")
    work.sign("again")
    work.request("pending")
    work.begun()

    set_enabled(slow, "again", False, True)
    set_enabled(slow, "disabled", False)
    retire(slow, "retired", 1)
    retire(slow, "pending", 1)
    slow.certificate("demoted", "SetCurrent", "t", dbus.UInt64(1))
    retire(slow, "demoted", 2)
    for id in ("deleted", "reborn"):
        slow.delete_certificate(id)
    slow.import_new("reborn")
    work.begun()
    answers = work.end()

    everything = ("Sign", "SignTls", "Decrypt", "CreateRequest", "Export")
    assert answers == {
        **{f"disabled {method}": "Disabled" for method in everything},
        **{f"deleted {method}": "NotFound" for method in everything},
        "retired Sign": "Disabled", "retired Sign 2": "ok", "demoted Export": "Disabled", "reborn Sign": "Disabled",
        "again Sign": "Disabled", "pending CreateRequest": "Disabled"}
    for id in ("reborn", "again"):
        slow.sign(id, "ecdsa-sha256", bytes(32))

    records = [json.loads(line) for line in (slow.state / "audit.jsonl").read_text().splitlines()]
    late = [r for r in records if r["event"] in everything and r["result"] != "ok"]
    assert len(late) == 15 and all(r["generation"] for r in late)
    assert {r["generation"] for r in late if r["object"] == certificate_path("demoted")} == {2}


def test_a_disabled_key_makes_nothing(broker, refused):
    """Asked for anew, too: a request is a signature as well, and an export is the key itself."""
    broker.configure(grants=lifecycle.GRANT_EVERYTHING)
    broker.manager("Reload")
    broker.import_new("client", extractable=True)
    lifecycle.generate(broker, "pending")
    for id in ("client", "pending"):
        set_enabled(broker, id, False)
        refused("Disabled", lifecycle.request, broker, id)
    with lifecycle.descriptor(b"secret") as passphrase_fd:
        refused("Disabled", broker.certificate, "client", "Export", "sh", "pkcs12", passphrase_fd)
        set_enabled(broker, "client", True)
        lifecycle.request(broker, "client")
        broker.certificate("client", "Export", "sh", "pkcs12", passphrase_fd)
