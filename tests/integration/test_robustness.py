# SPDX-License-Identifier: Apache-2.0
"""Messages that no honest client sends: the contract's error, nothing changed, the daemon still serving."""

import os
import socket
import struct

import dbus
import pki
import pytest

from broker import (INVALID_ARGS, NAME, OBJECT_MANAGER, PEER, PROPERTIES, ROOT, Failure, backend_path, certificate_path,
                    memfd, source_path, wait_until)
from test_metrics import value
from test_objects import METHODS

UNKNOWN = "org.freedesktop.DBus.Error.Unknown"


@pytest.fixture
def serving(broker):
    broker.cert = broker.import_new("client")
    broker.create_backend("orders", "client")
    before = (dict(broker.certificate_properties("client")), dict(broker.backend_properties("orders")))
    pid = broker.daemon.pid
    yield broker
    assert broker.daemon.pid == pid and broker.daemon.poll() is None
    assert (dict(broker.certificate_properties("client")), dict(broker.backend_properties("orders"))) == before
    signature = broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
    pki.verify(broker.cert.public_key(), "ecdsa-sha256", signature, b"m")


PATHS = {"Manager": ROOT, "Certificate": certificate_path("client"), "Backend": backend_path("orders"),
         "Source": source_path("hsm")}

EXAMPLES = {  # a value of a type that none of our methods begins with
    "d": dbus.Double(1.5), "i": dbus.Int32(1), "a{ss}": dbus.Dictionary({}, signature="ss"), "g": dbus.Signature("s"),
    "(ss)": dbus.Struct(("a", "b"), signature="ss"), "y": dbus.Byte(1), "v": dbus.String("x", variant_level=1),
    "aas": dbus.Array([["x"]], signature="as"),
}


def test_wrong_types(serving):
    """Every method of every interface, with arguments of other types, too few and too many."""
    for interface, methods in METHODS.items():
        for method, (signature, _) in methods.items():
            for wrong, value in EXAMPLES.items():
                with pytest.raises(Failure) as caught:
                    serving.call(PATHS[interface], f"org.certbroker1.{interface}", method, wrong, value)
                assert caught.value.full_name == INVALID_ARGS, (interface, method, wrong, str(caught.value))
            if signature:
                with pytest.raises(Failure) as caught:
                    serving.call(PATHS[interface], f"org.certbroker1.{interface}", method)
                assert caught.value.full_name == INVALID_ARGS, (interface, method)


def test_one_argument_too_many(serving):
    with pytest.raises(Failure) as caught:
        serving.backend("orders", "GetCredential", "s", "x")
    assert caught.value.full_name == INVALID_ARGS
    with pytest.raises(Failure) as caught:
        serving.manager("GetCertificate", "ss", "client", "x")
    assert caught.value.full_name == INVALID_ARGS


def test_wrong_types_of_the_standard_interfaces(serving):
    for path in PATHS.values():
        for method in ("Get", "GetAll", "Set"):
            with pytest.raises(Failure) as caught:
                serving.call(path, PROPERTIES, method, "u", dbus.UInt32(1))
            assert caught.value.full_name == INVALID_ARGS
        with pytest.raises(Failure) as caught:
            serving.call(path, PEER, "Ping", "s", "x")
        assert caught.value.full_name == INVALID_ARGS


def test_property_of_the_wrong_type(serving):
    for name, value in (("Url", dbus.UInt32(1)), ("ValidateChain", "yes"), ("ServerNames", "x"),
                        ("SkipUntil", "tomorrow"), ("ServerThumbprints", dbus.Array([1], "u"))):
        with pytest.raises(Failure) as caught:
            serving.set(backend_path("orders"), "Backend", name, value)
        assert caught.value.full_name == INVALID_ARGS, (name, str(caught.value))


def test_options_of_the_wrong_type(serving):
    """As arguments and properties of wrong types: D-Bus's own error, whatever dictionary they are in."""
    def options(**values):
        return dbus.Dictionary(values, signature="sv")

    fd = dbus.types.UnixFd(memfd(b"x"))
    calls = (
        (serving.manager, "ImportCertificate", "sshha{sv}", "bad", "hsm", fd, fd, options(force="yes")),
        (serving.manager, "GenerateKey", "sssa{sv}", "bad", "hsm", "ec-p256", options(replace=dbus.UInt32(1))),
        (serving.manager, "RegisterCertificate", "ssa{sv}", "bad", "pkcs11:object=x", options(source=dbus.Boolean(True))),
        (serving.manager, "CreateBackend", "sa{sv}", "bad", options(Url=dbus.Boolean(True), Certificate="client")),
        (serving.manager, "CheckAccess", "a{sv}so", options(uid="root"), "read", ROOT),
        (serving.certificate, "client", "InstallCertificate", "ha{sv}", fd, options(force=dbus.Int32(1))),
        (serving.certificate, "client", "Delete", "a{sv}", options(**{"destroy-key": "yes"})),
        (serving.backend, "orders", "Change", "a{sv}", options(ServerNames="x")),
    )
    for function, *arguments in calls:
        with pytest.raises(Failure) as caught:
            function(*arguments)
        assert caught.value.full_name == INVALID_ARGS, (arguments, str(caught.value))


def test_unknown_members(serving):
    for path in PATHS.values():
        for interface, member, expected in (
                ("org.certbroker1.Certificate", "Nonsense", ("UnknownMethod", "UnknownInterface")),
                ("org.certbroker1.Nonsense", "Sign", ("UnknownInterface", "UnknownMethod")),
                ("org.freedesktop.DBus.Nonsense", "Ping", ("UnknownInterface", "UnknownMethod")),
                (PEER, "Nonsense", ("UnknownMethod",))):
            with pytest.raises(Failure) as caught:
                serving.call(path, interface, member)
            assert caught.value.full_name in [f"org.freedesktop.DBus.Error.{e}" for e in expected], \
                (path, interface, member, str(caught.value))


def test_members_of_other_objects(serving):
    """Sign is on certificates alone."""
    with pytest.raises(Failure) as caught:
        serving.call(ROOT, "org.certbroker1.Certificate", "Refresh")
    assert caught.value.full_name.startswith(UNKNOWN)
    with pytest.raises(Failure) as caught:
        serving.call(certificate_path("client"), OBJECT_MANAGER, "GetManagedObjects")
    assert caught.value.full_name.startswith(UNKNOWN)


def test_unknown_properties(serving):
    for interface, path in PATHS.items():
        for call in (("Get", "ss", f"org.certbroker1.{interface}", "Nonsense"),
                     ("Set", "ssv", f"org.certbroker1.{interface}", "Nonsense", "x")):
            with pytest.raises(Failure) as caught:
                serving.call(path, PROPERTIES, *call)
            assert caught.value.full_name == UNKNOWN + "Property", (interface, call, str(caught.value))
        for call in (("Get", "ss", "org.certbroker1.Nonsense", "Id"), ("GetAll", "s", "org.certbroker1.Nonsense")):
            with pytest.raises(Failure) as caught:
                serving.call(path, PROPERTIES, *call)
            assert caught.value.full_name == UNKNOWN + "Interface", (interface, call, str(caught.value))


def test_get_without_an_interface(serving):
    """The specification lets an implementation look for it, or refuse; ours refuses."""
    with pytest.raises(Failure) as caught:
        serving.call(certificate_path("client"), PROPERTIES, "Get", "ss", "", "Id")
    assert caught.value.full_name == UNKNOWN + "Interface"


def test_method_without_an_interface(serving):
    """D-Bus lets a caller leave the interface out."""
    message = dbus.lowlevel.MethodCallMessage(NAME, backend_path("orders"), None, "GetCredential")
    reply = serving.connection.send_message_with_reply_and_block(message, 10)
    assert reply.get_args_list()[0]["id"] == "client"


def test_odd_paths(serving):
    for path in ("/", "/org", f"{ROOT}/certificate", f"{ROOT}/certificate/client/x", f"{ROOT}/nonsense",
                 f"{ROOT}/certificate/_", f"{ROOT}/certificate/_zz", f"{ROOT}/certificate/_2",
                 f"{ROOT}/certificate/_63lient", f"{ROOT}/certificate/c" + "_2e" * 1000,
                 f"{ROOT}/backend/client", "/" + "x/" * 5000 + "x"):
        with pytest.raises(Failure) as caught:
            serving.call(path, "org.certbroker1.Certificate", "Refresh")
        assert caught.value.name == "NotFound" or caught.value.full_name.startswith(UNKNOWN), \
            (path, str(caught.value))


def test_no_reply_expected(serving):
    """A call that wants no answer gets none, and is done."""
    message = dbus.lowlevel.MethodCallMessage(NAME, certificate_path("client"), "org.certbroker1.Certificate",
                                              "SetEnabled")
    message.append(False, signature="b")
    message.set_no_reply(True)
    serving.connection.send_message(message)
    serving.connection.flush()
    wait_until(lambda: serving.certificate_properties("client")["State"] == "disabled", "disabled")
    serving.certificate("client", "SetEnabled", "b", True)


def test_long_strings(serving):
    for n in (1000, 1 << 20, 16 << 20):
        with pytest.raises(Failure) as caught:
            serving.manager("GetCertificate", "s", "x" * n)
        assert caught.value.name in ("InvalidArgument", "NotFound")
        assert len(caught.value.message) < 4096
        with pytest.raises(Failure):
            serving.manager("RegisterCertificate", "ssa{sv}", "x" * n, "pkcs11:", dbus.Dictionary({}, signature="sv"))


def test_oversize_message(serving):
    """Larger than D-Bus allows (libdbus would not send it): that connection is ended, no one else is concerned."""
    path = str(serving.get(ROOT, "Manager", "ChannelAddress")).split(";")[0][len("unix:path="):].split(",")[0]
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n")
        s.recv(200)
        s.sendall(b"BEGIN\r\nl\1\0\1" + struct.pack("<III", 0x7FFFFFF0, 1, 0) + bytes(4096))
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
    serving.call(ROOT, PEER, "Ping")


def test_large_input(serving):
    with pytest.raises(Failure) as caught:
        serving.sign("client", "ecdsa-sha256", bytes(20 << 20))
    assert caught.value.name == "InvalidArgument"


def test_many_options(serving):
    options = dbus.Dictionary({f"option-{i}": dbus.Boolean(True) for i in range(10000)}, signature="sv")
    with pytest.raises(Failure) as caught:
        serving.certificate("client", "Delete", "a{sv}", options)
    assert caught.value.name == "InvalidArgument"


def test_deep_variants(serving):
    value = dbus.String("x")
    for _ in range(30):
        value = dbus.Array([value], signature="v")
    with pytest.raises(Failure):
        serving.certificate("client", "Delete", "a{sv}", dbus.Dictionary({"destroy-key": value}, signature="sv"))


def test_descriptors_where_none_belong(serving):
    """Sixteen with every message, to every interface, again and again: none is kept."""
    before = len(os.listdir(f"/proc/{serving.daemon.pid}/fd"))
    fds = [dbus.types.UnixFd(memfd(b"x")) for _ in range(16)]
    for _ in range(40):
        for path, interface, method in ((PATHS["Certificate"], "org.certbroker1.Certificate", "Refresh"),
                                        (PATHS["Backend"], "org.certbroker1.Backend", "GetCredential"),
                                        (ROOT, "org.certbroker1.Manager", "Nonsense"), (ROOT, PEER, "Ping")):
            with pytest.raises(Failure):
                serving.call(path, interface, method, "h" * 16, *fds)
    # a thread closes them, for that may take as long as whoever handed them in likes
    wait_until(lambda: len(os.listdir(f"/proc/{serving.daemon.pid}/fd")) <= before + 2, "descriptors are given back")


def test_many_connections_that_come_and_go(serving):
    before = len(os.listdir(f"/proc/{serving.daemon.pid}/fd"))
    for _ in range(200):
        connection = serving.connect()
        serving.certificate_properties("client", connection=connection)
        connection.close()
    wait_until(lambda: len(os.listdir(f"/proc/{serving.daemon.pid}/fd")) <= before + 2, "descriptors are given back")


def test_caller_that_goes_away(serving):
    """Calls whose caller does not wait for the answer: what was kept for them is given back."""
    descriptors = len(os.listdir(f"/proc/{serving.daemon.pid}/fd"))
    for i in range(50):
        connection = serving.connect()
        message = dbus.lowlevel.MethodCallMessage(NAME, certificate_path("client"), "org.certbroker1.Certificate",
                                                  "Sign")
        message.append(dbus.UInt64(0), "ecdsa-sha256", dbus.ByteArray(bytes(32)), signature="tsay")
        connection.send_message(message)
        connection.flush()
        connection.close()
    serving.call(ROOT, PEER, "Ping")
    wait_until(lambda: value(serving, "certbroker_calls_in_flight") == 1, "none is left but the one that asks")
    wait_until(lambda: value(serving, "certbroker_source_queue", source="hsm") == 0, "nor in the source")
    wait_until(lambda: len(os.listdir(f"/proc/{serving.daemon.pid}/fd")) <= descriptors, "no descriptor is left")


def test_signals_and_replies_to_the_broker(serving):
    """What nobody asked for is ignored."""
    for _ in range(50):
        signal = dbus.lowlevel.SignalMessage(ROOT, "org.freedesktop.DBus", "NameOwnerChanged")
        signal.append("org.certbroker1", ":1.0", "", signature="sss")
        signal.set_destination(NAME)
        serving.connection.send_message(signal)
        signal = dbus.lowlevel.SignalMessage("/x", "a.b", "C")
        signal.set_destination(NAME)
        serving.connection.send_message(signal)
    serving.connection.flush()
    serving.call(ROOT, PEER, "Ping")


def test_random_messages_on_the_channel(serving):
    """Well-framed D-Bus messages with random bodies and flipped bytes, from a fixed seed."""
    import random
    path = str(serving.get(ROOT, "Manager", "ChannelAddress")).split(";")[0][len("unix:path="):].split(",")[0]
    rng = random.Random(20240501)

    def string(text):
        data = text.encode()
        return struct.pack("<I", len(data)) + data + b"\0"

    def pad(data, to):
        return data + bytes(-len(data) % to)

    def field(code, signature, value):
        return bytes([code, 1]) + signature.encode() + b"\0" + value

    def call(path, interface, member, signature, body):
        fields = b""
        for code, type, text in ((1, "o", path), (2, "s", interface), (3, "s", member)):
            fields = pad(fields, 8) + field(code, type, string(text))
        if signature:
            fields = pad(fields, 8) + bytes([8, 1]) + b"g\0" + bytes([len(signature)]) + signature.encode() + b"\0"
        header = b"l\1\0\1" + struct.pack("<III", len(body), rng.randrange(1, 1 << 32), len(fields)) + fields
        return pad(header, 8) + body

    hello = b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\n"
    for round in range(150):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(path)
        s.sendall(hello)
        s.recv(200)
        body = struct.pack("<Q", rng.choice((0, 1, 1 << 63))) + string("ecdsa-sha256")
        body = pad(body, 4) + struct.pack("<I", 32) + bytes(32)
        message = bytearray(call(certificate_path("client"), "org.certbroker1.Certificate", "Sign", "tsay", body))
        for _ in range(rng.randrange(0, 6)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        try:
            s.sendall(b"BEGIN\r\n" + bytes(message[:rng.randrange(1, len(message) + 1)] if round % 3 else message))
            s.settimeout(0.02)
            s.recv(4096)
        except OSError:
            pass
        s.close()
