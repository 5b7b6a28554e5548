# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import shutil
import sys
import tempfile

import dbus.mainloop.glib
import pytest

# certbrokerd takes no file from a folder that others may write to.
os.umask(0o022)
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from broker import Broker, Failure, NAME  # noqa: E402


@pytest.fixture
def folder():
    """A folder that other users may enter, gone afterwards; short, for a socket's path has 107 bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def stopped(folder):
    """A broker with a bus, a token and a configuration, not started."""
    broker = Broker(folder)
    broker.start_bus()
    broker.init_token()
    broker.configure()
    yield broker
    broker.close()


@pytest.fixture
def broker(stopped):
    """A broker that runs, with its source `hsm` ready."""
    return stopped.start()


@pytest.fixture
def refused():
    """refused("NotFound", function, ...): calls, asserts that this error came back, and returns its message."""

    def check(name, function, *arguments, **how):
        with pytest.raises(Failure) as caught:
            function(*arguments, **how)
        assert caught.value.name == name, str(caught.value)
        assert caught.value.message.strip(), "an error without a message"
        return caught.value.message

    return check


@pytest.fixture
def root():
    """For tests that act as several users: such a thing is root's alone."""
    if os.getuid() != 0:
        pytest.skip("needs root: it acts as several users")


class Signals:
    """Collects signals on a connection of its own, which has called the broker or has not."""

    def __init__(self, broker, call=True):
        from gi.repository import GLib
        self.broker = broker
        self.received = []
        self.context = GLib.MainContext.default()
        self.connection = broker.connect(mainloop=dbus.mainloop.glib.DBusGMainLoop())
        self.connection.add_signal_receiver(
            self._on_signal, bus_name=None, interface_keyword="interface", member_keyword="member",
            path_keyword="path", sender_keyword="sender")
        if call:
            self.connection.call_blocking(NAME, "/org/certbroker1", "org.freedesktop.DBus.Peer", "Ping", "", ())

    def _on_signal(self, *arguments, interface, member, path, sender):
        if interface != "org.freedesktop.DBus":
            self.received.append((str(path), str(interface), str(member), arguments))

    def drain(self):
        """Takes in all that was sent before now: a round trip, then what the loop has."""
        self.connection.get_name_owner("org.freedesktop.DBus")
        while self.context.iteration(False):
            pass
        return self.received

    def of(self, member, path=None):
        return [s for s in self.drain() if s[2] == member and path in (None, s[0])]

    def wait(self, member, path=None, timeout=10.0):
        from broker import wait_until
        return wait_until(lambda: self.of(member, path), f"signal {member} of {path}", timeout)


@pytest.fixture
def signals(broker):
    return lambda call=True: Signals(broker, call)
