# SPDX-License-Identifier: Apache-2.0
"""Allocations that fail, one after the other: in programs with the library, in certbrokerd, in a source's process, and in
commands. Its start and a source's are in test_allocations_start.py.

Each operation is tried with its first allocation failing, then with its second, until none fails any more. The suite tries
some of them; with CERTBROKER_ALLOCATIONS=all all are tried (tests/allocations).
"""

import contextlib
import os
import signal
import subprocess

import dbus
import pki
import pytest

from allocations import ALL, BELOW, OURS, Page, SourceWalk, Walk, preload, turns
from broker import (BUILD, CLI, GRANT_ALL, INTROSPECTABLE, ME, OBJECT_MANAGER, PATIENCE, ROOT, Failure, backend_path,
                    certificate_path, die_with_parent, memfd, source_path, wait_until)

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
    # What was made for an answer that was lost is taken back in its own time.
    wait_until(lambda: {o.get("label") for o in broker.token_objects("Private")} <= set(ids), "no key of nobody")
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


def change_keys(walk):
    b = walk.broker
    cert = pki.certificate(pki.key("ec-p256"), "new.example")
    passphrase = b"secret" if ALL else b""  # it is hashed for long
    bundle = pki.p12(pki.key("ec-p256"), cert, (), passphrase)

    walk.makes("ImportCertificate", lambda id: b.import_bundle(id, bundle, passphrase),
               lambda id: b.delete_certificate(id, destroy_key=True), b.list_ids)
    walk.makes("GenerateKey", lambda id: b.manager("GenerateKey", "sssa{sv}", id, "hsm", "ec-p256", options()),
               lambda id: b.delete_certificate(id, destroy_key=True), b.list_ids)
    walk.unmakes("Delete", lambda id: b.manager("GenerateKey", "sssa{sv}", id, "hsm", "ec-p256", options()),
                 lambda id: b.delete_certificate(id, destroy_key=True), b.list_ids)


def change_others(walk):
    b = walk.broker

    def url():
        return str(b.get(backend_path("orders"), "Backend", "Url"))

    def is_enabled():
        return str(b.get(certificate_path("other"), "Certificate", "State")) != "disabled"

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
    change_keys(walk)
    change_others(walk)
    judge(walk)


def libc_crashed(page):
    """It does not survive that there is no memory for nsswitch.conf."""
    return "uid_of_user" in page.trace()


def watch_once(broker, page, nth):
    """A gateway's directives, as `backend watch` writes them; None: it has said that it cannot."""
    conf = broker.folder / "o.conf"
    conf.unlink(missing_ok=True)
    page.arm(0, nth, BELOW, program="certbroker")
    command = [str(CLI), "--bus", broker.bus_address, "backend", "watch", "orders", "--chain", f"{broker.folder}/o.pem",
               "--key", f"{broker.folder}/o.pem.key", "--conf", str(conf), "--for", "nginx"]
    watch = subprocess.Popen(command, env=broker.environment(**page.environment(broker)), stderr=subprocess.PIPE,
                             preexec_fn=die_with_parent)
    while watch.poll() is None and not conf.exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            watch.wait(0.02)
    if watch.poll() is None:
        watch.terminate()
    told = watch.communicate(timeout=20 * PATIENCE)[1]
    ended = watch.returncode >= 0 or watch.returncode == -signal.SIGTERM
    assert ended or libc_crashed(page), f"allocation {nth}: {watch.returncode}\n{page.trace()}"
    assert conf.exists() or told or not ended, f"allocation {nth}: {watch.returncode} without a word\n{page.trace()}"
    return conf.read_text() if conf.exists() else None


def show_once(broker, page, nth):
    """What `certificate show` prints; None: it has said that it cannot."""
    page.arm(0, nth, BELOW, program="certbroker")
    done = broker.cli("certificate", "show", "client", **page.environment(broker))
    assert done.returncode >= 0 or libc_crashed(page), f"allocation {nth}: {done.returncode}\n{page.trace()}"
    assert done.returncode <= 0 or done.stderr, f"allocation {nth}: {done.returncode} without a word\n{page.trace()}"
    return done.stdout.decode() if done.returncode == 0 else None


def test_commands(broker):
    """What a command prints or writes is whole, or there is none of it."""
    page = Page(broker)
    broker.import_new("client", "rsa-2048")
    broker.create_backend("orders", "client")
    for command in (show_once, watch_once):
        right = command(broker, page, 0)
        for n, nth in enumerate(turns()):
            given = command(broker, page, nth)
            assert given in (None, right), f"allocation {nth}: {given}\n{page.trace()}"
            if page.disarm() == 0:
                break
        print(f"{command.__name__}: {n} failed")
        assert right and n > 3


def test_source(stopped, page):
    """The source's process goes on, or is started again; what was asked of it is done whole, or not at all."""
    walk = SourceWalk(stopped, page, OURS)  # a token's module may do what it likes
    operations = using(stopped)
    if not ALL:
        del operations["Refresh"]  # thousands, most of them libcrypto's
    for name, operation in operations.items():
        walk.same(name, operation)
    change_keys(walk)
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
