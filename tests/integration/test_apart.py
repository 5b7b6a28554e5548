# SPDX-License-Identifier: Apache-2.0
"""Who manages some ids does nothing to another: not to its key, its certificates, its objects in the token."""

import concurrent.futures
import contextlib
import pwd
import re
import shutil
import sqlite3
import time

import lifecycle
import pki
import pytest
from cryptography.hazmat.primitives import serialization

from broker import Failure, certificate_path, wait_until
from managers import Manager, token_files
from test_metrics import value
from test_recovery import start_faulty
from test_register import put

ROOTS = """
  everything = {{ user = "{me}"; allow = [ "manage", "use", "export", "decrypt", "audit" ];
                 certificate = "*"; backend = "*"; source = "*"; }};
"""
OWN = """
  own = { user = "games"; allow = [ "manage", "use", "export", "decrypt" ]; certificate = "own-*"; source = "*"; };
  theirs = { user = "daemon"; allow = [ "manage", "use" ]; certificate = "theirs-*"; source = "*"; };
"""
SEEN = OWN + """
  seen = { user = "games"; allow = "read"; certificate = "secret-*"; };
"""


def grants(more=OWN):
    from broker import ME
    return ROOTS.format(me=ME) + more


@pytest.fixture
def games(stopped, root):
    """The manager of own-*; the broker is to be started by the test, with what the token holds before."""
    made = []

    def start(more=OWN):
        stopped.configure(grants=grants(more))
        stopped.start()
        made.append(Manager(stopped, "games"))
        return made[0]

    yield start
    for manager in made:
        manager.close()


def secret(broker, id="secret-pay", **how):
    """A certificate that games may not see."""
    return broker.import_new(id, common_name=f"{id}.example", **how)


def whole(broker, id):
    """All that there is to see of a certificate, but when it was looked up."""
    properties = {str(k): v for k, v in broker.certificate_properties(id).items()}
    for name in ("LastRefresh", "NextRefresh", "LastUsed", "LastUsedBy"):
        properties.pop(name, None)
    return properties, broker.chain(id)


def signs(broker, id, cert):
    algorithm = "ecdsa-sha256"
    pki.verify(cert.public_key(), algorithm, broker.sign(id, algorithm, pki.digest(algorithm, b"m")), b"m")


def evil(key_type="ec-p256", which=0, common_name="evil"):
    """A leaf for this key by an authority of the attacker's own."""
    return pki.certificate(pki.key(key_type, which), common_name, issuer=pki.Issuer("Evil Root"))


def denied(name, function, *arguments, **how):
    with pytest.raises(Failure) as caught:
        function(*arguments, **how)
    assert caught.value.name == name, str(caught.value)
    return caught.value.message


def test_a_key_of_another_id_is_not_registered(stopped, games):
    """However its URI is spelled, and whether its generation is current, older or still pending."""
    games = games()
    secret(stopped, extractable=True)
    old = str(stopped.certificate_properties("secret-pay")["KeyUri"])
    stopped.import_new("secret-pay", "ec-p384", common_name="secret-pay.example", replace=True)
    stopped.manager("GenerateKey", "sssa{sv}", "secret-new", "hsm", "ec-p256", {})
    new = str(stopped.certificate_properties("secret-new")["KeyUri"])
    mark = old.split("id=")[1].split(";")[0]
    before, files = whole(stopped, "secret-pay"), token_files(stopped)
    for uri in (old, new, "pkcs11:object=secret-new", f"pkcs11:id={mark}", f"PKCS11:id={mark}", f"pkcs11:id={mark.lower()}",
                f"pkcs11:token=test;id={mark};type=private", "pkcs11:object=%73ecret-new;token=test"):
        message = denied("AccessDenied", games.register, "own-1", uri)
        assert "secret" not in message and "another id" in message, message
    assert stopped.list_ids() == ["secret-new", "secret-pay"]
    for use in (games.export, games.delete):
        denied("NotFound", use, "own-1")
    assert (whole(stopped, "secret-pay"), token_files(stopped)) == (before, files)


def test_who_may_read_the_other_id_is_told_which(stopped, games):
    games = games(SEEN)
    secret(stopped)
    message = denied("AccessDenied", games.register, "own-1", "pkcs11:object=secret-pay")
    assert "'secret-pay'" in message and "both" in message


def test_who_manages_both_registers_it(stopped, games):
    games = games(OWN + '  both = { user = "games"; allow = "manage"; certificate = "secret-pay"; };\n')
    cert = secret(stopped)
    games.register("own-1", "pkcs11:object=secret-pay")
    signs(stopped, "own-1", cert)
    # and a third only who manages the third holder as well
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-2", "pkcs11:object=secret-pay", {})
    denied("AccessDenied", games.register, "own-2", "pkcs11:object=secret-pay")


def test_a_chain_beside_a_shared_key_is_its_ids_alone(stopped, games):
    """What is installed for one of two ids with one key changes nothing of the other, at once or after a restart."""
    games = games()
    cert = secret(stopped)
    stopped.manager("RegisterCertificate", "ssa{sv}", "own-1", "pkcs11:object=secret-pay", {})
    before, files = whole(stopped, "secret-pay"), token_files(stopped)
    leaf = evil()
    games.install("own-1", pki.pem(leaf), force=True)
    assert stopped.chain("own-1")[0] == pki.der(leaf)
    assert {name: token_files(stopped)[name] for name in files} == files
    labels = [o["label"] for o in stopped.token_objects("Certificate")]
    assert sorted(labels) == ["own-1"] * (len(labels) - 1) + ["secret-pay"]
    for again in (lambda: stopped.certificate("secret-pay", "Refresh"), stopped.restart,
                  lambda: games.certificate("own-1", "Refresh")):
        again()
        assert whole(stopped, "secret-pay") == before
        assert stopped.chain("own-1")[0] == pki.der(leaf)
    signs(stopped, "secret-pay", cert)
    games.install("own-1", pki.pem(evil(common_name="next")), force=True)
    games.delete("own-1")
    stopped.restart()
    assert whole(stopped, "secret-pay") == before
    assert {name: token_files(stopped)[name] for name in files} == files


def test_nor_does_it_follow_the_other(stopped, games):
    """The other way round: the id that was registered keeps what it has, whatever becomes of the one that made the key."""
    games()
    secret(stopped)
    stopped.manager("RegisterCertificate", "ssa{sv}", "own-1", "pkcs11:object=secret-pay", {})
    before = whole(stopped, "own-1")
    lifecycle.install(stopped, "secret-pay", pki.pem(evil()), force=True)
    stopped.certificate("own-1", "Refresh")
    assert whole(stopped, "own-1") == before
    stopped.delete_certificate("secret-pay")
    stopped.certificate("own-1", "Refresh")
    stopped.restart()
    assert whole(stopped, "own-1") == before


def test_beside_somebody_elses_key_nothing_is_written(stopped, games):
    """A key that the token's owner has put there keeps its objects, whatever is installed for the id that it has."""
    key, cert = pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"), "owner.example")
    put(stopped, "owner", key, cert, id="77")
    games = games()
    games.register("own-1", "pkcs11:object=owner")
    assert stopped.chain("own-1") == [pki.der(cert)]
    files, leaf = token_files(stopped), evil()
    games.install("own-1", pki.pem(leaf), force=True)
    assert {name: token_files(stopped)[name] for name in files} == files
    added = [o for o in stopped.token_objects("Certificate") if o["label"] == "own-1"]
    assert added and all(o["ID"] != "77" for o in added)
    stopped.restart()
    properties, chain = whole(stopped, "own-1")
    assert chain[0] == pki.der(leaf) and properties["Generation"] == 2
    # its next one replaces its own, and nothing else
    stopped.certificate("own-1", "Refresh")
    games.install("own-1", pki.pem(evil(common_name="next")), force=True)
    assert {name: token_files(stopped)[name] for name in files} == files
    assert len([o for o in stopped.token_objects("Certificate") if o["label"] == "own-1"]) == len(added)
    # what the owner puts beside his key is followed, as before
    newer = pki.certificate(key, "owner.example", not_before=pki.NOW)
    put(stopped, "owner", None, newer, id="77")
    stopped.restart()
    stopped.certificate("own-1", "Refresh")
    assert stopped.chain("own-1") == [pki.der(newer)]
    stopped.delete_certificate("own-1", destroy_key=True)
    assert stopped.token_objects() == []


def test_destroying_takes_the_source_again(stopped, games):
    """A key that was not made here goes only with `manage` on its source, at the time when it goes."""
    put(stopped, "owner", pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")), id="77")
    games = games()
    games.register("own-1", "pkcs11:object=owner")
    games.generate("own-2")
    files = token_files(stopped)
    stopped.configure(grants=grants(OWN.replace('certificate = "own-*"; source = "*";', 'certificate = "own-*";')))
    stopped.manager("Reload")
    message = denied("NotFound", games.delete, "own-1", destroy=True)
    assert "hsm" in message
    assert token_files(stopped) == files and stopped.list_ids() == ["own-1", "own-2"]
    games.delete("own-1")
    games.delete("own-2", destroy=True)  # its own
    assert len(token_files(stopped)) == len(files) - 2


def test_a_destruction_that_was_refused_does_not_go_on_after_a_crash(stopped, games):
    """It is refused before anything is noted that would be resumed, by nobody's right, when the broker is there again."""
    put(stopped, "owner", pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")), id="77")
    games = games()
    games.register("own-1", "pkcs11:object=owner")
    files = token_files(stopped)
    stopped.configure(grants=grants(OWN.replace('certificate = "own-*"; source = "*";', 'certificate = "own-*";')))
    stopped.manager("Reload")
    for pause in range(8):
        games.begin(certificate_path("own-1"), "org.certbroker1.Certificate", "Delete", "a{sv}", {"destroy-key": True})
        time.sleep(pause / 1000)
        stopped.kill()
        with contextlib.suppress(Failure):
            games.end()
        stopped.start()
        time.sleep(0.3)
        assert token_files(stopped) == files and stopped.list_ids() == ["own-1"], pause
        denied("NotFound", games.delete, "own-1", destroy=True)
        with contextlib.closing(sqlite3.connect(f"file:{stopped.state}/certbroker.sqlite?mode=ro", uri=True)) as store:
            assert not [row for row in store.execute("SELECT * FROM note") if "ending/" in str(row)]


def test_a_key_that_others_have_is_not_destroyed(stopped, games):
    games()
    cert = secret(stopped)
    for id in ("own-1", "theirs-1"):
        stopped.manager("RegisterCertificate", "ssa{sv}", id, "pkcs11:object=secret-pay", {})
    games = Manager(stopped, "games")
    message = denied("InUse", games.delete, "own-1", destroy=True)
    assert "secret" not in message and "theirs" not in message
    denied("InUse", stopped.delete_certificate, "secret-pay", destroy_key=True)
    games.delete("own-1")
    signs(stopped, "secret-pay", cert)
    games.close()


def test_copies_of_one_key_are_each_its_ids_own(stopped, games):
    """One bundle under two ids makes two keys in the token: one is destroyed, exported, and the other goes on."""
    games = games()
    cert = secret(stopped, extractable=True)
    bundle = pki.p12(pki.key("ec-p256"), cert)
    games.import_bundle("own-1", bundle, extractable=True)
    before = whole(stopped, "secret-pay")
    games.export("own-1")
    games.delete("own-1", destroy=True)
    assert len(stopped.token_objects("Private")) == 1
    assert whole(stopped, "secret-pay") == before
    signs(stopped, "secret-pay", cert)


def test_a_copy_on_its_way_keeps_no_other_from_being_destroyed(stopped):
    """While an import has its second trial, the broker's: what it made is its own, and goes with no other."""
    start_faulty(stopped)
    stopped.import_new("first")
    stopped.calls.write_text("")
    stopped.fault_rules("C_Sign after=1 delay=1500\n")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        second = pool.submit(stopped.import_new, "second", connection=stopped.connect())
        wait_until(lambda: stopped.calls.read_text().count("C_SignInit") == 2, "the trial has begun")
        stopped.delete_certificate("first", destroy_key=True)
        cert = second.result()
    assert stopped.list_ids() == ["second"] and len(stopped.token_objects("Private")) == 1
    signs(stopped, "second", cert)


def test_a_copy_under_another_id_changes_nothing(stopped, games):
    """The owner's certificates are followed as before, for it is another object that the copy has."""
    key = pki.key("ec-p256")
    put(stopped, "owner", key, pki.certificate(key, "owner.example", not_before=pki.NOW - 2 * pki.DAY), id="77")
    games = games()
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=owner", {})
    before = whole(stopped, "secret-pay")
    games.import_bundle("own-1", pki.p12(key, evil()))
    stopped.certificate("secret-pay", "Refresh")
    assert whole(stopped, "secret-pay") == before
    newer = pki.certificate(key, "owner.example")
    put(stopped, "owner", None, newer, id="77")
    stopped.restart()
    stopped.certificate("secret-pay", "Refresh")
    assert stopped.chain("secret-pay") == [pki.der(newer)]


def put_without_id(broker, label, key, cert):
    """A key that has no CKA_ID is known by its label alone."""
    for kind, data in (("privkey", key.private_bytes(serialization.Encoding.DER,
                                                     serialization.PrivateFormat.TraditionalOpenSSL,
                                                     serialization.NoEncryption())), ("cert", pki.der(cert))):
        file = broker.folder / f"{kind}.der"
        file.write_bytes(data)
        broker.pkcs11_tool("--write-object", str(file), "--type", kind, "--label", label,
                           *(["--usage-sign"] if kind == "privkey" else []))


@pytest.mark.parametrize("has_id", [True, False])
def test_an_id_that_is_called_as_anothers_key_takes_nothing_from_it(stopped, games, has_id):
    """Labels are anybody's: a key registered by its label is still found when an id of that name gets a key."""
    cert = pki.certificate(pki.key("ec-p256"), "owner.example")
    if has_id:
        put(stopped, "own-5", pki.key("ec-p256"), cert, id="77")
    else:
        put_without_id(stopped, "own-5", pki.key("ec-p256"), cert)
    games = games()
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=own-5", {})
    before = whole(stopped, "secret-pay")
    games.import_bundle("own-5", pki.p12(pki.key("ec-p256", 1), pki.certificate(pki.key("ec-p256", 1), "own")))
    for again in (lambda: stopped.certificate("secret-pay", "Refresh"), stopped.restart):
        again()
        assert whole(stopped, "secret-pay") == before
        signs(stopped, "secret-pay", cert)


@pytest.mark.parametrize("held", [True, False])
def test_a_uri_does_not_come_to_mean_another_ids_key(stopped, games, held):
    """The key that a URI named is gone, and another id has, or had, one that it fits: it is not taken."""
    put(stopped, "own-5", pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"), "owner.example"), id="77")
    games = games()
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=own-5", {})
    chain = stopped.chain("secret-pay")
    games.import_bundle("own-5", pki.p12(pki.key("ec-p256", 1), evil("ec-p256", 1)))
    if not held:
        games.delete("own-5")
    stopped.pkcs11_tool("--delete-object", "--type", "privkey", "--id", "77")
    stopped.pkcs11_tool("--delete-object", "--type", "cert", "--id", "77")
    stopped.restart()
    with pytest.raises(Failure):
        stopped.certificate("secret-pay", "Refresh")
        stopped.sign("secret-pay", "ecdsa-sha256", bytes(32))
    assert stopped.chain("secret-pay") == chain
    assert stopped.certificate_properties("secret-pay")["Generation"] == 1


def test_a_chain_takes_no_issuer_of_another_id(stopped, games):
    """What another manager has imported is not what the token's owner keeps there for all."""
    issuer = pki.Issuer("Shared Root")
    cert = pki.certificate(pki.key("ec-p256"), "owner.example", issuer=issuer)
    put(stopped, "owner", pki.key("ec-p256"), cert, id="77")
    games = games()
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=owner", {})
    before = whole(stopped, "secret-pay")
    leaf = pki.certificate(pki.key("ec-p256", 1), "own", issuer=issuer)
    games.import_bundle("own-1", pki.p12(pki.key("ec-p256", 1), leaf, (issuer.certificate,)))
    games.import_bundle("own-2", pki.p12(issuer.key, issuer.certificate))
    stopped.certificate("secret-pay", "Refresh")
    assert whole(stopped, "secret-pay") == before
    file = stopped.folder / "issuer.der"
    file.write_bytes(pki.der(issuer.certificate))
    stopped.pkcs11_tool("--write-object", str(file), "--type", "cert", "--label", "Shared Root", "--id", "ca")
    stopped.restart()
    stopped.certificate("secret-pay", "Refresh")
    assert len(stopped.chain("secret-pay")) == 2, "the owner's is"


def test_issuers_of_another_id_do_not_crowd_the_owners_out(stopped, games):
    """However many certificates of the issuer's name another manager imports."""
    key, issuer = pki.key("ec-p256", 1), pki.Issuer("Shared Root")
    games = games()
    for i in range(17):
        fake = pki.Issuer("Shared Root")
        leaf = pki.certificate(key, "own", issuer=fake)
        games.import_bundle("own-1", pki.pem(key, leaf, fake.certificate), b"", **({"replace": True} if i else {}))
    cert = pki.certificate(pki.key("ec-p256"), "owner.example", issuer=issuer)
    put(stopped, "owner", pki.key("ec-p256"), cert, id="77")
    put(stopped, "Shared Root", None, issuer.certificate, id="ca")
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=owner", {})
    assert stopped.chain("secret-pay") == [pki.der(cert), pki.der(issuer.certificate)]


def test_nor_do_keys_of_one_label(stopped, games):
    """A key that has no CKA_ID is found among any number of those that an id of that name has had."""
    cert = pki.certificate(pki.key("ec-p256"), "owner.example")
    put_without_id(stopped, "own-5", pki.key("ec-p256"), cert)
    before = token_files(stopped)
    games = games()
    stopped.manager("RegisterCertificate", "ssa{sv}", "secret-pay", "pkcs11:object=own-5", {})
    games.import_bundle("own-5", pki.p12(pki.key("ec-p256", 1), pki.certificate(pki.key("ec-p256", 1), "own")))
    stopped.stop()
    made = [path for path in stopped.tokens.glob("*/*.object") if path.name not in {*before, "token.object"}]
    for i in range(200):
        for path in made:
            shutil.copy(path, path.with_name(f"{i:08x}-{path.name[9:]}"))
    stopped.start()
    stopped.certificate("secret-pay", "Refresh")
    signs(stopped, "secret-pay", cert)


def test_of_two_who_come_at_once_one_gets_it(stopped, games):
    """Neither manager may manage the other's id: the key is registered once."""
    n = 12
    for i in range(n):
        stopped.pkcs11_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", f"loose-{i}", "--id", f"{i + 1:02x}")
    first = games()
    second = Manager(stopped, "daemon")

    def register(manager, id, uri):
        try:
            manager.register(id, uri)
            return "ok"
        except Failure as failure:
            return failure.name

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i in range(n):
            uri = f"pkcs11:object=loose-{i}"
            both = [pool.submit(register, first, f"own-{i}", uri), pool.submit(register, second, f"theirs-{i}", uri)]
            assert sorted(f.result() for f in both) == ["AccessDenied", "ok"], i
    assert len(stopped.list_ids()) == n
    second.close()


def grown(broker, n_certificates, n_generations, n_backends):
    """A store that has had many managers' visits: own-0 … with so many generations in all, and backends own-b0 …"""
    broker.import_new("own-0")
    broker.stop()
    with contextlib.closing(sqlite3.connect(broker.state / "certbroker.sqlite")) as store, store:
        columns = [row[1] for row in store.execute("PRAGMA table_info(certificate)")]
        [row] = store.execute("SELECT * FROM certificate").fetchall()
        row = dict(zip(columns, row))
        for i in range(1, n_certificates):
            store.execute(f"INSERT INTO certificate ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                          list({**row, "id": f"own-{i}", "current": 0}.values()))
        columns = [row[1] for row in store.execute("PRAGMA table_info(generation)")]
        [row] = store.execute("SELECT * FROM generation").fetchall()
        row = dict(zip(columns, row))
        for i in range(2, n_generations + 1):
            store.execute(f"INSERT INTO generation ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                          list({**row, "number": i}.values()))
        store.executemany("INSERT INTO backend VALUES (?, 'https://localhost/', 'own-0', 1, 1, '', '', 0)",
                          [(f"own-b{i}",) for i in range(n_backends)])
    broker.start()


BACKEND = {"Url": "https://x/", "Certificate": "own-0"}


def assert_told(broker, limit, n):
    """In the metrics and by `status`: that games has reached it, and how often."""
    labels = {"limit": limit, "standing": "named"}
    assert value(broker, "certbroker_limit_reached_total", **labels) == n
    assert value(broker, "certbroker_limit_reached_uid", **labels) == pwd.getpwnam("games").pw_uid
    [reason] = [item["reason"] for item in broker.cli_json("status")["attention"] if item["object"] == "limit"]
    assert re.match(rf"{limit}: reached {n} times since .*, last by uid {pwd.getpwnam('games').pw_uid} \(a grant by name\)",
                    reason)
    assert f"has reached its limit of {limit}" in broker.log_text()


@pytest.mark.parametrize("n", [(4096, 1, 4096), (1, 16384, 0)], ids=["objects", "generations"])
def test_a_grant_covers_so_much_and_no_more(stopped, games, n):
    """Whoever has made it. Who may manage everything is not bound, and what is deleted makes room again."""
    games(OWN.replace('certificate = "own-*";', 'certificate = "own-*"; backend = "own-*";'))
    grown(stopped, *n)
    games = Manager(stopped, "games")
    message = denied("LimitExceeded", games.generate, "own-new")
    assert "'own'" in message and "delete" in message
    if n[2]:
        denied("LimitExceeded", games.manager, "CreateBackend", "sa{sv}", "own-new", BACKEND)
        games.backend("own-b0", "Delete")
        games.manager("CreateBackend", "sa{sv}", "own-new", BACKEND)
        games.generate("own-0", replace=True)  # a generation, of which there are not too many
        games.delete("own-1")
        games.generate("own-new")
    else:
        denied("LimitExceeded", games.generate, "own-0", replace=True)
    assert_told(stopped, "objects of a grant", 2)
    stopped.create_backend("own-of-root", "own-0")
    lifecycle.generate(stopped, "own-of-root")
    games.close()


def test_one_user_makes_things_at_a_rate(stopped, games):
    """As many as a team that moves in, then one now and then; another user goes on, and so does root."""
    games = games()
    other = Manager(stopped, "daemon")
    results = {"InvalidArgument": 0, "LimitExceeded": 0}
    for _ in range(530):
        with pytest.raises(Failure) as caught:
            games.register("own-1", "nonsense:")
        results[caught.value.name] += 1
    assert 512 <= results["InvalidArgument"] <= 520 and results["LimitExceeded"] >= 10, results
    assert "in a short time" in caught.value.message and "games" not in stopped.list_ids()
    assert_told(stopped, "new objects in a time", results["LimitExceeded"])
    other.generate("theirs-1")
    stopped.import_new("own-2")
    games.certificate("own-2", "SetEnabled", "b", False)  # makes nothing
    other.close()


def test_a_scheme_in_capitals(stopped, games):
    put(stopped, "owner", pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")), id="77")
    games = games()
    assert games.register("own-1", "PKCS11:object=owner") == certificate_path("own-1")
    message = denied("InvalidArgument", games.register, "own-2", "PkCs11:object=%zz")
    assert "URI" in message
