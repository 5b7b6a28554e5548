# SPDX-License-Identifier: Apache-2.0
"""Who may do what: grants by user, group, glob, operation and algorithm, as other users of the host see them."""

import pki
import pytest

from broker import BUILD, ERROR, GRANT_ALL, ME, NAME, OBJECT_MANAGER, INTROSPECTABLE, PIN, ROOT, backend_path, certificate_path, \
    source_path

MANAGER = "org.certbroker1.Manager"
CERTIFICATE = "org.certbroker1.Certificate"
BACKEND = "org.certbroker1.Backend"
PROPERTIES = "org.freedesktop.DBus.Properties"
DIGEST = {"hex": "00" * 32}


def sign(id, algorithm="ecdsa-sha256"):
    return [certificate_path(id), CERTIFICATE, "Sign", "tsay", 0, algorithm, DIGEST]


def get(id, name="Subject"):
    return [certificate_path(id), PROPERTIES, "Get", "ss", CERTIFICATE, name]


def credential(name):
    return [backend_path(name), BACKEND, "GetCredential", ""]


AUDITING = [[ROOT, MANAGER, "OpenAudit", ""], [ROOT, MANAGER, "GetMetrics", ""],
            [ROOT, MANAGER, "CheckAccess", "a{sv}so", {}, "read", ROOT]]


def words(results):
    """ok, or the error's name, one a call."""
    return [r["error"].replace(ERROR, "") if "error" in r else "ok" for r in results]


@pytest.fixture
def house(stopped, root):
    """Two certificates and two backends; www-data and nobody are to be granted something."""

    def start(grants):
        stopped.configure(grants=GRANT_ALL.format(me=ME) + grants)
        stopped.start()
        for id in ("orders-a", "billing"):
            cert = pki.certificate(pki.key("ec-p256"), f"{id}.example")
            stopped.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
            stopped.create_backend(f"{id}-backend", id)
        return stopped

    return start


def test_default_deny(house):
    house = house("")
    everything = [
        sign("orders-a"), get("orders-a"), credential("orders-a-backend"),
        [ROOT, MANAGER, "GetCertificate", "s", "orders-a"],
        [certificate_path("orders-a"), CERTIFICATE, "Delete", "a{sv}", {}],
        [certificate_path("orders-a"), CERTIFICATE, "SetEnabled", "b", False],
        [certificate_path("orders-a"), CERTIFICATE, "Refresh", ""],
        [backend_path("orders-a-backend"), BACKEND, "Delete", ""],
        [backend_path("orders-a-backend"), PROPERTIES, "Set", "ssv", BACKEND, "Url", "https://evil/"],
        [source_path("hsm"), "org.certbroker1.Source", "Refresh", ""],
        [source_path("hsm"), PROPERTIES, "GetAll", "s", "org.certbroker1.Source"],
    ]
    assert words(house.as_user("nobody", *everything)) == ["NotFound"] * len(everything)
    creating = [
        [ROOT, MANAGER, "RegisterCertificate", "ssa{sv}", "new", "pkcs11:token=test;object=x", {}],
        [ROOT, MANAGER, "CreateBackend", "sa{sv}", "new", {"Url": "https://x/", "Certificate": "orders-a"}],
        [ROOT, MANAGER, "Reload", ""],
    ]
    assert words(house.as_user("nobody", *creating)) == ["AccessDenied"] * len(creating)
    listing = house.as_user("nobody", [ROOT, MANAGER, "ListCertificates", "su", "", 10],
                            [ROOT, OBJECT_MANAGER, "GetManagedObjects", ""])
    assert [r["value"] for r in listing] == [[], {}]


def test_what_may_not_be_read_does_not_exist(house):
    """The same error with the same text, but for the name that was asked for."""
    house = house("")

    def asked(id):
        calls = [sign(id), get(id), [certificate_path(id), PROPERTIES, "GetAll", "s", CERTIFICATE],
                 [certificate_path(id), CERTIFICATE, "SetEnabled", "b", True],
                 [certificate_path(id), INTROSPECTABLE, "Introspect", ""],
                 [ROOT, MANAGER, "GetCertificate", "s", id], credential(id)]
        return [{k: str(v).replace(id, "X") for k, v in r.items()} for r in house.as_user("nobody", *calls)]

    hidden = asked("billing")
    assert hidden == asked("missing")
    assert {answer["error"] for answer in hidden} == {ERROR + "NotFound"}, hidden
    thumbprint = str(house.certificate_properties("billing")["Thumbprint"])
    one, other = house.as_user("nobody", [ROOT, MANAGER, "GetCertificate", "s", thumbprint],
                               [ROOT, MANAGER, "GetCertificate", "s", "0" * 40])
    assert one["error"] == other["error"] == ERROR + "NotFound"
    assert one["message"].replace(thumbprint, "X") == other["message"].replace("0" * 40, "X")


def test_user_and_globs(house):
    house = house("""
      web = { user = "www-data"; allow = [ "use" ]; certificate = [ "orders-*", "x?" ]; backend = [ "orders*" ]; };
    """)
    calls = [sign("orders-a"), sign("billing"), get("orders-a"), get("billing"),
             credential("orders-a-backend"), credential("billing-backend")]
    assert words(house.as_user("www-data", *calls)) == ["ok", "NotFound"] * 3
    assert words(house.as_user("nobody", *calls)) == ["NotFound"] * 6
    [signed] = house.as_user("www-data", sign("orders-a"))
    assert bytes.fromhex(signed["value"])[0] == 0x30
    listing = house.as_user("www-data", [ROOT, MANAGER, "ListCertificates", "su", "", 10],
                            [ROOT, OBJECT_MANAGER, "GetManagedObjects", ""],
                            [f"{ROOT}/certificate", INTROSPECTABLE, "Introspect", ""])
    assert [row["Id"] for row in listing[0]["value"]] == ["orders-a"]
    assert set(listing[1]["value"]) == {certificate_path("orders-a"), backend_path("orders-a-backend")}
    assert "orders" in listing[2]["value"] and "billing" not in listing[2]["value"]


def test_group(house):
    house = house("""
      by_group = { group = "www-data"; allow = "use"; certificate = "*"; };
      both = { user = "nobody"; group = "www-data"; allow = "use"; certificate = "*"; };
    """)
    assert words(house.as_user("www-data", sign("billing"))) == ["ok"]
    assert words(house.as_user("nobody", sign("billing"))) == ["NotFound"]  # each that is named must match


def test_operations(house):
    house = house("""
      reader = { user = "www-data"; allow = "read"; certificate = "*"; backend = "*"; };
    """)
    calls = [get("orders-a"), sign("orders-a"), credential("orders-a-backend"),
             [certificate_path("orders-a"), CERTIFICATE, "SetEnabled", "b", False],
             [certificate_path("orders-a"), CERTIFICATE, "Delete", "a{sv}", {}],
             [certificate_path("orders-a"), CERTIFICATE, "Refresh", ""],
             [backend_path("orders-a-backend"), BACKEND, "Delete", ""],
             [backend_path("orders-a-backend"), BACKEND, "Change", "a{sv}", {"Url": "https://evil/"}]]
    results = house.as_user("www-data", *calls)
    assert words(results) == ["ok"] + ["AccessDenied"] * 7
    for r in results[1:]:
        assert "orders-a" in r["message"], r


def test_manage_is_not_use(house):
    house = house("""
      admin = { user = "www-data"; allow = "manage"; certificate = "*"; backend = "*"; source = "*"; };
    """)
    calls = [get("billing"), sign("billing"), credential("billing-backend"),
             [certificate_path("billing"), CERTIFICATE, "SetEnabled", "b", False],
             [certificate_path("billing"), CERTIFICATE, "SetEnabled", "b", True],
             [source_path("hsm"), PROPERTIES, "GetAll", "s", "org.certbroker1.Source"],
             [ROOT, MANAGER, "Reload", ""], *AUDITING]
    assert words(house.as_user("www-data", *calls)) == \
        ["ok", "AccessDenied", "AccessDenied", "ok", "ok", "ok", "ok"] + ["AccessDenied"] * 3


def test_tls_is_not_sign(house):
    house = house("""
      web = { user = "www-data"; allow = "tls"; certificate = "*"; backend = "*"; };
    """)
    assert words(house.as_user("www-data", get("billing"), credential("billing-backend"), sign("billing"))) == \
        ["ok", "ok", "AccessDenied"]


def test_credential_needs_both(house):
    """tls on the backend and on its certificate."""
    house = house("""
      backend_only = { user = "www-data"; allow = "use"; backend = "*"; };
      certificate_only = { user = "nobody"; allow = "use"; certificate = "*"; };
    """)
    assert words(house.as_user("www-data", credential("billing-backend"))) == ["AccessDenied"]
    assert words(house.as_user("nobody", credential("billing-backend"))) == ["NotFound"]


def test_partial_manage(house):
    """manage on some ids: creating needs it on the new id, binding needs read on the certificate."""
    house = house("""
      team = { user = "www-data"; allow = "manage"; certificate = "orders-*"; backend = "orders-*"; source = "hsm"; };
    """)

    def create(name, certificate):
        return [ROOT, MANAGER, "CreateBackend", "sa{sv}", name, {"Url": "https://x/", "Certificate": certificate}]

    def register(id):
        return [ROOT, MANAGER, "RegisterCertificate", "ssa{sv}", id, "pkcs11:token=test;object=loose", {}]

    house.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "loose", "--id", "77")

    results = words(house.as_user(
        "www-data", create("orders-new", "orders-a"), create("billing-new", "orders-a"),
        create("orders-newer", "billing"), register("orders-b"), register("billing-b"),
        [ROOT, MANAGER, "Reload", ""],
        [source_path("hsm"), PROPERTIES, "GetAll", "s", "org.certbroker1.Source"],
        [source_path("hsm"), "org.certbroker1.Source", "Refresh", ""]))
    assert results == ["ok", "AccessDenied", "NotFound", "ok", "AccessDenied", "AccessDenied", "ok", "ok"]


def test_algorithms_narrow(house):
    house = house("""
      web = { user = "www-data"; allow = "use"; certificate = "*"; algorithm = [ "ecdsa-sha384" ]; };
    """)
    long = [certificate_path("billing"), CERTIFICATE, "Sign", "tsay", 0, "ecdsa-sha384", {"hex": "00" * 48}]
    assert words(house.as_user("www-data", long, sign("billing"))) == ["ok", "AccessDenied"]


def test_grants_do_not_multiply(house):
    """An algorithm of one grant and a certificate of another do not make a third."""
    house = house("""
      one = { user = "www-data"; allow = "use"; certificate = "billing"; algorithm = "ecdsa-sha384"; };
      two = { user = "www-data"; allow = "use"; certificate = "orders-a"; algorithm = "ecdsa-sha256"; };
    """)
    assert words(house.as_user("www-data", sign("billing"), sign("orders-a"))) == ["AccessDenied", "ok"]


def test_reload_takes_a_grant_away(house):
    house = house("""
      web = { user = "www-data"; allow = "use"; certificate = "*"; };
    """)
    assert words(house.as_user("www-data", sign("billing"))) == ["ok"]
    house.configure()
    house.manager("Reload")
    assert words(house.as_user("www-data", sign("billing"))) == ["NotFound"]


def test_bad_input_is_judged_after_access(house):
    """Whoever may not read it does not learn, by another error, that it is there."""
    house = house("")
    calls = [[certificate_path("billing"), CERTIFICATE, "Sign", "tsay", 99, "nonsense", {"hex": "00"}],
             [certificate_path("missing"), CERTIFICATE, "Sign", "tsay", 99, "nonsense", {"hex": "00"}]]
    assert words(house.as_user("nobody", *calls)) == ["NotFound"] * 2


def test_check_access(house):
    """Says which grant allows, or what was missing; for those who are granted audit."""
    import dbus
    import pwd
    house = house("""
      web = { user = "www-data"; allow = "use"; certificate = "orders-*"; };
    """)
    uid = pwd.getpwnam("www-data").pw_uid

    def ask(operation, id, uid=uid):
        subject = dbus.Dictionary({"uid": dbus.UInt32(uid)}, signature="sv")
        allowed, reason = house.manager("CheckAccess", "a{sv}so", subject, operation, certificate_path(id))
        return bool(allowed), str(reason)

    allowed, reason = ask("use", "orders-a")
    assert allowed and "web" in reason
    for operation, id in (("manage", "orders-a"), ("use", "billing"), ("export", "orders-a")):
        allowed, reason = ask(operation, id)
        assert not allowed and reason
    [denied] = house.as_user("www-data", [ROOT, MANAGER, "CheckAccess", "a{sv}so", {}, "use",
                                          certificate_path("orders-a")])
    assert denied["error"] == ERROR + "AccessDenied"


def test_manager_is_seen_by_all(house):
    house = house("")
    [answer] = house.as_user("nobody", [ROOT, PROPERTIES, "GetAll", "s", MANAGER])
    assert answer["value"]["ChannelAddress"].startswith("unix:")


def test_shipped_grants(stopped, root):
    """The configuration that ships: manage and audit on everything to root, and nothing to anyone else."""
    import os
    shipped = BUILD / "policy/certbroker.conf"
    stopped.config.write_text(shipped.read_text())
    env = stopped.environment(STATE_DIRECTORY=stopped.state, RUNTIME_DIRECTORY=stopped.runtime)
    stopped.daemon = stopped.spawn(env=env)
    from broker import wait_until
    wait_until(lambda: stopped.connection.name_has_owner(NAME), "the name")
    assert os.getuid() == 0
    assert stopped.list_ids() == []
    stopped.manager("Reload")
    for method in ("OpenAudit", "GetMetrics"):
        stopped.manager(method)
    assert words(stopped.as_user("www-data", [ROOT, MANAGER, "Reload", ""], *AUDITING)) == ["AccessDenied"] * 4
    [grant] = stopped.cli_json("policy", "list", "--config", str(stopped.config))
    assert (grant["user"], grant["allow"]) == ("root", ["manage", "audit"])
    assert grant["certificate"] == grant["backend"] == grant["source"] == ["*"]


def test_audit_is_of_no_object(house):
    """It lets the log, the metrics and decisions be seen, needs no object, and shows none."""
    house = house('  auditor = { user = "www-data"; allow = [ "audit" ]; };\n')
    calls = [*AUDITING, get("billing"), [ROOT, MANAGER, "Reload", ""],
             [source_path("hsm"), PROPERTIES, "GetAll", "s", "org.certbroker1.Source"],
             [ROOT, MANAGER, "RegisterCertificate", "ssa{sv}", "new", "pkcs11:object=x", {}]]
    assert words(house.as_user("www-data", *calls)) == ["ok"] * 3 + ["NotFound", "AccessDenied", "NotFound", "AccessDenied"]
    [listing] = house.as_user("www-data", [ROOT, OBJECT_MANAGER, "GetManagedObjects", ""])
    assert listing["value"] == {}
    assert "auditor" not in house.log_text(), "nothing about it is worth a warning"


def test_sources_are_granted_by_name(stopped, root):
    """A source is read by whoever has a grant that covers it, and managed by who may manage it."""
    stopped.init_token("other")
    stopped.configure(
        sources=stopped.source("hsm") + stopped.source("spare", uri="pkcs11:token=other"), grants=GRANT_ALL.format(me=ME) + """
      reader = { user = "www-data"; allow = "read"; certificate = "x-*"; source = "h*"; };
      keeper = { user = "nobody"; allow = "manage"; source = [ "spare" ]; };
      blind = { user = "games"; allow = "manage"; certificate = "*"; backend = "*"; };
    """)
    stopped.start().wait_source("spare", "ready")

    def read(name):
        return [source_path(name), PROPERTIES, "GetAll", "s", "org.certbroker1.Source"]

    def refresh(name):
        return [source_path(name), "org.certbroker1.Source", "Refresh", ""]

    def unlock(name):
        return [source_path(name), "org.certbroker1.Source", "Unlock", "h", {"memfd": PIN.encode().hex()}]

    calls = [read("hsm"), read("spare"), refresh("hsm"), refresh("spare"), unlock("hsm"), unlock("spare")]
    assert words(stopped.as_user("www-data", *calls)) == ["ok", "NotFound", "AccessDenied", "NotFound", "AccessDenied", "NotFound"]
    assert words(stopped.as_user("nobody", *calls)) == ["NotFound", "ok"] * 3
    assert words(stopped.as_user("games", *calls)) == ["NotFound"] * 6
    hidden, absent = stopped.as_user("games", read("hsm"), read("gone"))
    assert hidden["message"].replace("hsm", "X") == absent["message"].replace("gone", "X")


def test_making_a_certificate_needs_its_source(stopped, root):
    """Import, GenerateKey and RegisterCertificate: manage on the id, and on the source, hidden or not."""
    stopped.init_token("other")
    stopped.configure(
        sources=stopped.source("hsm") + stopped.source("spare", uri="pkcs11:token=other"), grants=GRANT_ALL.format(me=ME) + """
      here = { user = "www-data"; allow = "manage"; certificate = "orders-*"; source = "spare"; };
      seen = { user = "www-data"; allow = "read"; source = "hsm"; };
      blind = { user = "nobody"; allow = "manage"; certificate = "orders-*"; };
    """)
    for token in ("test", "other"):
        stopped.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "loose", "--id", "77", token=token)
    stopped.start().wait_source("spare", "ready")
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"), "orders.example"))

    def making(source, tag, token=None):
        options = {"source": source} if token is None else {}
        return [[ROOT, MANAGER, "ImportCertificate", "sshha{sv}", f"orders-i-{tag}", source, {"memfd": bundle.hex()},
                 {"memfd": b"secret".hex()}, {}],
                [ROOT, MANAGER, "GenerateKey", "sssa{sv}", f"orders-g-{tag}", source, "ec-p256", {}],
                [ROOT, MANAGER, "RegisterCertificate", "ssa{sv}", f"orders-r-{tag}",
                 f"pkcs11:token={token or 'other'};object=loose", options]]

    made = stopped.as_user("www-data", *making("spare", "a"))
    assert words(made) == ["ok"] * 3, made
    assert words(stopped.as_user("www-data", *making("hsm", "b"))) == ["AccessDenied"] * 3
    hidden = stopped.as_user("nobody", *making("hsm", "c"))
    absent = stopped.as_user("nobody", *making("gone", "c"))
    assert words(hidden) == words(absent) == ["NotFound"] * 3
    assert [r["message"].replace("hsm", "X") for r in hidden] == [r["message"].replace("gone", "X") for r in absent]
    # the source is found by the URI: of those that he may manage, and of no others
    [denied] = stopped.as_user("www-data", making("", "d", "test")[2])
    [missing] = stopped.as_user("nobody", making("", "e", "test")[2])
    assert (denied["error"], missing["error"]) == (ERROR + "AccessDenied", ERROR + "NotFound")
    assert "hsm" in denied["message"] and "hsm" not in missing["message"]
    assert words(stopped.as_user("www-data", making("", "f", "other")[2])) == ["ok"]


def test_in_use_names_only_readable_backends(house):
    """Who may manage a certificate, but not read the backend that uses it, learns that there is one, and not which."""
    house = house('  clerk = { user = "nobody"; allow = "manage"; certificate = "orders-*"; backend = "seen-*"; };\n')
    house.create_backend("seen-one", "orders-a")
    delete = [certificate_path("orders-a"), CERTIFICATE, "Delete", "a{sv}", {}]
    (result,) = house.as_user("nobody", delete)
    assert words([result]) == ["InUse"]
    assert "seen-one" in result["message"] and "orders-a-backend" not in result["message"]
    house.backend("seen-one", "Delete")
    (result,) = house.as_user("nobody", delete)
    assert words([result]) == ["InUse"] and "orders-a-backend" not in result["message"]
