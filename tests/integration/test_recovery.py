# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the midst of an import or a generation: what was begun on the token does not stay there."""

import concurrent.futures
import json
import os
import random
import signal
import sqlite3
import time

import dbus
import pki
import pytest

from broker import NAME, Failure, certificate_path, wait_until
from lifecycle import generate, generations, install, issue, request


def start_faulty(stopped):
    """Its token fails as .fault_rules() says, and .calls is the log of its module's calls."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start()


@pytest.fixture
def faulty(stopped):
    """With a certificate that has to stay as it is."""
    start_faulty(stopped)
    stopped.cert = stopped.import_new("kept", issuer=pki.Issuer())
    yield stopped
    signature = stopped.sign("kept", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
    pki.verify(stopped.cert.public_key(), "ecdsa-sha256", signature, b"m")
    assert without_certificate(stopped) == []


def without_certificate(broker):
    """The token's objects that no generation of any certificate has: each has the id of its key, and maybe a byte more.

    One without label and id is SoftHSM's own: it writes an object's file before it writes what it was given.
    """
    uris = [str(row["KeyUri"]).lower() for row in broker.manager("ListCertificates", "su", "", 1000)]
    used = [uri.split("id=")[1].split(";")[0].replace("%", "") for uri in uris]
    return [o for o in broker.token_objects() if o.get("label") and not o.get("ID", "").lower().startswith(tuple(used))]


def notes(broker):
    with sqlite3.connect(f"file:{broker.state}/certbroker.sqlite?mode=ro", uri=True) as store:
        return [key for (key,) in store.execute("SELECT key FROM note WHERE key LIKE 'making/%' OR key LIKE 'ending/%'")]


def records_of(broker):
    return [json.loads(line) for line in (broker.state / "audit.jsonl").read_bytes().splitlines()]


def settled(broker):
    wait_until(lambda: not notes(broker), "what was begun is taken back")
    return without_certificate(broker) == []


def outcome(work, *arguments, **how):
    try:
        return work(*arguments, **how) and "ok"
    except Failure as failure:
        return failure.name


def interrupted(broker, rule, work, kill):
    """Starts work, whose call of the module hangs by the rule; kill() when it does."""
    broker.calls.write_text("")
    broker.fault_rules(rule)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(outcome, work, connection=broker.connect())
        wait_until(lambda: "0xdead" in broker.calls.read_text(), "the token hangs")
        assert len(without_certificate(broker)) > 0, "nothing was begun"
        assert len(notes(broker)) == 1
        kill()
        broker.fault_rules("")
        return answer.result()


def kill_helper(broker):
    for pid in broker.helper_pids():
        os.kill(pid, signal.SIGKILL)


MOMENTS = {
    "key": ("C_CreateObject after=1 hang\n", "import"),
    "leaf": ("C_CreateObject after=3 hang\n", "import"),
    "trial": ("C_Sign hang\n", "import"),
    "generated": ("C_Sign hang\n", "generate"),
}


def work_of(broker, what):
    if what == "generate":
        return lambda **how: generate(broker, "client", **how)
    return lambda **how: broker.import_new("client", issuer=pki.Issuer(), **how)


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_source(faulty, moment):
    rule, what = MOMENTS[moment]
    work = work_of(faulty, what)
    assert interrupted(faulty, rule, work, lambda: kill_helper(faulty)) == "SourceUnavailable"
    faulty.wait_source("hsm", "ready")
    assert settled(faulty)
    work()
    assert notes(faulty) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_broker(faulty, moment):
    rule, what = MOMENTS[moment]
    work = work_of(faulty, what)
    assert interrupted(faulty, rule, work, faulty.kill) not in ("ok", None)
    faulty.start()
    assert faulty.list_ids() == ["kept"]
    assert settled(faulty)
    work()
    assert notes(faulty) == []


def bring_two_generations(broker, id):
    """Eight objects: two keys, their public halves or not, their leaves and issuers."""
    ca = pki.Issuer()
    broker.import_new(id, issuer=ca)
    broker.import_new(id, "ec-p384", issuer=ca, replace=True)


@pytest.mark.parametrize("who", ["broker", "source"])
def test_killed_in_a_deletion(faulty, who):
    """Once some of a certificate's objects are destroyed the others and the certificate follow, by themselves."""
    for n in (0, 2, 3, 5):
        id = f"client-{n}"
        bring_two_generations(faulty, id)
        faulty.calls.write_text("")
        faulty.fault_rules(f"C_DestroyObject after={n} hang\n")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(outcome, faulty.delete_certificate, id, destroy_key=True, connection=faulty.connect())
            wait_until(lambda: "0xdead" in faulty.calls.read_text(), "the token hangs")
            faulty.kill() if who == "broker" else kill_helper(faulty)
            faulty.fault_rules("")
            assert answer.result() not in ("ok", None)
        if who == "broker":
            faulty.start()
        wait_until(lambda: is_back(faulty), "the source is back", 30)
        wait_until(lambda: faulty.list_ids() == ["kept"], f"{id} is deleted")
        assert settled(faulty)
    deleted = [r["object"] for r in records_of(faulty) if (r["event"], r["result"]) == ("Delete", "ok")]
    assert deleted == [certificate_path(f"client-{n}") for n in (0, 2, 3, 5)]


def test_a_deletion_that_is_refused_changes_nothing(faulty, refused):
    """Also after a restart: what was begun, and where nothing was destroyed, is not done later."""
    bring_two_generations(faulty, "client")
    objects = len(faulty.token_objects())
    faulty.fault_rules("C_DestroyObject rv=0x1b\n")
    refused("SourceDenied", faulty.delete_certificate, "client", destroy_key=True)
    faulty.fault_rules("")
    faulty.restart()
    assert faulty.list_ids() == ["client", "kept"] and len(faulty.token_objects()) == objects
    assert notes(faulty) == []
    faulty.delete_certificate("client", destroy_key=True)


def test_a_deletion_that_others_come_into(faulty):
    """An import of one of the keys, under another id, is being tried just when the third is to be destroyed."""
    for i in range(3):
        faulty.import_bundle("client", pki.p12(pki.key("ec-p256", i), pki.certificate(pki.key("ec-p256", i))), b"secret",
                             **({"replace": True} if i else {}))
    faulty.calls.write_text("")
    faulty.fault_rules("C_DestroyObject delay=200\nC_Sign delay=1000\n")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        deletion = pool.submit(outcome, faulty.delete_certificate, "client", destroy_key=True, connection=faulty.connect())
        wait_until(lambda: "C_DestroyObject 0x0" in faulty.calls.read_text(), "the first is being destroyed")
        coming = pool.submit(outcome, faulty.import_new, "other", connection=faulty.connect())
        assert (deletion.result(), coming.result()) == (None, "ok")
    assert faulty.list_ids() == ["kept", "other"]
    faulty.fault_rules("")
    faulty.delete_certificate("other", destroy_key=True)


def test_a_deletion_that_was_cut_off_and_then_done_otherwise(stopped):
    """What is made under the id later is not what was to be deleted."""
    start_faulty(stopped)
    bring_two_generations(stopped, "client")
    stopped.calls.write_text("")
    stopped.fault_rules("C_DestroyObject after=2 hang\n")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(outcome, stopped.delete_certificate, "client", destroy_key=True,
                             connection=stopped.connect())
        wait_until(lambda: "0xdead" in stopped.calls.read_text(), "the token hangs")
        stopped.fault_rules("C_Initialize rv=0x30\n")
        kill_helper(stopped)
        assert answer.result() == "SourceUnavailable"
    assert len(notes(stopped)) == 1
    stopped.delete_certificate("client")
    assert notes(stopped) == [] and stopped.list_ids() == []
    stopped.fault_rules("")
    wait_until(lambda: is_back(stopped), "the source is back", 30)
    stopped.import_new("client")
    stopped.restart()
    assert stopped.list_ids() == ["client"] and stopped.sign("client", "ecdsa-sha256", bytes(32))


INSTALLING = {1: ("C_CreateObject after=1 hang\n", "0xdead"), 2: ("C_CreateObject delay=300\n", "C_CreateObject 0x0")}


@pytest.mark.parametrize("n", INSTALLING)
def test_killed_in_an_installation(faulty, n):
    """Its issuer comes first, its leaf is the second object: with that the pending generation has it, and nothing else does."""
    ca = pki.Issuer()
    generate(faulty, "client")
    leaf = issue(request(faulty, "client"), ca)
    rule, moment = INSTALLING[n]
    faulty.calls.write_text("")
    faulty.fault_rules(rule)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(outcome, install, faulty, "client", pki.pem(leaf, ca.certificate),
                             connection=faulty.connect())
        wait_until(lambda: moment in faulty.calls.read_text(), "it is being installed")
        faulty.daemon.send_signal(signal.SIGSTOP)
        wait_until(lambda: faulty.calls.read_text().count("C_CreateObject 0x0") == n, f"{n} objects are made")
        faulty.kill()
        faulty.fault_rules("")
        assert answer.result() not in ("ok", None)
    faulty.start()
    if n == 2:
        wait_until(lambda: faulty.certificate_properties("client")["State"] == "active", "the leaf is found")
        assert faulty.chain("client") == [pki.der(leaf), pki.der(ca.certificate)]
        assert generations(faulty, "client") == [(1, pki.thumbprint(leaf, "sha256"), 0)]
        return
    assert generations(faulty, "client") == [(1, "", 0)]
    install(faulty, "client", pki.pem(leaf, ca.certificate))
    assert len([o for o in faulty.token_objects("Certificate") if o["label"] == "client"]) == 2


def test_what_a_certificate_uses_is_never_taken_back(faulty):
    """Whatever the store says was begun."""
    key_uri = str(faulty.certificate_properties("kept")["KeyUri"]).lower()
    mark = key_uri.split("id=")[1].split(";")[0].replace("%", "")
    objects = len(faulty.token_objects())
    faulty.stop()
    with sqlite3.connect(faulty.state / "certbroker.sqlite") as store:
        store.execute("INSERT INTO note VALUES (?, 'hsm')", (f"making/{mark}",))
    faulty.start()
    assert settled(faulty)
    assert len(faulty.token_objects()) == objects


def test_a_refused_import_leaves_no_intent(faulty, refused):
    refused("BadBundle", faulty.import_bundle, "client", b"no bundle")
    refused("AlreadyExists", faulty.import_new, "kept")
    faulty.fault_rules("C_CreateObject after=1 rv=0x30\n")
    refused("SourceUnavailable", faulty.import_new, "client")
    faulty.fault_rules("")
    faulty.wait_source("hsm", "ready")
    faulty.restart()
    assert settled(faulty)


@pytest.mark.parametrize("rv, answer", [("0x1b", "SourceDenied"), ("0x31", "SourceUnavailable")])
def test_tried_again_while_the_source_serves(faulty, refused, rv, answer):
    """Refused at once, or left open, for the source may still have been at it."""
    pids = faulty.helper_pids()
    faulty.calls.write_text("")
    faulty.fault_rules(f"C_Sign rv={rv}\nC_DestroyObject rv=0x1b\n")
    refused(answer, faulty.import_new, "client")
    if answer == "SourceDenied":
        wait_until(lambda: faulty.calls.read_text().count("C_DestroyObject") >= 2, "it was to be taken back")
    assert len(without_certificate(faulty)) > 0
    assert len(notes(faulty)) == 1
    faulty.fault_rules("")
    wait_until(lambda: not notes(faulty), "it is tried again", 60)
    assert without_certificate(faulty) == []
    assert faulty.helper_pids() == pids


def is_back(broker):
    """A person asks for it: after so many deaths the broker by itself waits longer and longer."""
    outcome(broker.source_call, "hsm", "Refresh")
    return broker.source_properties()["State"] == "ready"


def test_random_moments(broker):
    """Broker or source, at any time of imports and generations: in the end each object is some certificate's."""
    seed = int(time.time())
    moments = random.Random(seed)
    bundles = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))

    def begin(pool, name):
        return [pool.submit(outcome, generate, broker, f"generated-{name}", connection=broker.connect()),
                pool.submit(outcome, lambda: broker.import_bundle(f"imported-{name}", bundles, b"secret",
                                                                  connection=broker.connect()))]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        results = begin(pool, "undisturbed")
        assert [r.result() for r in results] == ["ok", "ok"]
        took = time.monotonic() - began
    done = []
    while len(done) < 24 or not {"ok", "SourceUnavailable"} <= set(done):  # else they were all too early, or too late
        assert len(done) < 120, (seed, took, done)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = begin(pool, len(done))
            time.sleep(moments.uniform(0, took))
            if moments.random() < 0.5:
                broker.kill()
                broker.start()
            else:
                kill_helper(broker)
            done += [r.result() for r in results]
        wait_until(lambda: is_back(broker), "the source is back", 30)
    assert settled(broker), (seed, without_certificate(broker))


def test_a_busy_source_is_asked_for_every_certificate(faulty):
    """It came back, and has no room for a while: none of its certificates is gone past."""
    from gi.repository import GLib
    import dbus.mainloop.glib
    faulty.stop()
    faulty.configure(sources=faulty.source(module=faulty.fault_module()),
                     broker='request-timeout = "3s"; max-in-flight-per-client = 4000;')
    faulty.start()
    uri = faulty.certificate_properties("kept")["KeyUri"]
    for i in range(40):
        faulty.manager("RegisterCertificate", "ssa{sv}", f"also-{i}", uri, dbus.Dictionary(signature="sv"))
    time.sleep(1.1)  # LastRefresh has seconds
    again = int(time.time())

    def refreshed():
        return [int(row["LastRefresh"]) >= again for row in faulty.manager("ListCertificates", "su", "", 100)]

    faulty.fault_rules("C_SignInit delay=200\nC_FindObjectsInit delay=50\n")
    kill_helper(faulty)
    wait_until(lambda: any(refreshed()), "the look-ups have begun", 30)
    connection = faulty.connect(mainloop=dbus.mainloop.glib.DBusGMainLoop())
    context, flooding, answers = GLib.MainContext.default(), time.monotonic() + 7, []

    def ask():
        connection.call_async(NAME, certificate_path("kept"), "org.certbroker1.Certificate", "Sign", "tsay",
                              (dbus.UInt64(0), "ecdsa-sha256", dbus.ByteArray(bytes(32))),
                              lambda s: answered("ok"), lambda e: answered(Failure(e).name), timeout=600)

    def answered(outcome):
        answers.append(outcome)
        if time.monotonic() < flooding:
            ask()

    for _ in range(1000):
        ask()
    while len(answers) < 1000 or time.monotonic() < flooding:
        context.iteration(True)
    assert "TimedOut" in answers
    faulty.fault_rules("")
    wait_until(lambda: all(refreshed()), "all have been looked up", 30)
