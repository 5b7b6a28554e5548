# SPDX-License-Identifier: Apache-2.0
"""The private channel: the same objects, peer to peer, on a path and on an abstract socket."""

import contextlib
import functools
import os
import signal
import socket
import stat
import subprocess
import time

import dbus
import dbus.bus
import dbus.connection
import dbus.lowlevel
import pki
import pytest

from broker import ERROR, GRANT_ALL, INTROSPECTABLE, ME, NAME, OBJECT_MANAGER, PEER, PROPERTIES, PYTHON, ROOT, Failure, \
    certificate_path, die_with_parent, wait_until
from test_grants import credential, get, sign, words


def peer(address, **how):
    """A connection without a bus; descriptors can be sent on it only once it is authenticated."""
    connection = dbus.connection.Connection(address, **how)
    connection.call_blocking(None, ROOT, PEER, "Ping", "", ())
    return connection


def addresses(broker):
    return str(broker.get(ROOT, "Manager", "ChannelAddress")).split(";")


def test_addresses(broker):
    path, abstract = addresses(broker)
    assert path.startswith(f"unix:path={broker.runtime}/")
    assert abstract.startswith("unix:abstract=")
    socket_path = path[len("unix:path="):].split(",")[0]
    assert stat.S_ISSOCK(os.stat(socket_path).st_mode)
    # anyone may connect: the daemon decides
    assert stat.S_IMODE(os.stat(socket_path).st_mode) & 0o666 == 0o666


@pytest.mark.parametrize("which", [0, 1])
def test_everything_works_as_on_the_bus(broker, which):
    channel = peer(addresses(broker)[which])
    cert = pki.certificate(pki.key("ec-p256"))
    path = broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert), b"secret", connection=channel)
    assert path == certificate_path("client")
    signature = broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"), connection=channel)
    pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"m")
    values = dbus.Dictionary({"Url": "https://x/", "Certificate": "client"}, signature="sv")
    broker.manager("CreateBackend", "sa{sv}", "orders", values, connection=channel)
    assert broker.backend("orders", "GetCredential", connection=channel) == broker.backend("orders", "GetCredential")
    assert broker.certificate_properties("client", connection=channel) == broker.certificate_properties("client")
    assert broker.chain("client", connection=channel) == [pki.der(cert)]
    for call in ((ROOT, OBJECT_MANAGER, "GetManagedObjects"), (ROOT, INTROSPECTABLE, "Introspect"),
                 (certificate_path("client"), INTROSPECTABLE, "Introspect"), (ROOT, PEER, "GetMachineId")):
        assert broker.call(*call, connection=channel) == broker.call(*call)
    broker.call(ROOT, PEER, "Ping", connection=channel)


def test_errors_are_those_of_the_bus(broker):
    channel = peer(addresses(broker)[0])
    broker.import_new("client")
    calls = [
        (certificate_path("nobody"), "org.certbroker1.Certificate", "Refresh", ""),
        (certificate_path("client"), "org.certbroker1.Certificate", "Nonsense", ""),
        (certificate_path("client"), "org.certbroker1.Nonsense", "Sign", ""),
        (certificate_path("client"), "org.certbroker1.Certificate", "Sign", "s", "x"),
        (certificate_path("client"), PROPERTIES, "Get", "ss", "org.certbroker1.Certificate", "Nonsense"),
        (ROOT, "org.certbroker1.Manager", "GetCertificate", "s", "a b"),
        ("/somewhere/else", "org.certbroker1.Certificate", "Refresh", ""),
    ]
    for call in calls:
        errors = []
        for connection in (channel, broker.connection):
            with pytest.raises(Failure) as caught:
                broker.call(*call, connection=connection)
            errors.append((caught.value.full_name, caught.value.message))
        assert errors[0] == errors[1], call


def test_peer_credentials(stopped, root):
    """The caller is known by its socket: grants hold there as on the bus."""
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
      web = { user = "www-data"; allow = "use"; certificate = "client"; backend = "*"; };
      by_group = { group = "nogroup"; allow = "read"; certificate = "client"; };
    """)
    stopped.start()
    stopped.import_new("client")
    stopped.import_new("other")
    stopped.create_backend("orders", "client")
    for address in addresses(stopped):
        calls = [sign("client"), sign("other"), get("other"), credential("orders")]
        assert words(stopped.as_user("www-data", *calls, address="p2p:" + address)) == \
            ["ok", "NotFound", "NotFound", "ok"]
        assert words(stopped.as_user("nobody", sign("client"), get("client"), address="p2p:" + address)) == \
            ["AccessDenied", "ok"]
        assert words(stopped.as_user("daemon", sign("client"), address="p2p:" + address)) == ["NotFound"]


def test_only_external_authentication(broker):
    """Nobody is let in anonymously, or as somebody else."""
    path = addresses(broker)[0][len("unix:path="):].split(",")[0]

    def talk(*lines):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(path)
            s.sendall(b"\0")
            answers = []
            for line in lines:
                s.sendall(line + b"\r\n")
                answers.append(s.recv(4096))
                if not answers[-1]:
                    break
            return answers

    [offered] = talk(b"AUTH")
    assert offered.strip() == b"REJECTED EXTERNAL"
    for mechanism in (b"AUTH ANONYMOUS 74657374", b"AUTH DBUS_COOKIE_SHA1 726f6f74",
                      b"AUTH EXTERNAL " + str(os.getuid() + 1).encode().hex().encode()):
        assert talk(mechanism)[0].startswith(b"REJECTED"), mechanism
    assert talk(b"AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode())[0].startswith(b"OK ")


def test_garbage_on_the_channel(broker):
    """Connections that say nothing, nonsense, or end in the middle, are no matter to others."""
    path = addresses(broker)[0][len("unix:path="):].split(",")[0]
    kept = []
    for data in (b"", b"\0", b"GET / HTTP/1.0\r\n\r\n", bytes(range(256)) * 64, b"\0AUTH " + b"x" * 100000,
                 b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n" + b"l\1\0\1" * 500,
                 b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\nB"):
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        try:
            s.sendall(data)
        except OSError:
            pass
        kept.append(s)
    channel = peer(addresses(broker)[0])
    broker.import_new("client", connection=channel)
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    for s in kept:
        s.close()
    broker.sign("client", "ecdsa-sha256", bytes(32))


def path_of(broker):
    return addresses(broker)[0][len("unix:path="):].split(",")[0]


def test_a_log_in_that_does_not_end_is_ended(broker):
    """Neither one that never begins; who has logged in may be silent for as long as he likes."""
    idle = peer(addresses(broker)[0])
    silent, halfway = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for s in (silent, halfway):
        s.settimeout(120)
        s.connect(path_of(broker))
    me = str(os.getuid()).encode().hex().encode()
    halfway.sendall(b"\0AUTH EXTERNAL " + me + b"\r\n")
    assert halfway.recv(4096).startswith(b"OK ")
    assert silent.recv(1) == b""
    assert halfway.recv(1) == b""
    idle.call_blocking(None, ROOT, PEER, "Ping", "", ())


CROWD = """
import select, socket, sys
kept = select.poll()
sockets = [socket.socket(socket.AF_UNIX) for _ in range(200)]
for s in sockets:
    s.connect(sys.argv[1])
    kept.register(s, select.POLLIN)
print("all", flush=True)
for _ in sys.stdin:
    print(len(sockets) - len(kept.poll(0)), flush=True)
"""


class Crowd:
    """A user's connections that never log in."""

    def __init__(self, broker, user):
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={user}", "--clear-groups", PYTHON, "-c", CROWD, path_of(broker)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.process.stdout.readline() == b"all\n"

    def remaining(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.communicate()


def test_many_silent_connections_keep_nobody_out(stopped, root):
    """Of one user, or of several: others, and root, still get in while they are there."""
    stopped.spawn = functools.partial(stopped.spawn, command=("prlimit", "--nofile=512:512"))
    stopped.start()
    ping = [ROOT, PEER, "Ping", ""]

    def among(users, get_in):
        """How many had a place, and have it still when that is done: none, where it took longer than logging in may."""
        with contextlib.ExitStack() as stack:
            crowds = []
            for user in users:
                crowds.append(Crowd(stopped, user))
                stack.callback(crowds[-1].end)
            get_in()
            return [crowd.remaining() for crowd in crowds]

    def other_gets_in():
        assert words(stopped.as_user("www-data", ping, address="p2p:" + addresses(stopped)[0])) == ["ok"]

    # of 76 places all whom no grant names have 20 together, and each of them half of these at most
    wait_until(lambda: among(["nobody"], other_gets_in) == [10], "a crowd that stays")
    wait_until(lambda: among(["nobody", "daemon", "mail"], lambda: peer(addresses(stopped)[0])) == [10, 10, 0],
               "crowds that stay")


def test_signals_on_the_channel(stopped, root):
    """To each connection that has called, and may read the object."""
    import dbus.mainloop.glib
    from gi.repository import GLib
    stopped.start()
    stopped.import_new("client")
    channel = peer(addresses(stopped)[0], mainloop=dbus.mainloop.glib.DBusGMainLoop())
    received = []
    channel.add_signal_receiver(lambda *a, member, path: received.append((str(path), str(member))),
                                member_keyword="member", path_keyword="path")
    stopped.call(ROOT, PEER, "Ping", connection=channel)
    stopped.certificate("client", "SetEnabled", "b", False)

    def came():
        while GLib.MainContext.default().iteration(False):
            pass
        return (certificate_path("client"), "PropertiesChanged") in received

    wait_until(came, "the signal")


def test_bus_restarts_channel_goes_on(broker):
    """The bus is not in the way of the channel; certbrokerd goes on without it, and has its name again on the next."""
    broker.import_new("client")
    channel = peer(addresses(broker)[0])
    process = broker.daemon.pid
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    broker.stop_bus()
    wait_until(lambda: "message bus" in broker.log_text(), "the loss is logged")
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    broker.start_bus()
    bus = broker.connect()
    wait_until(lambda: bus.name_has_owner(NAME), "the name")
    assert bus.call_blocking("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                             "GetConnectionUnixProcessID", "s", (NAME,)) == process
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=bus)
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    bus.close()


def test_a_name_that_is_still_taken_is_waited_for(broker):
    """On a bus that it comes back to: as one keeps the name of a connection that it has not let go of."""
    broker.import_new("client")
    channel = peer(addresses(broker)[0])
    os.kill(broker.daemon.pid, signal.SIGSTOP)
    broker.stop_bus()
    broker.start_bus()
    holder = dbus.bus.BusConnection(broker.bus_address)
    assert holder.request_name("org.certbroker1", 4) == 1  # not queued; its owner
    os.kill(broker.daemon.pid, signal.SIGCONT)
    time.sleep(2)
    assert broker.daemon.poll() is None
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    holder.release_name("org.certbroker1")
    deadline = time.monotonic() + 30
    while not holder.name_has_owner("org.certbroker1"):
        assert time.monotonic() < deadline and broker.daemon.poll() is None
        time.sleep(0.1)
    holder.close()


def test_many_connections(broker):
    """More at once than a bus lets a user have."""
    broker.import_new("client")
    address = addresses(broker)[0]
    channels = [peer(address) for _ in range(300)]
    for channel in channels[::10] + channels[-1:]:
        broker.sign("client", "ecdsa-sha256", bytes(32), connection=channel)
    for channel in channels:
        channel.close()
    broker.sign("client", "ecdsa-sha256", bytes(32), connection=peer(address))
