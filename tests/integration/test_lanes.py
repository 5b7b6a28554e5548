# SPDX-License-Identifier: Apache-2.0
"""Who signs is not held up by who manages, whatever that one does; on a token. test_vault_lanes.py: on a vault."""

import time

import dbus
import dbus.lowlevel
import pki
import pytest

from broker import NAME, PATIENCE, ROOT, Failure, certificate_path, memfd, write_all
from hangfs import READ, hanging_file

MANAGER = "org.certbroker1.Manager"
EMPTY = dbus.Dictionary({}, signature="sv")


class Management:
    """Calls that are sent and not waited for; `answers`: in the order in which they came."""

    def __init__(self, broker):
        self.broker, self.connection, self.pending, self.answers = broker, broker.connect(), [], []
        self.connection.call_blocking(NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping", "", ())

    def send(self, path, interface, method, signature="", *arguments):
        message = dbus.lowlevel.MethodCallMessage(NAME, path, interface, method)
        message.append(*arguments, signature=signature)
        self.pending.append(self.connection.send_message_with_reply(message, self._on_reply, 120 * PATIENCE))
        self.connection.flush()

    def import_fd(self, id, bundle):
        self.send(ROOT, MANAGER, "ImportCertificate", "sshha{sv}", id, "hsm", dbus.types.UnixFd(bundle),
                  dbus.types.UnixFd(memfd(b"secret")), EMPTY)

    def _on_reply(self, reply):
        self.answers.append((reply.get_error_name() or "ok").rsplit(".", 1)[-1])

    def wait(self, n=None):
        """Until n of them, or all, are answered."""
        for call in self.pending if n is None else self.pending[:n]:
            call.block()
        return self.answers


@pytest.fixture
def signing(stopped):
    """A broker on a token whose calls are slow, or never return, as signing.fault_rules() says; its key `orders` signs."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()), broker='  request-timeout = "2s";')
    stopped.start()
    stopped.cert = stopped.import_new("orders")
    check(stopped)
    return stopped


def check(broker, n=1):
    for _ in range(n):
        signature = broker.sign("orders", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
        pki.verify(broker.cert.public_key(), "ecdsa-sha256", signature, b"m")


def test_hostile_bundles(signing):
    """Each part asks for as much work as a part may: they are refused before any of it is done."""
    pids = signing.helper_pids()
    bundle = pki.p12_of_work(1999999, 16)
    manager = Management(signing)
    for i in range(24):
        manager.import_fd(f"own-{i}", memfd(bundle))
    check(signing, 20)
    assert set(manager.wait()) == {"BadBundle"}
    assert signing.helper_pids() == pids


def test_key_generation(signing):
    """One user's many keys are made one after the other, in workers that never sign."""
    pids = signing.helper_pids()
    signing.fault_rules("C_GenerateKeyPair delay=400\n")
    manager = Management(signing)
    for i in range(8):
        manager.send(ROOT, MANAGER, "GenerateKey", "sssa{sv}", f"own-{i}", "hsm", "ec-p256", EMPTY)
    manager.wait(1)
    check(signing, 20)
    manager.connection.call_blocking(NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping", "", ())
    assert len(manager.answers) < 6
    assert manager.wait() == ["ok"] * 8
    assert signing.helper_pids() == pids


def test_more_than_one_user_may_queue(signing, refused):
    """What waits of one user is bounded, and signatures have places that it never takes."""
    signing.fault_rules("C_GenerateKeyPair delay=10\n")
    manager = Management(signing)
    for i in range(40):
        manager.send(ROOT, MANAGER, "GenerateKey", "sssa{sv}", f"own-{i}", "hsm", "ec-p256", EMPTY)
    check(signing, 5)
    assert sorted(set(manager.wait())) == ["LimitExceeded", "ok"]
    assert 30 <= manager.answers.count("ok") <= 34


def test_calls_that_never_return(signing, refused):
    """A look-up hangs in the token; the process that signs is not ended for that."""
    pids = signing.helper_pids()
    signing.fault_rules("C_FindObjectsInit hang\n")
    refused("TimedOut", signing.certificate, "orders", "Refresh")
    time.sleep(2)
    check(signing, 5)
    assert signing.helper_pids() == pids


def test_file_that_is_never_read_to_its_end(signing, refused, root):
    """Its reading waits for ever in the kernel, where nothing can end it: that is nobody's matter but the caller's."""
    pids = signing.helper_pids()
    with hanging_file(signing.folder / "mount", READ) as fs:
        manager = Management(signing)
        manager.import_fd("endless", fs.open())
        fs.wait_for(READ)
        check(signing, 5)
        assert manager.wait() == ["InvalidArgument"]
        signing.import_new("another")
        check(signing)
        assert signing.helper_pids() == pids

        # The process cannot be ended either; then another takes its place.
        signing.configure(sources=signing.source(module=signing.fault_module(), sessions="3"),
                          broker='  request-timeout = "2s";')
        signing.manager("Reload")
        signing.wait_source("hsm", "ready")
        check(signing)
        assert set(signing.helper_pids()) != set(pids)
