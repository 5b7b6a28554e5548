# SPDX-License-Identifier: Apache-2.0
"""Whom clients talk to: another user at the place of bus, channel or broker is not sent a single byte."""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading

import pki
import pytest

from broker import CLI, MODULES, PATIENCE, PYTHON, ROOT, die_with_parent, wait_until
from squatter import LOGIN
from test_library import DIGEST, SIGN, Client

HERE = pathlib.Path(__file__).resolve().parent
STRANGER = "games"
BEHAVIOURS = ["mute", "late", "channel", "bus"]
pytestmark = pytest.mark.usefixtures("root")


class Stranger:
    """A script of this folder that runs as another user, and the file that it writes."""

    def __init__(self, folder, script, *arguments, before=()):
        here = folder / f"stranger-{len(list(folder.glob('stranger-*')))}"
        here.mkdir(mode=0o777)
        here.chmod(0o777)
        self.log = here / "log"
        shutil.copy(HERE / script, here / script)
        first, *rest = arguments
        self.process = subprocess.Popen(
            [*before, "setpriv", f"--reuid={STRANGER}", "--clear-groups", PYTHON, "-B", str(here / script), first,
             str(self.log), *rest], stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.process.stdout.readline() == b"ready\n"

    def lines(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def was_told_nothing(self):
        """And was there: somebody has connected to it, and left."""
        lines = wait_until(self.lines, "a connection to the stranger")
        assert set(lines) == {"0 b''"}, lines

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def stranger(folder):
    """stranger(SCRIPT, ARGUMENT...) starts one; before, if given, stands before its command."""
    made = []

    def make(*arguments, **how):
        made.append(Stranger(folder, *arguments, **how))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def start(stopped):
    clients = []

    def make(bus, before=(), **environment):
        clients.append(Client(stopped.environment(), bus, before=before, **environment))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


# Every form of an address, with F for the folder: where the stranger sits, what the client is given, and its environment.
FORMS = {
    "path of a channel": ("F/x/channel", "unix:path=F/x/channel", {}),
    "abstract channel": ("@F/x/channel", "unix:abstract=F/x/channel", {}),
    "path of a bus": ("F/x/bus", "unix:path=F/x/bus", {}),
    "abstract bus": ("@F/dbus-x", "unix:abstract=F/dbus-x", {}),
    "escaped, with a guid": ("@F/x/channel", "unix:abstract=F%2fx%2fchan%6eel,guid=0123456789abcdef0123456789abcdef", {}),
    "the second of a list": ("@F/x/channel", "unix:path=F/x/channel;unix:abstract=F/x/channel", {}),
    "a channel after a bus": ("@F/x/channel", "unix:path=F/x/bus;tcp:host=x;unix:abstract=F/x/channel", {}),
    "a link": ("F/x/channel", "unix:path=F/link", {}),
    "system": ("@F/x", "system", {"DBUS_SYSTEM_BUS_ADDRESS": "unix:abstract=F/x"}),
    "system, named as a channel": ("@F/channel", "system", {"DBUS_SYSTEM_BUS_ADDRESS": "unix:abstract=F/channel"}),
    "session": ("@F/x", "session", {"DBUS_SESSION_BUS_ADDRESS": "unix:abstract=F/x"}),
    "session of a folder": ("F/x/bus", "session", {"XDG_RUNTIME_DIR": "F/x"}),
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_no_address_of_a_stranger(stopped, start, stranger, behaviour):
    """By the library: signing and watching."""
    folder = stopped.folder
    (folder / "x").mkdir()
    (folder / "x").chmod(0o777)
    (folder / "link").symlink_to("x/channel")
    for name, (place, address, environment) in FORMS.items():
        squatter = stranger("squatter.py", place.replace("F", str(folder)), behaviour)
        environment = {key: value.replace("F", str(folder)) for key, value in environment.items()}
        client = start(address.replace("F", str(folder)), **environment)
        for call in (SIGN, ("credential", "orders"), ("watch", "orders", 0)):
            outcome, _, text = client(*call)
            assert outcome == "access-denied", (name, outcome, text)
            assert "user 5," in text and "nothing was sent" in text, (name, text)
        squatter.was_told_nothing()
        squatter.end()
        (folder / "x/channel").unlink(missing_ok=True)
        (folder / "x/bus").unlink(missing_ok=True)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("form", ["@F/run/channel", "F/x/bus"])
def test_no_secret_of_a_command(stopped, stranger, form, behaviour):
    """A PIN, a bundle with its passphrase, a gateway's files: the commands that root would be robbed by."""
    folder = stopped.folder
    (folder / "x").mkdir()
    (folder / "x").chmod(0o777)
    place = form.replace("F", str(folder))
    squatter = stranger("squatter.py", place, behaviour)
    address = f"unix:abstract={place[1:]}" if place[0] == "@" else f"unix:path={place}"
    (folder / "secret").write_text("TOKEN-PIN-1234")
    key = pki.key("ec-p256")
    (folder / "bundle").write_bytes(pki.p12(key, pki.certificate(key), (), b"TOKEN-PIN-1234"))
    commands = [
        ("source", "unlock", "hsm", "--passphrase-file", folder / "secret"),
        ("certificate", "import", "client", folder / "bundle", "--source", "hsm", "--passphrase-file", folder / "secret"),
        ("backend", "watch", "orders", "--chain", folder / "chain.pem", "--key", folder / "chain.pem.key", "--conf",
         folder / "conf", "--for", "haproxy", "--exec", f"touch {folder}/ran"),
        ("certificate", "export", "client", "-o", folder / "out", "--passphrase-file", folder / "secret"),
        ("certificate", "sign", "client", "--algorithm", "ecdsa-sha256", "--in", folder / "secret", "-o", folder / "out"),
        ("status",),
    ]
    for command in commands:
        done = subprocess.run([CLI, "--bus", address, *command], env=stopped.environment(), capture_output=True,
                              text=True, check=False, timeout=20 * PATIENCE)
        assert done.returncode == 4 and "nothing was sent" in done.stderr, (command, done)
    for name in ("chain.pem", "conf", "ran", "out"):
        assert not (folder / name).exists(), name
    squatter.was_told_nothing()


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_no_signature_of_the_provider(broker, stranger, behaviour):
    broker.import_new("client")
    (broker.folder / "key.pem").write_bytes(broker.cli("certificate", "key", "client").stdout)
    squatter = stranger("squatter.py", f"@{broker.folder}/x/channel", behaviour)
    for bus in (f"unix:abstract={broker.folder}/x/channel", f"unix:abstract={broker.folder}/x/channel,guid=00"):
        environment = {**broker.foreign_environment(OPENSSL_MODULES=MODULES), "CERTBROKER_BUS": bus}
        done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", broker.folder / "key.pem", "-out", "/dev/null",
                               broker.config], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "nothing was sent" in done.stderr, done.stderr
    squatter.was_told_nothing()


def test_nobody_at_the_usual_channel(stopped, stranger):
    """Where the system bus is out of reach: in a network namespace of its own, for that name is the host's."""
    squatter = stranger("squatter.py", "@/run/certbroker/channel", "bus", before=("unshare", "--net"))
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{squatter.process.pid}/ns/net", CLI, "source", "show", "hsm"], capture_output=True,
        env=stopped.environment(DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent"), check=False)
    assert done.returncode == 6
    squatter.was_told_nothing()


def test_user_without_a_number(stopped, start, stranger):
    """In a user namespace all whom it does not know have one number, which may be one's own."""
    squatter = stranger("squatter.py", f"@{stopped.folder}/x/channel", "channel")
    client = start(f"unix:abstract={stopped.folder}/x/channel",
                   before=("unshare", "--user", "--map-user=65534", "--map-group=65534"))
    outcome, _, text = client(*SIGN)
    assert outcome == "access-denied" and "user 65534," in text
    squatter.was_told_nothing()


def test_goes_on_to_the_next_address(broker, start, stranger):
    """A stranger at one address keeps nobody from the broker at another."""
    cert = broker.import_new("client", "rsa-2048")
    squatter = stranger("squatter.py", f"@{broker.folder}/x/channel", "bus")
    addresses = str(broker.get(ROOT, "Manager", "ChannelAddress"))
    client = start(f"unix:abstract={broker.folder}/x/channel;{addresses}")
    verify(cert, client.ok(*SIGN))
    squatter.was_told_nothing()


def verify(cert, text):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils
    cert.public_key().verify(bytes.fromhex(text), DIGEST, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


def test_channel_of_a_stranger_is_not_used(broker, start, stranger):
    """The broker on the bus tells where its channel is; somebody else is there: the bus is used."""
    cert = broker.import_new("client", "rsa-2048")
    squatter = stranger("squatter.py", f"@{broker.runtime}/channel", "channel", before=("unshare", "--net"))
    (broker.runtime / "channel").unlink()
    client = start(broker.bus_address, before=("nsenter", f"--net=/proc/{squatter.process.pid}/ns/net"))
    verify(cert, client.ok(*SIGN))
    squatter.was_told_nothing()


def test_what_answers_does_not_decide(broker, start):
    """A channel under a bus's name is no bus, though the broker himself is there."""
    broker.import_new("client", "rsa-2048")
    (broker.folder / "link").symlink_to(broker.runtime / "channel")
    outcome, _, text = start(f"unix:path={broker.folder}/link")(*SIGN)
    assert outcome == "failed" and "no D-Bus message bus" in text
    (broker.folder / "x").mkdir()
    (broker.folder / "x/channel").symlink_to(broker.folder / "bus")
    assert start(f"unix:path={broker.folder}/x/channel")(*SIGN)[0] in ("failed", "unreachable", "access-denied")


def test_watch_goes_on_after_a_stranger(broker, start, stranger):
    """Who takes the abstract name while the broker restarts holds up nobody for long."""
    broker.import_new("client")
    broker.create_backend("orders", "client")
    address = f"unix:path={broker.runtime}/channel;unix:abstract={broker.folder}/x/channel"
    client = start(address)
    assert client("watch", "orders", 1000)[0] == "ok"
    broker.stop()
    squatter = stranger("squatter.py", f"@{broker.folder}/x/channel", "bus")
    assert client("watch", "orders", 3000 * PATIENCE)[0] == "access-denied"
    broker.start()
    outcome, msec, text = client("watch", "orders", 20000 * PATIENCE)
    assert outcome == "ok" and msec < 10000 * PATIENCE, (outcome, msec, text)
    squatter.was_told_nothing()


# the broker's name on a bus where anybody may take it

def test_name_of_a_stranger(stopped, start, stranger):
    owner = stranger("name_owner.py", stopped.bus_address)
    client = start(stopped.bus_address)
    for call in (SIGN, ("watch", "orders", 0)):
        outcome, _, text = client(*call)
        assert outcome == "access-denied" and "org.certbroker1" in text and "user 5," in text, text
    (stopped.folder / "pin").write_text("1234")
    done = stopped.cli("source", "unlock", "hsm", "--passphrase-file", str(stopped.folder / "pin"))
    assert done.returncode == 4 and b"nothing was sent" in done.stderr
    assert owner.lines() == []


def test_name_taken_over(broker, start, stranger):
    """The name's owner is looked at again, and no call goes to whoever has the name at the moment."""
    cert = broker.import_new("client", "rsa-2048")
    # so that the client stays on the bus: the path goes, and the abstract name is in another namespace
    (broker.runtime / "channel").unlink()
    client = start(broker.bus_address, before=("unshare", "--net"))
    verify(cert, client.ok(*SIGN))
    assert client.ok("threads", "client", "rsa-pkcs1-sha256", 4, 2) == "0 0"  # several idle connections
    broker.kill()
    owner = stranger("name_owner.py", broker.bus_address)
    outcome, _, text = client(*SIGN)
    assert outcome == "access-denied" and "user 5," in text
    owner.end()
    assert owner.lines() == []
    broker.start()
    (broker.runtime / "channel").unlink()
    verify(cert, client.ok(*SIGN))


class FakeBus:
    """A message bus of our own user, on which a stranger is quicker: each answer comes after one that he forged."""

    def __init__(self, path):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(path))
        self.server.listen(8)
        threading.Thread(target=self.run, daemon=True).start()

    @staticmethod
    def reply(serial, sender, signature, body, error=b""):
        def text(value):
            return struct.pack("<I", len(value)) + value + b"\0"
        fields = b"\x05\x01u\0" + struct.pack("<I", serial) + b"\x07\x01s\0" + text(sender)
        if error:
            fields += b"\0" * (-len(fields) % 8) + b"\x04\x01s\0" + text(error)
        if signature:
            fields += b"\0" * (-len(fields) % 8) + b"\x08\x01g\0" + bytes([len(signature)]) + signature + b"\0"
        head = struct.pack("<BBBBIII", ord("l"), 3 if error else 2, 0, 1, len(body), 1, len(fields)) + fields
        return head + b"\0" * (-len(head) % 8) + body

    def answers(self, call, serial):
        def text(value):
            return struct.pack("<I", len(value)) + value + b"\0"

        def bytes_of(value):
            return struct.pack("<I", len(value)) + value
        dbus_name, broker, stranger = b"org.freedesktop.DBus", b":1.5", b":1.66"
        if b"Hello" in call:
            return [self.reply(serial, dbus_name, b"s", text(b":1.9"))]
        if b"GetNameOwner" in call:
            return [self.reply(serial, stranger, b"s", text(stranger)), self.reply(serial, dbus_name, b"s", text(broker))]
        if b"GetConnectionUnixUser" in call:
            uid = struct.pack("<I", os.getuid() if broker in call else 5)
            return [self.reply(serial, stranger, b"u", struct.pack("<I", 12)), self.reply(serial, dbus_name, b"u", uid)]
        if b"Properties" in call:
            return [self.reply(serial, stranger, b"", b"", b"org.certbroker1.Error.Failed"),
                    self.reply(serial, broker, b"", b"", b"org.certbroker1.Error.NotSupported")]
        return [self.reply(serial, stranger, b"ay", bytes_of(b"forged")), self.reply(serial, broker, b"ay", bytes_of(b"true"))]

    def run(self):
        connection, _ = self.server.accept()
        data = b""
        while b"BEGIN\r\n" not in data:
            data += connection.recv(4096)
        connection.sendall(LOGIN)
        data = data.split(b"BEGIN\r\n", 1)[1]
        while True:
            while len(data) < 16:
                data += connection.recv(4096)
            n_body, serial, n_fields = struct.unpack("<III", data[4:16])
            size = 16 + n_fields + -n_fields % 8 + n_body
            while len(data) < size:
                data += connection.recv(4096)
            for answer in self.answers(data[:size], serial):
                connection.sendall(answer)
            data = data[size:]

    def close(self):
        self.server.close()


def test_forged_answers_on_a_bus(stopped, start):
    """An answer counts if it is of whom was asked."""
    bus = FakeBus(stopped.folder / "fake")
    assert bytes.fromhex(start(f"unix:path={stopped.folder}/fake").ok(*SIGN)) == b"true"
    bus.close()
