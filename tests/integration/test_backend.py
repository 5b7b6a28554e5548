# SPDX-License-Identifier: Apache-2.0
"""Backends: settings and their checks, GetCredential, and what deletion may not take away."""

import time

import dbus
import pki
import pytest

from broker import PATIENCE, Failure, backend_path, certificate_path, wait_until

CREDENTIAL = {
    "certificate": "o", "id": "s", "generation": "t", "chain": "aay", "key": "s", "algorithms": "as",
    "not-after": "t", "thumbprint": "s", "stale": "b", "url": "s", "validate-chain": "b", "validate-name": "b",
    "server-names": "as", "server-thumbprints": "as", "ca-file": "s",
}


@pytest.fixture
def orders(broker):
    broker.ca = pki.Issuer()
    broker.cert = broker.import_new("client", "rsa-2048", issuer=broker.ca)
    broker.create_backend("orders", "client", "https://orders.example:8443/api")
    return broker


def test_credential(orders):
    from test_objects import signature_of
    credential = orders.backend("orders", "GetCredential")
    assert {str(k): signature_of(v) for k, v in credential.items()} == CREDENTIAL
    assert credential["certificate"] == certificate_path("client")
    assert (credential["id"], credential["generation"]) == ("client", 1)
    assert [bytes(c) for c in credential["chain"]] == [pki.der(orders.cert), pki.der(orders.ca.certificate)]
    assert credential["key"] == "certbroker:certificate/client?generation=1"
    assert sorted(credential["algorithms"]) == sorted(pki.RSA_ALGORITHMS)
    assert credential["thumbprint"] == pki.thumbprint(orders.cert)
    assert credential["not-after"] == orders.certificate_properties("client")["NotAfter"]
    assert credential["stale"] == False  # noqa: E712
    assert credential["url"] == "https://orders.example:8443/api"
    assert credential["validate-chain"] == credential["validate-name"] == True  # noqa: E712
    assert credential["server-names"] == credential["server-thumbprints"] == []
    assert credential["ca-file"] == ""


def test_credential_follows_the_certificate(orders):
    new = orders.import_new("client", "ec-p256", replace=True)
    credential = orders.backend("orders", "GetCredential")
    assert credential["generation"] == 2
    assert credential["thumbprint"] == pki.thumbprint(new)
    assert credential["key"] == "certbroker:certificate/client?generation=2"


def test_every_setting(orders):
    server = "AB" * 32
    settings = {
        "Url": "https://other.example/", "ValidateChain": dbus.Boolean(False),
        "ValidateName": dbus.Boolean(False), "ServerNames": dbus.Array(["a.example", "b.example"], "s"),
        "CaFile": "/etc/ssl/ca.pem", "ServerThumbprints": dbus.Array([server], "s"),
        "SkipReason": "the backend's certificate has expired", "SkipUntil": dbus.UInt64(time.time() + 3600),
    }
    orders.create_backend("full", "client", **settings)
    properties = orders.backend_properties("full")
    for name, value in settings.items():
        if name == "ServerThumbprints":
            assert [str(t).upper() for t in properties[name]] == [server]
        else:
            assert properties[name] == value, name
    credential = orders.backend("full", "GetCredential")
    assert credential["validate-chain"] == credential["validate-name"] == False  # noqa: E712
    assert list(credential["server-names"]) == ["a.example", "b.example"]
    assert credential["ca-file"] == "/etc/ssl/ca.pem"


def test_validation_is_on_again_when_the_time_is_over(orders):
    orders.create_backend("past", "client", ValidateChain=dbus.Boolean(False), ValidateName=dbus.Boolean(False),
                          SkipReason="migration", SkipUntil=dbus.UInt64(time.time() + 2))
    assert orders.backend("past", "GetCredential")["validate-chain"] == False  # noqa: E712
    time.sleep(3)
    credential = orders.backend("past", "GetCredential")
    assert credential["validate-chain"] == credential["validate-name"] == True  # noqa: E712


def test_writing_properties(orders, signals):
    seen = signals()
    path = backend_path("orders")
    orders.set(path, "Backend", "Url", "https://new.example/")
    assert orders.backend("orders", "GetCredential")["url"] == "https://new.example/"
    [changed] = seen.wait("PropertiesChanged", path)
    assert changed[3][1] == {"Url": "https://new.example/"}
    seen.wait("CredentialChanged", path)
    orders.set(path, "Backend", "ValidateName", dbus.Boolean(False))
    orders.set(path, "Backend", "ServerNames", dbus.Array(["x.example"], "s"))
    properties = orders.backend_properties("orders")
    assert properties["ValidateName"] == False and list(properties["ServerNames"]) == ["x.example"]  # noqa: E712
    assert orders.certificate_properties("client")["Backends"] == ["orders"]


def test_certificate_by_thumbprint(orders):
    other = orders.import_new("other", "ec-p256")
    orders.set(backend_path("orders"), "Backend", "Certificate", pki.thumbprint(other, "sha256"))
    assert orders.backend_properties("orders")["Certificate"] == "other"
    orders.create_backend("second", "\u200e" + pki.thumbprint(orders.cert).lower() + "\n")
    assert orders.backend_properties("second")["Certificate"] == "client"
    assert list(orders.certificate_properties("client")["Backends"]) == ["second"]
    assert list(orders.certificate_properties("other")["Backends"]) == ["orders"]


def test_thumbprints_as_they_are_pasted(orders, refused):
    """Taken with whatever stands around the digits; where it is none, it is said what is wrong, and what does not appear shows."""
    plain = pki.thumbprint(orders.cert, "sha256")
    pasted = ["\u200e" + " ".join(plain[i:i + 2] for i in range(0, 64, 2)).lower(), f"sha256 Fingerprint={plain}\n"]
    set_to = lambda name, value: orders.set(backend_path("orders"), "Backend", name, value)  # noqa: E731
    set_to("ServerThumbprints", dbus.Array(pasted, "s"))
    assert list(orders.backend_properties("orders")["ServerThumbprints"]) == [plain] * 2
    for bad, why in (("\u200e" + plain[:-1], r"'\xe2\x80\x8e" + plain[:-1] + "' has 63 hex digits"),
                     (pki.thumbprint(orders.cert), "has 40 hex digits: it is a SHA-1"),
                     ("SHA256:" + "uN" * 21, "has 'u' at place 8")):
        assert why in refused("InvalidArgument", set_to, "ServerThumbprints", dbus.Array([bad], "s"))
    message = refused("InvalidArgument", set_to, "Certificate", "\u200e" + plain[:-2] + " x")
    assert message.startswith(r"'\xe2\x80\x8e" + plain[:-2] + " x' is neither") and "has 'x' at place 65" in message


def test_change_is_all_or_nothing(orders, refused):
    before = dict(orders.backend_properties("orders"))
    settings = dbus.Dictionary({"Url": "https://new.example/", "Certificate": "nobody"}, signature="sv")
    refused("NotFound", orders.backend, "orders", "Change", "a{sv}", settings)
    assert dict(orders.backend_properties("orders")) == before
    settings = dbus.Dictionary({"Url": "https://new.example/", "ValidateName": dbus.Boolean(False)}, signature="sv")
    orders.backend("orders", "Change", "a{sv}", settings)
    assert orders.backend_properties("orders")["Url"] == "https://new.example/"
    assert orders.backend_properties("orders")["ValidateName"] == False  # noqa: E712


BAD_URLS = ["", "orders.example", "//orders.example/", "http://orders.example/", "ftp://orders.example/",
            "https:", "https:/", "https://", "https:///path", "https:orders.example",
            "https://orders.example:0/", "https://orders.example:65536/", "https://orders.example:x/",
            "https://user:pass@orders.example/", "https://or ders.example/", "https://orders.example/\n",
            "https://[::1/", "https://" + "a" * 5000, "javascript:alert(1)", "file:///etc/passwd", "unix:/run/x"]


def test_bad_urls(orders, refused):
    before = dict(orders.backend_properties("orders"))
    for url in BAD_URLS:
        refused("InvalidArgument", orders.create_backend, "bad", "client", url)
        refused("InvalidArgument", orders.set, backend_path("orders"), "Backend", "Url", url)
    assert dict(orders.backend_properties("orders")) == before
    assert list(orders.certificate_properties("client")["Backends"]) == ["orders"]


def test_the_scheme_is_kept_in_lower_case(orders):
    orders.set(backend_path("orders"), "Backend", "Url", "HTTPS://Orders.Example:8443/A")
    assert orders.backend_properties("orders")["Url"] == "https://Orders.Example:8443/A"
    orders.create_backend("second", "client", "Https://orders.example/")
    assert orders.backend("second", "GetCredential")["url"] == "https://orders.example/"


def test_good_urls(orders):
    for i, url in enumerate(("https://a", "https://a.example:1/", "https://[::1]:8443/x", "https://127.0.0.1/",
                             "https://a.example/x/y?z=1")):
        orders.create_backend(f"good-{i}", "client", url)


def test_bad_names(orders, refused):
    from test_import import BAD_IDS
    for name in BAD_IDS:
        refused("InvalidArgument", orders.create_backend, name, "client")


def test_bad_settings(orders, refused):
    for settings in ({"Colour": "red"}, {"Name": "other"}, {"ServerThumbprints": dbus.Array(["xyz"], "s")},
                     {"ServerThumbprints": dbus.Array(["ab" * 20], "s")}, {"ServerNames": dbus.Array(["a b"], "s")},
                     {"ServerNames": dbus.Array([""], "s")}, {"CaFile": "relative.pem"},
                     {"ValidateChain": "no"}, {"Url": dbus.UInt32(1)}):
        with pytest.raises(Failure) as caught:
            orders.create_backend("bad", "client", **settings)
        assert caught.value.name in ("InvalidArgument", "org.freedesktop.DBus.Error.InvalidArgs"), settings
    assert list(orders.certificate_properties("client")["Backends"]) == ["orders"]


def test_texts_are_one_line(orders, refused):
    """What others write into configurations and show on terminals: nothing that ends a line or does more than appear."""
    before = dict(orders.backend_properties("orders"))
    for bad in ("a\nb", "\nprogram x", "a\r", "\t", "\x1b[2J", "\x7f", "\u0085", "\u202e", "\u2028"):
        for name, text in (("CaFile", "/etc/" + bad), ("SkipReason", bad), ("Url", f"https://a/{bad}"),
                           ("ServerNames", dbus.Array([f"a{bad}"], "s"))):
            message = refused("InvalidArgument", orders.create_backend, "bad", "client", **{name: text})
            assert message.isprintable()
            refused("InvalidArgument", orders.set, backend_path("orders"), "Backend", name, text)
            refused("InvalidArgument", orders.backend, "orders", "Change", "a{sv}", {name: text})
    assert dict(orders.backend_properties("orders")) == before
    orders.set(backend_path("orders"), "Backend", "SkipReason", "bis zur Umstellung – ä, 字")


def test_texts_of_an_older_store(orders):
    """What was stored before texts were one line is harmless when it is read."""
    import sqlite3
    orders.stop()
    [store] = orders.state.glob("*.sqlite")
    with sqlite3.connect(store) as database:
        database.execute("UPDATE backend SET ca_file = '/etc/x.pem' || char(10) || 'program pwn', "
                         "skip_reason = 'a' || char(27) || '[2J' || char(10) || 'b'")
    database.close()
    orders.start()
    assert orders.backend_properties("orders")["CaFile"] == "/etc/x.pem program pwn"
    assert orders.backend("orders", "GetCredential")["ca-file"] == "/etc/x.pem program pwn"
    assert orders.backend_properties("orders")["SkipReason"] == "a?[2J b"
    done = orders.cli("backend", "watch", "orders", "--chain", f"{orders.folder}/c", "--key", f"{orders.folder}/k",
                      "--conf", f"{orders.folder}/conf", "--for", "nginx")
    assert done.returncode != 0 and b"--ca-file cannot be written" in done.stderr
    assert not (orders.folder / "conf").exists()


def test_missing_settings(orders, refused):
    for settings in ({}, {"Url": "https://a/"}, {"Certificate": "client"}):
        refused("InvalidArgument", orders.manager, "CreateBackend", "sa{sv}", "bad",
                dbus.Dictionary(settings, signature="sv"))


def test_unknown_certificate(orders, refused):
    for selector in ("nobody", "0" * 40, "f" * 64):
        refused("NotFound", orders.create_backend, "bad", selector)
    for selector in ("", "a/b", "..", "a b", "ä"):
        with pytest.raises(Failure) as caught:
            orders.create_backend("bad", selector)
        assert caught.value.name in ("NotFound", "InvalidArgument")


def test_existing_name(orders, refused):
    refused("AlreadyExists", orders.create_backend, "orders", "client")


def test_certificate_in_use(orders, refused):
    orders.create_backend("second", "client")
    for options in ({}, {"destroy_key": True}):
        message = refused("InUse", orders.delete_certificate, "client", **options)
        assert "orders" in message and "second" in message
    orders.sign("client", "rsa-pss-sha256", bytes(32))
    orders.backend("orders", "Delete")
    orders.backend("second", "Delete")
    orders.delete_certificate("client")
    assert orders.list_ids() == []


def test_deleted_backend(orders, refused):
    orders.backend("orders", "Delete")
    refused("NotFound", orders.backend, "orders", "GetCredential")
    refused("NotFound", orders.backend, "orders", "Delete")
    orders.create_backend("orders", "client")
    assert orders.backend("orders", "GetCredential")["id"] == "client"


def test_credential_refused_by_state(orders, refused):
    orders.certificate("client", "SetEnabled", "b", False)
    refused("Disabled", orders.backend, "orders", "GetCredential")
    orders.certificate("client", "SetEnabled", "b", True)
    key = pki.key("ec-p256")
    for state, cert in (("Expired", pki.certificate(key, not_before=pki.NOW - 9 * pki.DAY,
                                                    not_after=pki.NOW - pki.DAY)),
                        ("Pending", pki.certificate(key, not_before=pki.NOW + pki.DAY))):
        orders.import_bundle(state, pki.p12(key, cert), b"secret")
        orders.create_backend(state, state)
        refused(state, orders.backend, state, "GetCredential")


def test_delete_keeps_or_destroys_the_key(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    bundle = pki.p12(pki.key("ec-p256"), cert, (pki.Issuer().certificate,))
    broker.import_bundle("kept", bundle, b"secret")
    broker.import_bundle("destroyed", bundle, b"secret")
    broker.delete_certificate("kept")
    broker.delete_certificate("destroyed", destroy_key=True)
    assert broker.list_ids() == []
    assert [k["label"] for k in broker.token_objects("Private Key")] == ["kept"]
    assert "destroyed" not in {o.get("label") for o in broker.token_objects()}


def test_delete_with_an_unknown_option(broker, refused):
    broker.import_new("client")
    refused("InvalidArgument", broker.delete_certificate, "client", colour=True)
    assert broker.list_ids() == ["client"]


def ended(broker, name):
    """Is it on again in the properties, and how often has the log that the exception ended?"""
    properties = broker.backend_properties(name)
    on = properties["ValidateChain"] and properties["ValidateName"] and properties["SkipUntil"] == 0
    return bool(on), (broker.state / "audit.jsonl").read_text().count('"event":"ExceptionEnded"')


def test_an_exception_that_was_over_when_written_ends_at_once(broker, signals):
    broker.import_new("client")
    seen = signals()
    broker.create_backend("orders", "client", ValidateChain=False, SkipUntil=dbus.UInt64(1))
    assert broker.backend("orders", "GetCredential")["validate-chain"]
    wait_until(lambda: ended(broker, "orders") == (True, 1), "the exception has ended")
    told = [s[3][1] for s in seen.wait("PropertiesChanged", backend_path("orders"))]
    assert {"ValidateChain": True, "SkipUntil": 0} in told
    broker.set(backend_path("orders"), "Backend", "ValidateName", dbus.Boolean(False))  # without an end: it stays
    assert ended(broker, "orders") == (False, 1)


def test_an_exception_ends_while_the_daemon_is_away(broker):
    broker.import_new("client")
    until = int(time.time()) + 3 * PATIENCE
    broker.create_backend("orders", "client", ValidateName=False, SkipUntil=dbus.UInt64(until))
    broker.stop()
    wait_until(lambda: time.time() > until, "the time is over", 10)
    broker.start()
    wait_until(lambda: ended(broker, "orders") == (True, 1), "the exception has ended")


def test_an_exception_ends_by_itself(broker, signals):
    """At SkipUntil the validation is on again: in the answer, in the properties, in a signal, and in the audit log."""
    broker.import_new("client")
    until = int(time.time()) + 2
    broker.create_backend("orders", "client", ValidateChain=False, ValidateName=False, SkipReason="a new CA is coming",
                          SkipUntil=dbus.UInt64(until))
    assert not broker.backend("orders", "GetCredential")["validate-chain"]
    seen = signals()
    seen.wait("CredentialChanged", backend_path("orders"))
    wait_until(lambda: broker.backend_properties("orders")["ValidateChain"], "the validation is on again", 10)
    assert time.time() >= until
    properties = broker.backend_properties("orders")
    assert properties["ValidateName"] and properties["SkipReason"] == "" and properties["SkipUntil"] == 0
    credential = broker.backend("orders", "GetCredential")
    assert credential["validate-chain"] and credential["validate-name"]
    assert '"event":"ExceptionEnded"' in (broker.state / "audit.jsonl").read_text()
    broker.restart()
    assert broker.backend_properties("orders")["ValidateChain"]
