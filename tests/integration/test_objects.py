# SPDX-License-Identifier: Apache-2.0
"""What the bus shows: properties, lists, selectors, ObjectManager, introspection, signals."""

import calendar
import contextlib
import sqlite3
import xml.etree.ElementTree as ElementTree
from random import Random

import dbus
import dbus.connection
import dbus.lowlevel
import dbus.mainloop.glib
import pki
import pytest

from broker import (INTROSPECTABLE, NAME, OBJECT_MANAGER, PEER, PROPERTIES, ROOT, backend_path, certificate_path,
                    source_path, wait_until)
from gi.repository import GLib
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

CERTIFICATE_PROPERTIES = {
    "Id": "s", "Source": "s", "KeyUri": "s", "State": "s", "Generation": "t", "Generations": "a(tst)",
    "Subject": "s", "Issuer": "s", "SerialNumber": "s", "SubjectAltNames": "as", "Thumbprint": "s",
    "ThumbprintSha256": "s", "NotBefore": "t", "NotAfter": "t", "KeyType": "s", "Algorithms": "as",
    "SelfSigned": "b", "Extractable": "b", "Backends": "as", "LastRefresh": "t", "NextRefresh": "t",
    "LastError": "s",
}
BACKEND_PROPERTIES = {
    "Name": "s", "Url": "s", "Certificate": "s", "ValidateChain": "b", "ValidateName": "b", "ServerNames": "as",
    "CaFile": "s", "ServerThumbprints": "as", "SkipReason": "s", "SkipUntil": "t",
}
SOURCE_PROPERTIES = {"Name": "s", "Driver": "s", "Uri": "s", "State": "s", "LastError": "s", "LastReady": "t"}
METHODS = {
    "Manager": {
        "ImportCertificate": ("sshha{sv}", "o"), "GenerateKey": ("sssa{sv}", "o"),
        "RegisterCertificate": ("ssa{sv}", "o"), "CreateBackend": ("sa{sv}", "o"), "GetCertificate": ("s", "o"),
        "ListCertificates": ("su", "aa{sv}"), "CheckAccess": ("a{sv}so", "bs"), "OpenAudit": ("", "hts"),
        "Reload": ("", ""), "GetMetrics": ("", "s"),
    },
    "Certificate": {
        "Sign": ("tsay", "ay"), "SignTls": ("tssay", "ay"), "Decrypt": ("tsay", "ay"),
        "CreateRequest": ("sas", "ay"), "InstallCertificate": ("ha{sv}", ""), "SetCurrent": ("t", ""),
        "Retire": ("t", ""), "Refresh": ("", ""), "SetEnabled": ("b", ""), "Delete": ("a{sv}", ""),
        "Export": ("sh", "h"),
        "GetChain": ("t", "aay"),
    },
    "Backend": {"GetCredential": ("", "a{sv}"), "Change": ("a{sv}", ""), "Delete": ("", "")},
    "Source": {"Refresh": ("", ""), "Unlock": ("h", "")},
}


def unix(moment):
    return calendar.timegm(moment.timetuple())


def signature_of(value):
    """The D-Bus type of a property's value as it came."""
    if isinstance(value, dbus.Array):
        return "a" + value.signature
    for kind, letter in ((dbus.String, "s"), (dbus.UInt64, "t"), (dbus.Boolean, "b"), (dbus.ObjectPath, "o")):
        if isinstance(value, kind):
            return letter
    raise AssertionError(type(value))


def test_certificate_properties(broker):
    ca = pki.Issuer("Test Root, with a comma")
    serial = 0x0123456789ABCDEF0123
    cert = pki.certificate(pki.key("ec-p256"), issuer=ca, serial=serial, sans=("a.example", "*.b.example"),
                           subject=pki.name("client, \"one\"", organization="Exämple+Co"))
    broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert, (ca.certificate,)), b"secret")
    properties = broker.certificate_properties("client")
    assert {k: signature_of(v) for k, v in properties.items()} == CERTIFICATE_PROPERTIES
    assert properties["Id"] == "client"
    assert properties["Source"] == "hsm"
    assert properties["KeyUri"].startswith("pkcs11:")
    assert "pin" not in properties["KeyUri"]
    assert properties["State"] == "active"
    assert properties["Subject"] == cert.subject.rfc4514_string()
    assert properties["Issuer"] == ca.name.rfc4514_string()
    assert int(properties["SerialNumber"], 16) == serial
    assert list(properties["SubjectAltNames"]) == ["DNS:a.example", "DNS:*.b.example"]
    assert properties["Thumbprint"] == pki.thumbprint(cert)
    assert properties["ThumbprintSha256"].upper() == pki.thumbprint(cert, "sha256")
    assert properties["NotBefore"] == unix(cert.not_valid_before)
    assert properties["NotAfter"] == unix(cert.not_valid_after)
    assert properties["KeyType"] == "ec-p256"
    assert properties["SelfSigned"] == False  # noqa: E712
    assert list(properties["Backends"]) == []
    assert properties["LastError"] == ""
    assert broker.chain("client") == [pki.der(cert), pki.der(ca.certificate)]
    # one by one they are the same
    for name in CERTIFICATE_PROPERTIES:
        assert broker.get(certificate_path("client"), "Certificate", name) == properties[name]


def test_subject_alt_names_of_every_kind(broker):
    import ipaddress
    key = pki.key("ec-p256")
    names = [x509.DNSName("a.example"), x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
             x509.IPAddress(ipaddress.ip_address("2001:db8::1")), x509.RFC822Name("me@a.example"),
             x509.UniformResourceIdentifier("spiffe://a.example/x")]
    from cryptography.hazmat.primitives import hashes
    cert = (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(pki.name("i"))
            .public_key(key.public_key()).serial_number(1).not_valid_before(pki.NOW - pki.DAY)
            .not_valid_after(pki.NOW + pki.DAY)
            .add_extension(x509.SubjectAlternativeName(names), critical=True).sign(key, hashes.SHA256()))
    broker.import_bundle("client", pki.pem(key, cert))
    shown = list(broker.certificate_properties("client")["SubjectAltNames"])
    assert shown[0] == "DNS:a.example"
    assert shown[1] == "IP:192.0.2.1"
    assert ipaddress.ip_address(shown[2][3:]) == ipaddress.ip_address("2001:db8::1")
    assert shown[3] == "email:me@a.example"
    assert shown[4] == "URI:spiffe://a.example/x"
    assert broker.certificate_properties("client")["Subject"] == ""


def test_backend_properties(broker):
    broker.import_new("client")
    assert broker.create_backend("orders", "client", "https://orders.example/") == backend_path("orders")
    properties = broker.backend_properties("orders")
    assert {k: signature_of(v) for k, v in properties.items()} == BACKEND_PROPERTIES
    assert dict(properties) == {
        "Name": "orders", "Url": "https://orders.example/", "Certificate": "client", "ValidateChain": True,
        "ValidateName": True, "ServerNames": [], "CaFile": "", "ServerThumbprints": [], "SkipReason": "",
        "SkipUntil": 0}


def test_source_properties(broker):
    properties = broker.source_properties("hsm")
    assert {k: signature_of(v) for k, v in properties.items()} == SOURCE_PROPERTIES
    assert (properties["Name"], properties["Driver"], properties["State"]) == ("hsm", "pkcs11", "ready")
    assert properties["Uri"] == "pkcs11:token=test"
    assert properties["LastError"] == ""
    assert properties["LastReady"] > 1600000000


def test_manager_properties(broker):
    properties = broker.get_all(ROOT, "Manager")
    assert set(properties) == {"Version", "ChannelAddress"}
    assert properties["Version"].count(".") >= 1
    assert properties["ChannelAddress"].startswith("unix:")


def test_properties_are_read_only(broker, refused):
    broker.import_new("client")
    broker.create_backend("orders", "client")
    for path, interface, name in ((certificate_path("client"), "Certificate", "Id"),
                                  (certificate_path("client"), "Certificate", "State"),
                                  (backend_path("orders"), "Backend", "Name"),
                                  (source_path("hsm"), "Source", "Uri"), (ROOT, "Manager", "Version")):
        refused("org.freedesktop.DBus.Error.PropertyReadOnly", broker.set, path, interface, name, "x")


def test_chain_is_in_no_bulk_answer(broker):
    broker.import_new("client")
    assert "Chain" not in broker.certificate_properties("client")
    objects = broker.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")
    assert "Chain" not in objects[certificate_path("client")]["org.certbroker1.Certificate"]
    assert "Chain" not in broker.manager("ListCertificates", "su", "", dbus.UInt32(10))[0]
    chain = broker.get(certificate_path("client"), "Certificate", "Chain")
    assert chain.signature == "ay"


def test_managed_objects(broker):
    broker.import_new("client")
    broker.create_backend("orders", "client")
    objects = broker.call(ROOT, OBJECT_MANAGER, "GetManagedObjects")
    assert set(objects) == {certificate_path("client"), backend_path("orders"), source_path("hsm")}
    assert objects[certificate_path("client")]["org.certbroker1.Certificate"] == \
        broker.certificate_properties("client")
    assert objects[backend_path("orders")]["org.certbroker1.Backend"] == broker.backend_properties("orders")
    assert objects[source_path("hsm")]["org.certbroker1.Source"]["Name"] == "hsm"


def test_list_certificates_in_pages(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    ids = sorted(f"client-{i}" for i in range(7)) + ["x.y"]
    for id in ids:
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
    seen, after = [], ""
    while True:
        page = broker.manager("ListCertificates", "su", after, dbus.UInt32(3))
        assert len(page) <= 3
        if not page:
            break
        seen += [str(row["Id"]) for row in page]
        after = seen[-1]
    assert seen == sorted(ids)
    assert dict(page_row(broker, "client-3")) == dict(broker.certificate_properties("client-3"))
    # `after` need not exist, nor be an id
    assert [r["Id"] for r in broker.manager("ListCertificates", "su", "client-55", dbus.UInt32(1))] == ["client-6"]
    assert broker.manager("ListCertificates", "su", "zzz", dbus.UInt32(9)) == []


def page_row(broker, id):
    return next(r for r in broker.manager("ListCertificates", "su", "", dbus.UInt32(100)) if r["Id"] == id)


def test_selectors(broker, refused):
    cert = pki.certificate(pki.key("ec-p256"), subject=pki.name("one, two", organization="Org"))
    broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert), b"secret")
    broker.import_new("other", "ec-p384", "other.example")
    path = certificate_path("client")
    for algorithm in ("sha1", "sha256"):
        plain = pki.thumbprint(cert, algorithm)
        colons = ":".join(plain[i:i + 2] for i in range(0, len(plain), 2))
        blanks = colons.replace(":", " ").lower()
        for form in (plain, plain.lower(), colons, colons.lower(), plain[:10] + plain[10:].lower(), "\u200e" + blanks,
                     blanks + "\r\n", "\ufeff" + plain + "\u00a0", colons.replace(":", "-"),
                     f"{algorithm} Fingerprint={colons}", f"{algorithm.upper()}: {plain}"):
            assert broker.manager("GetCertificate", "s", form) == path
    assert broker.manager("GetCertificate", "s", "client") == path
    assert broker.manager("GetCertificate", "s", "subject=" + cert.subject.rfc4514_string()) == path
    # the same name in other words of RFC 4514
    for form in (r"cn=one\, two,o=Org", r"2.5.4.3=one\2C two,O=Org", r"CN=one\, two, O=Org"):
        assert broker.manager("GetCertificate", "s", "subject=" + form) == path, form
    for nothing in ("0" * 40, "f" * 64, "nobody", "subject=CN=nobody", "CLIENT"):
        refused("NotFound", broker.manager, "GetCertificate", "s", nothing)
    for bad in ("", "subject=", "a b", "/", "..", "0" * 41 + "/", "subject=CN", "ä", "x" * 100000):
        from broker import Failure
        with pytest.raises(Failure) as caught:
            broker.manager("GetCertificate", "s", bad)
        assert caught.value.name in ("NotFound", "InvalidArgument"), str(caught.value)
    for bad, why in ((colons[:-3], "has 62 hex digits"), ("\u200e" + blanks[:-1] + "g", "has 'g' at place 96"),
                     (plain[:-1] + "\u200ex", "has 'x' at place 65"), ("SHA256:" + "x" * 43, "has 'x' at place 8")):
        message = refused("NotFound", broker.manager, "GetCertificate", "s", bad)
        assert why in message and "\u200e" not in message, message
        assert ("\u200e" in bad) == (r"\xe2\x80\x8e" in message), message
    for bad, why in (("CN", "is not a distinguished name"), ("Foo=a", "a type that is not known: 'Foo'"),
                     ("CN=a\u200e,F\u200e=a", "is not a distinguished name"), ("OID.2.5.4.3=a", "without 'OID.'"),
                     ("CN=#04", "no value in DER")):
        message = refused("NotFound", broker.manager, "GetCertificate", "s", "subject=" + bad)
        assert why in message and "\u200e" not in message, message


AWKWARD = [*"abcXYZ019", *' ,+"\\\\<>;=#/', "é", "Я", "字", "😀", "\u200e", "\u202e", "\u200b", "\n", "\x01", "\u00a0"]
TEXTS = [NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.LOCALITY_NAME,
         NameOID.STATE_OR_PROVINCE_NAME, NameOID.STREET_ADDRESS, NameOID.TITLE, NameOID.USER_ID]
OTHER = x509.ObjectIdentifier("1.3.6.1.4.1.99999.7")


def random_attribute(random):
    """Of all characters and types that a name may have; those that only some authorities use, now and then."""
    text = "".join(random.choices(AWKWARD, k=random.randint(2, 12)))
    ascii = "".join(c for c in text if c.isascii() and c.isalnum()) or "x"
    return random.choice([
        *[lambda: x509.NameAttribute(random.choice(TEXTS), text)] * 6,
        lambda: x509.NameAttribute(OTHER, text),
        lambda: x509.NameAttribute(OTHER, ascii, _ASN1Type.PrintableString),
        lambda: x509.NameAttribute(NameOID.COUNTRY_NAME, random.choice(["DE", "FR"])),
        lambda: x509.NameAttribute(NameOID.SERIAL_NUMBER, ascii),
        lambda: x509.NameAttribute(NameOID.DOMAIN_COMPONENT, ascii),
        lambda: x509.NameAttribute(NameOID.EMAIL_ADDRESS, ascii + "@example.org"),
        lambda: x509.NameAttribute(random.choice(TEXTS), text.replace("😀", ""), _ASN1Type.BMPString)
        if text.replace("😀", "") else x509.NameAttribute(NameOID.TITLE, "x"),
        lambda: x509.NameAttribute(random.choice(TEXTS), text, _ASN1Type.UniversalString),
        lambda: x509.NameAttribute(random.choice(TEXTS), ascii, _ASN1Type.T61String),
    ])()


def random_name(random, i):
    sets = [x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, f"n{i}")])]
    for _ in range(random.randint(2, 7)):
        attributes = {a.oid: a for a in (random_attribute(random) for _ in range(random.choice([1, 1, 1, 2])))}
        sets.append(x509.RelativeDistinguishedName(attributes.values()))
    return x509.Name(random.sample(sets, len(sets)))


def test_names_there_and_back(broker):
    """A subject is found by what is shown of it, and by what the judge makes of it; asked for again it is the same name."""
    random, keys = Random(4514), pki.key("ec-p256")
    usual = {_ASN1Type.UTF8String, _ASN1Type.PrintableString, _ASN1Type.IA5String}
    for i in range(50):
        name = random_name(random, i)
        broker.import_bundle(f"n{i}", pki.pem(keys, pki.certificate(keys, subject=name)))
        shown = str(broker.certificate_properties(f"n{i}")["Subject"])
        assert not any(mark in shown for mark in "\u200e\u202e\u200b\n\x01"), ascii(shown)
        asked = [shown]
        if all(a._type in usual and (a.oid != OTHER or a._type == _ASN1Type.UTF8String) for a in name):
            asked.append(name.rfc4514_string().replace("\n", r"\0A"))  # libldap drops the end of a line at either end
            csr = x509.load_der_x509_csr(bytes(broker.certificate(f"n{i}", "CreateRequest", "sas", shown, [])))
            assert csr.subject == name, ascii(shown)
            assert sorted(a._type.value for a in csr.subject) == sorted(a._type.value for a in name), ascii(shown)
        for text in asked:
            assert broker.manager("GetCertificate", "s", "subject=" + text) == certificate_path(f"n{i}"), ascii(text)


def test_ambiguous_selectors(broker, refused):
    cert = pki.certificate(pki.key("ec-p256"))
    for id in ("one", "two"):
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
    for selector in (pki.thumbprint(cert), "subject=" + cert.subject.rfc4514_string()):
        message = refused("InvalidArgument", broker.manager, "GetCertificate", "s", selector)
        assert "one" in message and "two" in message


# introspection

def introspect(broker, path, **how):
    return ElementTree.fromstring(broker.call(path, INTROSPECTABLE, "Introspect", **how))


def test_introspection_describes_the_interfaces(broker):
    broker.import_new("client")
    broker.create_backend("orders", "client")
    expected = {
        ROOT: ("Manager", {"Version": "s", "ChannelAddress": "s"}),
        certificate_path("client"): ("Certificate", {**CERTIFICATE_PROPERTIES, "Chain": "aay"}),
        backend_path("orders"): ("Backend", BACKEND_PROPERTIES),
        source_path("hsm"): ("Source", SOURCE_PROPERTIES),
    }
    for path, (interface, properties) in expected.items():
        tree = introspect(broker, path)
        interfaces = {i.get("name"): i for i in tree.findall("interface")}
        standard = {INTROSPECTABLE, PEER, PROPERTIES} | ({OBJECT_MANAGER} if path == ROOT else set())
        assert set(interfaces) == standard | {f"org.certbroker1.{interface}"}, path
        ours = interfaces[f"org.certbroker1.{interface}"]
        assert {p.get("name"): p.get("type") for p in ours.findall("property")} == properties
        methods = {}
        for method in ours.findall("method"):
            arguments = {"in": "", "out": ""}
            for argument in method.findall("arg"):
                arguments[argument.get("direction", "in")] += argument.get("type")
            methods[method.get("name")] = (arguments["in"], arguments["out"])
        assert methods == METHODS[interface]


def test_introspection_lists_the_children(broker):
    broker.import_new("client")
    broker.import_new("client-2")
    assert {n.get("name") for n in introspect(broker, ROOT).findall("node")} >= {"certificate", "source"}
    assert {n.get("name") for n in introspect(broker, f"{ROOT}/certificate").findall("node")} == \
        {"client", "client_2d2"}
    assert {n.get("name") for n in introspect(broker, f"{ROOT}/source").findall("node")} == {"hsm"}
    # from the bus's own root down
    assert [n.get("name") for n in introspect(broker, "/").findall("node")] == ["org"]
    assert [n.get("name") for n in introspect(broker, "/org").findall("node")] == ["certbroker1"]


def test_installed_interface_is_what_is_answered(broker):
    import pathlib
    path = pathlib.Path(__file__).parents[2] / "include/org.certbroker1.xml"
    installed = {i.get("name"): i for i in ElementTree.parse(path).getroot().iter("interface")}
    assert {f"org.certbroker1.{i}" for i in METHODS} == set(installed)
    for interface, methods in METHODS.items():
        names = {m.get("name") for m in installed[f"org.certbroker1.{interface}"].findall("method")}
        assert names == set(methods)


# signals

def test_objects_come_and_go(broker, signals):
    seen = signals()
    broker.import_new("client")
    [added] = seen.wait("InterfacesAdded", ROOT)
    path, interfaces = added[3]
    assert path == certificate_path("client")
    assert interfaces["org.certbroker1.Certificate"] == broker.certificate_properties("client")
    broker.create_backend("orders", "client")
    seen.wait("PropertiesChanged", certificate_path("client"))  # Backends
    broker.backend("orders", "Delete")
    broker.delete_certificate("client")
    removed = seen.wait("InterfacesRemoved", ROOT) and [s[3] for s in seen.of("InterfacesRemoved")]
    assert [r[0] for r in removed] == [backend_path("orders"), certificate_path("client")]
    assert "org.certbroker1.Certificate" in removed[1][1]


def test_changes_are_told(broker, signals):
    broker.import_new("client", "rsa-2048")
    broker.create_backend("orders", "client")
    seen = signals()
    broker.certificate("client", "SetEnabled", "b", False)
    [changed] = seen.wait("PropertiesChanged", certificate_path("client"))
    interface, properties, invalidated = changed[3]
    assert interface == "org.certbroker1.Certificate"
    assert properties["State"] == "disabled"
    assert "Chain" not in properties
    broker.certificate("client", "SetEnabled", "b", True)
    seen.drain()
    seen.received.clear()
    broker.import_new("client", "ec-p256", replace=True)
    assert [tuple(map(int, s[3])) for s in seen.wait("Rotated", certificate_path("client"))] == [(2,)]
    assert [tuple(map(int, s[3])) for s in seen.wait("CredentialChanged", backend_path("orders"))] == [(2,)]
    assert len(seen.of("Rotated")) == len(seen.of("CredentialChanged")) == 1


def test_changes_while_objects_are_listed(stopped):
    """They are told after the list, which may have what was before: nobody is left with that."""
    stopped.start()
    stopped.import_new("client")
    stopped.stop()
    with contextlib.closing(sqlite3.connect(stopped.state / "certbroker.sqlite")) as database, database:
        database.executemany("INSERT INTO backend VALUES (?, 'https://localhost/', 'client', 1, 1, '', '', 0)",
                             [(f"backend-{i:05}",) for i in range(5000)])
    stopped.start()
    seen = []
    address = str(stopped.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
    connection = dbus.connection.Connection(address, mainloop=dbus.mainloop.glib.DBusGMainLoop())

    def on_message(_, message):
        arguments = message.get_args_list()
        if message.get_member() == "PropertiesChanged" and "State" in arguments[1]:
            seen.append(str(arguments[1]["State"]))
        elif isinstance(message, dbus.lowlevel.MethodReturnMessage):
            seen.append({str(path) for path in arguments[0]})
        return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED

    connection.call_blocking(None, ROOT, PEER, "Ping", "", ())
    connection.add_message_filter(on_message)
    connection.send_message(dbus.lowlevel.MethodCallMessage(None, ROOT, "org.freedesktop.DBus.ObjectManager",
                                                            "GetManagedObjects"))
    connection.flush()
    stopped.certificate("client", "SetEnabled", "b", False)

    def both():
        while GLib.MainContext.default().iteration(False):
            pass
        return len(seen) == 2

    wait_until(both, "the list and the change", 30)
    assert certificate_path("client") in seen[0] and len(seen[0]) == 5002
    assert seen[1] == "disabled"


def test_signals_are_unicast_to_who_has_called(broker, signals):
    caller, stranger = signals(), signals(call=False)
    broker.import_new("client")
    caller.wait("InterfacesAdded")
    assert stranger.drain() == []


def test_signals_only_to_who_may_read(stopped, root, refused):
    """nobody sees one of two certificates: its signals, and none of the other."""
    import json
    import shutil
    import subprocess

    from broker import GRANT_ALL, HERE, ME, PYTHON
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
      some = { user = "nobody"; allow = "read"; certificate = "shown*"; };
    """)
    stopped.start()
    script = stopped.folder / "listener.py"
    shutil.copy(HERE / "listener.py", script)
    script.chmod(0o644)
    with subprocess.Popen(
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--init-groups", PYTHON, str(script),
             stopped.bus_address], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout.readline() == "ready\n"
        cert = pki.certificate(pki.key("ec-p256"))
        for id in ("hidden", "shown"):
            stopped.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
            stopped.certificate(id, "SetEnabled", "b", False)
            stopped.delete_certificate(id)
        out, _ = listener.communicate("stop\n", timeout=20)
    received = json.loads(out)
    assert [r[1] for r in received] == ["InterfacesAdded", "PropertiesChanged", "InterfacesRemoved"]
    assert "hidden" not in out


def test_source_state_is_told(broker, signals):
    import os
    import signal
    seen = signals()
    for pid in broker.helper_pids():
        os.kill(pid, signal.SIGKILL)
    seen.wait("PropertiesChanged", source_path("hsm"))
    broker.wait_source("hsm", "ready")
    states = []
    wait_until(lambda: [s for s in seen.of("PropertiesChanged", source_path("hsm")) if s[3][1].get("State") == "ready"],
               "PropertiesChanged to ready")
    states = [str(s[3][1]["State"]) for s in seen.of("PropertiesChanged", source_path("hsm")) if "State" in s[3][1]]
    assert states[-1] == "ready" and len(states) > 1, states


def test_rfc4514_subject_with_control_characters(broker):
    cert = pki.certificate(pki.key("ec-p256"), subject=x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, " leading and #trailing "),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "#a\nb;c<d>e=f\\g")]))
    broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert), b"secret")
    subject = str(broker.certificate_properties("client")["Subject"])
    assert "\n" not in subject
    assert broker.manager("GetCertificate", "s", "subject=" + subject) == certificate_path("client")


def test_peer(broker):
    broker.call(ROOT, PEER, "Ping")
    assert len(broker.call(ROOT, PEER, "GetMachineId")) == 32
    assert broker.connection.get_name_owner(NAME)
