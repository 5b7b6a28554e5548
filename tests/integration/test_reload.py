# SPDX-License-Identifier: Apache-2.0
"""A reload that takes grants away: what waited is decided again, and what a source gives then is not handed out."""

import contextlib
import signal
import sqlite3
import time

import dbus
import dbus.connection
import dbus.lowlevel
import dbus.mainloop.glib
import lifecycle
import pki
import pytest

from broker import ERROR, ME, NAME, PATIENCE, ROOT, backend_path, certificate_path, source_path, wait_until
from conftest import Signals
from gi.repository import GLib
from test_register import encrypted

MANAGER, CERTIFICATE, BACKEND = (f"{NAME}.{interface}" for interface in ("Manager", "Certificate", "Backend"))
DELAY_MSEC = 4000 + 1000 * PATIENCE
ALL = lifecycle.GRANT_EVERYTHING
READ = ALL.replace('"manage", "use", "decrypt", "export"', '"read"')
NO_OPTIONS = dbus.Dictionary({}, signature="sv")


@pytest.fixture
def slow(stopped):
    """A broker whose token takes its time where slow.fault_rules() says so; the certificate `client` of two generations."""
    stopped.fault_rules("")
    stopped.sources = stopped.source(module=stopped.fault_module(), sessions="8")
    stopped.configure(sources=stopped.sources, grants=ALL, broker='request-timeout = "60s";')
    stopped.start()
    for n in range(2):
        cert = pki.certificate(pki.key("rsa-2048"), "client.example", serial=100 + n)
        stopped.import_bundle("client", pki.p12(pki.key("rsa-2048"), cert), b"secret", extractable=True, replace=n > 0)
    stopped.public = cert.public_key()
    stopped.create_backend("orders", "client")
    return stopped


def reload(broker, grants):
    """As SIGHUP does it: no grant is needed for that."""
    done = "the configuration has been read again"
    before = broker.log_text().count(done)
    broker.configure(sources=broker.sources, grants=grants, broker='request-timeout = "60s";')
    broker.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: broker.log_text().count(done) > before, "a reload")


class Calls:
    """Calls that are sent and not waited for."""

    def __init__(self, broker):
        self.broker = broker
        self.connection = broker.connect()
        self.answers = {}
        self.pending = []

    def send(self, path, interface, method, signature="", *arguments, name=None):
        message = dbus.lowlevel.MethodCallMessage(NAME, path, interface, method)
        message.append(*arguments, signature=signature)

        def on_answer(reply):
            error = reply.get_error_name()
            self.answers[name or method] = error.removeprefix(ERROR) if error else "ok"

        self.pending.append(self.connection.send_message_with_reply(message, on_answer, 100))

    def begun(self):
        """All of them have been taken in: the broker does so in their order."""
        self.connection.call_blocking(NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping", "", ())
        assert self.answers == {}, "too slow a machine, or something that did not wait"

    def end(self):
        assert self.answers == {}, "too slow a machine, or something that did not wait"
        for call in self.pending:
            call.block()
        return self.answers


def what_is_there(broker):
    properties = broker.certificate_properties("client")
    return ([properties[name] for name in ("State", "Generation", "Generations", "Backends")],
            dict(broker.backend_properties("orders")), broker.list_ids(), len(broker.token_objects()))


def send_changes(broker, calls):
    """One of each that waits for the turn of `client`, which GenerateKey has."""
    client = certificate_path("client")
    bundle = pki.p12(pki.key("rsa-2048", 1), pki.certificate(pki.key("rsa-2048", 1), "client.example"))
    replace = lifecycle.options({"replace": True})
    calls.send(ROOT, MANAGER, "GenerateKey", "sssa{sv}", "client", "hsm", "ec-p256", replace)
    for method, signature, *arguments in (
            ("SetCurrent", "t", dbus.UInt64(1)), ("Retire", "t", dbus.UInt64(1)), ("SetEnabled", "b", False),
            ("Delete", "a{sv}", lifecycle.options({"destroy_key": True})), ("Refresh", "")):
        calls.send(client, CERTIFICATE, method, signature, *arguments)
    with lifecycle.descriptor(bundle) as bundle_fd, lifecycle.descriptor(b"secret") as passphrase_fd:
        calls.send(ROOT, MANAGER, "ImportCertificate", "sshha{sv}", "client", "hsm", bundle_fd, passphrase_fd, replace)
        calls.send(client, CERTIFICATE, "InstallCertificate", "ha{sv}", bundle_fd, NO_OPTIONS)
        bound = dbus.Dictionary({"Url": "https://localhost/", "Certificate": "client"}, signature="sv")
        calls.send(ROOT, MANAGER, "CreateBackend", "sa{sv}", "others", bound)
        calls.send(backend_path("orders"), BACKEND, "Change", "a{sv}", bound)
        calls.send(backend_path("orders"), "org.freedesktop.DBus.Properties", "Set", "ssv", BACKEND, "ValidateName",
                   dbus.Boolean(False, variant_level=1))
        calls.begun()


CREATING = {"GenerateKey", "ImportCertificate", "CreateBackend"}


@pytest.mark.parametrize("grants, error", [(READ, "AccessDenied"), ("", "NotFound")], ids=["read", "nothing"])
def test_what_waits_for_a_turn(slow, grants, error):
    """None of it is done; nor is what had begun published, and the key that was made for it goes again."""
    before = what_is_there(slow)
    slow.fault_rules(f"C_GenerateKeyPair delay={DELAY_MSEC}\n")
    calls = Calls(slow)
    send_changes(slow, calls)
    reload(slow, grants)
    answers = calls.end()
    assert answers == {name: "AccessDenied" if name in CREATING else error for name in answers}
    assert len(answers) == 11
    slow.fault_rules("")
    reload(slow, ALL)
    assert what_is_there(slow) == before
    refusals = [line for line in (slow.state / "audit.jsonl").read_text().splitlines() if '"Retire"' in line]
    assert len(refusals) == 1 and f'"result":"{error}"' in refusals[0] and '"grant":null' in refusals[0]


def test_what_waits_for_a_turn_and_may(slow):
    """A reload alone changes nothing: whoever still may gets it."""
    slow.fault_rules(f"C_GenerateKeyPair delay={DELAY_MSEC}\n")
    calls = Calls(slow)
    calls.send(ROOT, MANAGER, "GenerateKey", "sssa{sv}", "client", "hsm", "ec-p256", lifecycle.options({"replace": True}))
    calls.send(certificate_path("client"), CERTIFICATE, "Retire", "t", dbus.UInt64(1))
    calls.begun()
    reload(slow, ALL.replace("everything", "anything"))
    assert calls.end() == {"GenerateKey": "ok", "Retire": "ok"}
    assert len(slow.certificate_properties("client")["Generations"]) == 3


def test_who_asked_has_gone(slow):
    """Then nobody can be asked about: what waits is not done under other grants than it was asked under."""
    before = what_is_there(slow)
    slow.fault_rules(f"C_GenerateKeyPair delay={DELAY_MSEC}\n")
    calls = Calls(slow)
    send_changes(slow, calls)
    calls.connection.close()
    reload(slow, READ)
    wait_until(lambda: (slow.state / "audit.jsonl").read_text().count('"result":"AccessDenied"') >= 11, "all refused",
               DELAY_MSEC / 1000 + 10)
    slow.fault_rules("")
    reload(slow, ALL)
    assert what_is_there(slow) == before


@pytest.mark.parametrize("grants, error", [(READ, "AccessDenied"), ("", "NotFound")], ids=["read", "nothing"])
def test_what_a_source_gives_too_late(slow, grants, error):
    client = certificate_path("client")
    before = what_is_there(slow)
    ciphertext = encrypted(slow.public)
    slow.fault_rules("".join(f"{name} delay={DELAY_MSEC} count=3\n" for name in ("C_Sign", "C_Decrypt", "C_WrapKey")) +
               f"C_CreateObject delay={DELAY_MSEC} count=1\n")
    calls = Calls(slow)
    calls.send(client, CERTIFICATE, "Sign", "tsay", dbus.UInt64(0), "rsa-pss-sha256", dbus.ByteArray(bytes(32)))
    calls.send(client, CERTIFICATE, "SignTls", "tssay", dbus.UInt64(0), "rsa-pss-sha256", "client",
               dbus.ByteArray(bytes(32)))
    calls.send(client, CERTIFICATE, "Decrypt", "tsay", dbus.UInt64(0), "rsa-oaep-sha1", dbus.ByteArray(ciphertext))
    calls.send(client, CERTIFICATE, "CreateRequest", "sas", "CN=x", dbus.Array([], signature="s"))
    bundle = pki.p12(pki.key("rsa-2048", 1), pki.certificate(pki.key("rsa-2048", 1), "client.example"))
    with lifecycle.descriptor(b"secret") as passphrase_fd, lifecycle.descriptor(bundle) as bundle_fd:
        calls.send(client, CERTIFICATE, "Export", "sh", "pkcs12", passphrase_fd)
        calls.send(ROOT, MANAGER, "ImportCertificate", "sshha{sv}", "other", "hsm", bundle_fd, passphrase_fd,
                   NO_OPTIONS)
        calls.begun()
    reload(slow, grants)
    answers = calls.end()
    assert answers == {name: "AccessDenied" if name in CREATING else error for name in answers}
    assert len(answers) == 6
    slow.fault_rules("")
    reload(slow, ALL)
    assert what_is_there(slow) == before


# --- what may be read changes without any object changing

def narrowed(certificates, backends, allow='"manage"'):
    return f"""  some = {{ user = "{ME}"; allow = [ {allow} ]; certificate = [ {certificates} ]; backend = [ {backends} ];
    source = "*"; }};
"""


def told(listener, member):
    """Paths that have come, or gone, since the last look; and what was told with them."""
    signals = [s for s in listener.drain() if s[2] == member]
    for signal_ in signals:
        listener.received.remove(signal_)
    return {str(arguments[0]): arguments[1] for *_, arguments in signals}


def wait_told(listener, member, paths):
    seen = {}

    def complete():
        seen.update(told(listener, member))
        return set(paths) <= set(seen)
    wait_until(complete, f"{member} of {paths}")
    assert set(seen) == set(paths)
    return seen


def test_objects_come_and_go_with_the_grants(stopped):
    stopped.sources = stopped.source()
    stopped.configure(grants=ALL, broker='request-timeout = "60s";')
    stopped.start()
    for id in ("a-1", "a-2", "b-1"):
        stopped.import_new(id)
    stopped.create_backend("first", "a-1")
    stopped.create_backend("second", "a-1")
    stopped.create_backend("third", "b-1")
    listener = Signals(stopped)
    silent = Signals(stopped, call=False)
    paths = {name: certificate_path(name) for name in ("a-1", "a-2", "b-1")}
    paths |= {name: backend_path(name) for name in ("first", "second", "third")}
    paths["hsm"] = source_path("hsm")

    reload(stopped, ALL.replace("everything", "all_of_it"))
    assert listener.drain() == [], "nothing has changed for it"

    reload(stopped, narrowed('"a-*"', '"first"'))
    gone = wait_told(listener, "InterfacesRemoved", [paths[name] for name in ("b-1", "second", "third")])
    assert list(gone[paths["b-1"]]) == [CERTIFICATE] and list(gone[paths["third"]]) == [BACKEND]
    changed = listener.wait("PropertiesChanged", paths["a-1"])
    assert [dict(s[3][1]) for s in changed] == [{"Backends": ["first"]}]
    assert told(listener, "InterfacesAdded") == {}

    listener.received.clear()
    reload(stopped, narrowed('"b-*"', '"*"'))
    wait_told(listener, "InterfacesRemoved", [paths[name] for name in ("a-1", "a-2")])
    come = wait_told(listener, "InterfacesAdded", [paths[name] for name in ("b-1", "second", "third")])
    assert come[paths["b-1"]][CERTIFICATE]["Backends"] == ["third"]
    assert come[paths["second"]][BACKEND]["Certificate"] == "a-1"
    assert "Chain" not in come[paths["b-1"]][CERTIFICATE]

    reload(stopped, "")
    wait_told(listener, "InterfacesRemoved", [paths[name] for name in ("b-1", "first", "second", "third", "hsm")])
    reload(stopped, ALL)
    wait_told(listener, "InterfacesAdded", paths.values())
    assert silent.drain() == [], "it has never called"


class LateReader:
    """On the channel, so that its messages are its own; reads nothing but in drain(). Objects that came or went are
    in `received`, what was told of a certificate's Backends in `backends`."""

    def __init__(self, broker):
        address = str(broker.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
        self.context = GLib.MainContext.default()
        self.connection = dbus.connection.Connection(address, mainloop=dbus.mainloop.glib.DBusGMainLoop())
        self.connection.call_blocking(None, ROOT, "org.freedesktop.DBus.Peer", "Ping", "", ())
        self.connection.add_message_filter(self._on_message)
        self.received, self.backends = [], []

    def _on_message(self, connection, message):
        if (message.get_member() or "").startswith("Interfaces"):
            self.received.append((str(message.get_member()), str(message.get_args_list()[0])))
        elif message.get_member() == "PropertiesChanged" and "Backends" in message.get_args_list()[1]:
            self.backends.append((message.get_path(), len(message.get_args_list()[1]["Backends"])))
        return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED

    def drain(self):
        while self.context.iteration(False):
            pass
        return self.received


def test_thousands_of_objects_come_and_go(stopped):
    """More than a peer is ever sent unread, and more at one certificate than a turn decides on: each is waited for, and
    told all of it; nobody else waits meanwhile."""
    n = 6000
    keep, none = narrowed('"*"', '"*"'), narrowed('"*"', "")
    stopped.configure(grants=keep)
    stopped.start()
    stopped.import_new("client")
    stopped.import_new("other")
    stopped.stop()
    with contextlib.closing(sqlite3.connect(stopped.state / "certbroker.sqlite")) as database, database:
        database.executemany("INSERT INTO backend VALUES (?, 'https://localhost/', 'client', 1, 1, '', ?, 0)",
                             [(f"backend-{i:05}", "x" * 1000) for i in range(n)])
    stopped.start()
    late = [LateReader(stopped), LateReader(stopped)]
    expected = {backend_path(f"backend-{i:05}") for i in range(n)}
    for grants, member in ((none, "InterfacesRemoved"), (keep, "InterfacesAdded")):
        stopped.configure(grants=grants)
        stopped.manager("Reload")
        time.sleep(1)  # for what would be sent at once, and lost
        assert stopped.list_ids() == ["client", "other"]
        wait_until(lambda: all([len(reader.drain()) >= n for reader in late]), f"{n} times {member}", 40)
        for reader in late:
            assert {path for name, path in reader.received if name == member} == expected
            assert len(reader.received) == n
            assert reader.backends == [(certificate_path("client"), n if member == "InterfacesAdded" else 0)]
            reader.received.clear()
            reader.backends.clear()
