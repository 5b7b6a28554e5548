# SPDX-License-Identifier: Apache-2.0
"""Allocations that fail, one after the other: in programs with the library, and in certbrokerd.

Each operation is tried with its first allocation failing, then with its second, until none fails any more. The suite tries
some of them; with CERTBROKER_ALLOCATIONS=all all are tried (tests/allocations).
"""

import contextlib
import os
import subprocess

import dbus
import pki
import pytest

from allocations import ALL, Page, Walk, preload
from broker import (BUILD, GRANT_ALL, INTROSPECTABLE, ME, OBJECT_MANAGER, PATIENCE, ROOT, Failure, backend_path,
                    certificate_path, die_with_parent, memfd, source_path)

DIGEST = b"x" * 32


@pytest.fixture
def page(stopped):
    """A broker that can be armed, with a certificate of each kind and a backend; its page."""
    stopped.configure(grants=GRANT_ALL.format(me=ME).replace('"audit" ]', '"audit", "export" ]'))
    page = preload(stopped)
    stopped.start()
    stopped.import_new("client", "rsa-2048")
    stopped.import_new("other", "ec-p256", extractable=True)
    stopped.create_backend("orders", "client")
    return page


def options(**values):
    return dbus.Dictionary(values, signature="sv")


def judge(walk):
    """What is left after a walk: nothing wrong, no descriptor, no key that nobody has, a whole log, and the same again."""
    broker = walk.broker
    assert not walk.faults, "\n".join(walk.faults)
    broker._connection = None
    ids = broker.list_ids()
    broker.restart()
    assert broker.list_ids() == ids
    keys = {o.get("label") for o in broker.token_objects("Private")}
    assert keys <= set(ids), f"keys of nobody: {keys - set(ids)}"
    verified = broker.cli("audit", "verify")
    assert verified.returncode == 0, verified.stderr.decode() + verified.stdout.decode()
    assert "KeySuspected" not in (broker.state / "audit.jsonl").read_text()


def reading(b):
    """Operations that change nothing: name, and the call."""
    client, orders = certificate_path("client"), backend_path("orders")
    return {
        "GetCertificate": lambda: b.manager("GetCertificate", "s", "client"),
        "ListCertificates": b.list_ids,
        "GetManagedObjects": lambda: sorted(b.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")),
        "Introspect": lambda: b.call(ROOT + "/certificate", INTROSPECTABLE, "Introspect"),
        "GetAll of a certificate": lambda: sorted(b.get_all(client, "Certificate")),
        "GetAll of a backend": lambda: sorted(b.get_all(orders, "Backend")),
        "GetAll of a source": lambda: sorted(b.get_all(source_path("hsm"), "Source")),
        "Get of a chain": lambda: b.chain("client"),
        "CheckAccess": lambda: b.manager("CheckAccess", "a{sv}so",
                                         options(uid=dbus.UInt32(4), gids=dbus.Array([dbus.UInt32(3)])), "use",
                                         dbus.ObjectPath(client)),
        "GetMetrics": lambda: b.manager("GetMetrics").endswith("# EOF\n"),
        "OpenAudit": lambda: os.close(b.manager("OpenAudit")[0].take()),
    }


def using(b):
    """Operations that use keys, and what is there."""
    slow = {"Export": lambda: exported(b)} if ALL else {}  # a passphrase is hashed for long
    return {
        **slow,
        "Sign": lambda: b.sign("client", "rsa-pkcs1-sha256", DIGEST),
        "SignTls": lambda: len(b.certificate("client", "SignTls", "tssay", dbus.UInt64(0), "rsa-pss-sha256", "client",
                                             dbus.ByteArray(DIGEST))),
        "GetCredential": lambda: {k: v for k, v in b.backend("orders", "GetCredential").items() if k != "stale"},
        "CreateRequest": lambda: len(b.certificate("client", "CreateRequest", "sas", "CN=a",
                                                   dbus.Array(["DNS:a.example"], signature="s"))) > 100,
        "Refresh": lambda: b.certificate("client", "Refresh"),
        "refusal": lambda: refused(b),
    }


def exported(broker):
    with contextlib.closing(os.fdopen(memfd(b"secret"))) as passphrase:
        fd = broker.certificate("other", "Export", "sh", "pkcs12", dbus.types.UnixFd(passphrase)).take()
    try:
        return os.fstat(fd).st_size > 500
    finally:
        os.close(fd)


def refused(broker):
    try:
        broker.sign("nobody", "ecdsa-sha256", DIGEST)
    except Failure as failure:
        if failure.name != "NotFound":
            raise
    return "refused"


def change_all(walk):
    b = walk.broker
    cert = pki.certificate(pki.key("ec-p256"), "new.example")
    bundle = pki.p12(pki.key("ec-p256"), cert, ())

    def url():
        return str(b.get(backend_path("orders"), "Backend", "Url"))

    def is_enabled():
        return str(b.get(certificate_path("other"), "Certificate", "State")) != "disabled"

    walk.makes("ImportCertificate", lambda id: b.import_bundle(id, bundle, b"secret"),
               lambda id: b.delete_certificate(id, destroy_key=True), b.list_ids)
    walk.makes("GenerateKey", lambda id: b.manager("GenerateKey", "sssa{sv}", id, "hsm", "ec-p256", options()),
               lambda id: b.delete_certificate(id, destroy_key=True), b.list_ids)
    walk.makes("CreateBackend", lambda name: b.create_backend(name, "client"), lambda name: b.backend(name, "Delete"),
               lambda: [o.rsplit("/", 1)[1].replace("_2d", "-") for o in b.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")])
    walk.changes("Change", lambda value: b.backend("orders", "Change", "a{sv}", options(Url=value)),
                 ["https://one.example/", "https://two.example/"], url)
    walk.changes("SetEnabled", lambda value: b.certificate("other", "SetEnabled", "b", value), [False, True], is_enabled)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_broker_answers(stopped, page):
    """A request costs itself at most, and is answered, or its connection ends."""
    walk = Walk(stopped, page)
    before = descriptors(stopped.daemon.pid)
    for operations in (reading(stopped), using(stopped)):
        for name, operation in operations.items():
            walk.same(name, operation)
    with walk.own():
        walk.same("Reload", lambda: stopped.manager("Reload"))
    assert descriptors(stopped.daemon.pid) <= before + 1  # a connection that ended may not have been buried yet
    judge(walk)


def test_broker_changes(stopped, page):
    """A change is whole, or there is none, and nothing is left of it."""
    walk = Walk(stopped, page)
    change_all(walk)
    judge(walk)


def test_library(broker):
    """A program with libcertbroker gets -ENOMEM or what it asked for, and goes on."""
    broker.import_new("client", "rsa-2048")
    broker.create_backend("orders", "client")
    env = broker.environment(**Page(broker).environment(broker))
    done = subprocess.run([str(BUILD / "tests/integration/alloc-library"), broker.bus_address, "1" if ALL else "7"],
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=100 * PATIENCE, check=False, preexec_fn=die_with_parent)
    print(done.stdout)
    assert done.returncode == 0 and done.stdout.count(" 0 wrong") == 28, done.stdout
