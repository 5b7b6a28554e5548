# SPDX-License-Identifier: Apache-2.0
"""Which leaf becomes current at a rotation, and when: by its dates, its names and its uses, and where it is there already."""

import datetime
import json

import dbus
import pki

from broker import PATIENCE, Failure, backend_path, certificate_path, wait_until
from conftest import Signals
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from lifecycle import generate, install, issue, request, retire, set_current
from test_expiry import HOUR, jumping, now, sign_outcome, state  # noqa: F401
from test_register import put, register


def leaf(key, not_before=None, not_after=None, **how):
    return pki.certificate(key, "client.example", not_before=not_before, not_after=not_after, **how)


def bring(broker, key, *chain, id="client", **how):
    broker.import_bundle(id, pki.pem(key, *chain), **how)


def generations(broker, id="client"):
    return [(int(g[0]), str(g[1]), int(g[2])) for g in broker.certificate_properties(id)["Generations"]]


def outcome(call, *arguments, **how):
    try:
        call(*arguments, **how)
    except Failure as failure:
        return failure.name
    return "ok"


def test_dates(jumping):  # noqa: F811
    """Expired: refused. Not valid yet: it waits, is seen, survives restarts, and becomes current when the clock says so."""
    broker = jumping.start()
    key, other = pki.new_key("ec-p256"), pki.new_key("ec-p256")
    first, expired = leaf(key), leaf(key, now() - 3 * pki.DAY, now() - pki.DAY)
    coming = leaf(other, now() + 12 * HOUR)
    latest = leaf(other, now() + 24 * HOUR)
    bring(broker, key, first)
    broker.create_backend("orders", "client")
    assert outcome(bring, broker, key, expired, replace=True) == "Expired"
    assert outcome(install, broker, "client", pki.pem(expired)) == "Expired"
    before = sorted(str(o) for o in broker.token_objects())
    assert len(generations(broker)) == 1

    bring(broker, other, coming, replace=True)
    bring(broker, other, coming, replace=True)  # whoever applies it again gets no third one
    bring(broker, other, latest, replace=True)
    waits = [(2, pki.thumbprint(coming, "sha256"), 0), (3, pki.thumbprint(latest, "sha256"), 0)]
    assert len(broker.token_objects()) == 3 * len(before)

    def check_waiting():
        assert generations(broker)[1:] == waits
        properties = broker.certificate_properties("client")
        assert (properties["Generation"], properties["State"], properties["LastError"]) == (1, "active", "")
        assert broker.backend("orders", "GetCredential")["generation"] == 1
        assert (sign_outcome(broker, "client"), sign_outcome(broker, "client", 2)) == ("ok", "Pending")
        assert outcome(set_current, broker, "client", 2) == "Pending"
        told = broker.certificate("client", "GetChain", "t", dbus.UInt64(2))
        assert bytes(told[0]) == pki.der(coming)
        status = broker.cli_json("status")
        assert status["attention"] == []
        assert [(w["object"], w["generation"]) for w in status["waiting"]] == \
            [("certificate/client", 2), ("certificate/client", 3)]
        shown = broker.cli("certificate", "show", "client").stdout.decode()
        assert "2 (waits for its NotBefore)" in shown
        assert "2 becomes current by itself" in broker.cli("certificate", "refresh", "client").stdout.decode()
        assert f"becomes current by itself at {coming.not_valid_before:%Y-%m-%dT%H:%M:%S}Z" in shown

    check_waiting()
    broker.restart()
    check_waiting()
    watch = Signals(broker)
    jumping.clock("+13h")
    broker.manager("Reload")  # the kernel does not know of this clock; of its own it tells the broker
    watch.wait("Rotated", certificate_path("client"))
    assert watch.wait("CredentialChanged", backend_path("orders"))[0][3] == (2,)
    assert (sign_outcome(broker, "client", 1), sign_outcome(broker, "client", 2)) == ("ok", "ok")
    records = [json.loads(line) for line in (broker.state / "audit.jsonl").read_text().splitlines()]
    assert [r["generation"] for r in records if r["event"] == "Rotated"] == [2]
    [_, (_, _, second), (_, _, third)] = generations(broker)
    assert (second, third) == (0, 0) and generations(broker)[0][2] > 0
    jumping.clock("+0d")
    assert broker.certificate_properties("client")["Generation"] == 2  # a clock that goes back takes nothing back

    broker.stop()
    jumping.clock("+25h")  # what came due while it was away
    broker.start()
    wait_until(lambda: broker.certificate_properties("client")["Generation"] == 3, "the third generation")
    assert sign_outcome(broker, "client", 1) in ("ok", "Expired")
    assert outcome(bring, broker, key, expired, replace=True, force=True) == "ok"
    assert state(broker, "client") == "expired"


def test_what_has_waited_for_too_long(jumping, refused):  # noqa: F811
    """The clock went past its end while it waited: it has ended, is told as such, and is no reason to leave anything."""
    broker = jumping.start()
    key, other = pki.new_key("ec-p256"), pki.new_key("ec-p256")
    short = leaf(other, now() + 10 * pki.DAY, now() + 20 * pki.DAY)
    bring(broker, key, leaf(key))
    bring(broker, other, short, replace=True)
    assert generations(broker)[1][2] == 0
    jumping.clock("+30d")
    broker.manager("Reload")
    assert broker.certificate_properties("client")["Generation"] == 1
    end = short.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp()
    assert generations(broker)[1][2] == end
    assert broker.cli_json("status")["waiting"] == []
    assert "2 (ended)" in broker.cli("certificate", "show", "client").stdout.decode()
    refused("Expired", bring, broker, other, short, replace=True)


def test_a_source_has_only_one_that_waits(broker):
    """The current key is gone, and the source has another one whose certificate is for later: that is said."""
    key, other = pki.key("rsa-2048"), pki.key("rsa-2048", 1)
    put(broker, "outside", key, leaf(key))
    register(broker, "client", "pkcs11:token=test;object=outside")
    for kind in "privkey", "cert":
        broker.pkcs11_tool("--delete-object", "--type", kind, "--id", "01")
    put(broker, "outside", other, leaf(other, now() + pki.DAY), id="02")
    for _ in range(2):
        broker.certificate("client", "Refresh")
    assert [g[2] for g in generations(broker)] == [0, 0]
    assert state(broker, "client") == "unavailable"
    assert "generation 2 instead, which becomes current" in broker.certificate_properties("client")["LastError"]


def test_a_request_of_one_that_waits(broker, refused):
    """A leaf for the newest key, for which requests are made, and one for the current key: both can be installed."""
    ca = pki.Issuer()
    generate(broker, "client")
    old = request(broker, "client")
    install(broker, "client", pki.pem(issue(old, ca)))
    generate(broker, "client", replace=True)
    new = request(broker, "client")
    coming = issue(new, ca, not_before=pki.NOW + pki.DAY)
    install(broker, "client", pki.pem(coming))
    install(broker, "client", pki.pem(coming))
    assert [g[0] for g in generations(broker)] == [1, 2]
    foreign = pki.pem(leaf(pki.new_key("ec-p256")))
    refused("KeyMismatch", install, broker, "client", foreign)
    install(broker, "client", pki.pem(issue(old, ca)))
    assert (broker.certificate_properties("client")["Generation"], sign_outcome(broker, "client")) == (3, "ok")
    generate(broker, "client", replace=True)
    new = request(broker, "client")
    install(broker, "client", pki.pem(issue(new, ca, not_before=pki.NOW + pki.DAY)))
    install(broker, "client", pki.pem(issue(request(broker, "client"), ca)))  # in place of it, with its key
    assert (broker.certificate_properties("client")["Generation"], sign_outcome(broker, "client")) == (5, "ok")


def test_what_ends_the_waiting(broker):
    """Force, a newer one, Retire; going back does not. What a person wants now is current now, and nothing comes back."""
    keys = [pki.new_key("ec-p256") for _ in range(3)]
    later = now() + 365 * pki.DAY
    end = later + 365 * pki.DAY
    coming = leaf(keys[1], later, end)
    for id in "forced", "again", "newer", "retired", "back":
        bring(broker, keys[0], leaf(keys[0]), id=id)
    bring(broker, keys[1], coming, id="forced", replace=True, force=True)
    assert (broker.certificate_properties("forced")["Generation"], state(broker, "forced")) == (2, "pending")

    for id in "again", "newer", "retired", "back":
        bring(broker, keys[1], coming, id=id, replace=True)
        assert (broker.certificate_properties(id)["Generation"], state(broker, id)) == (1, "active")
    bring(broker, keys[1], coming, id="again", replace=True, force=True)
    assert [g[0] for g in generations(broker, "again")] == [1, 2]
    assert broker.certificate_properties("again")["Generation"] == 2

    bring(broker, keys[2], leaf(keys[2]), id="newer", replace=True)
    assert broker.certificate_properties("newer")["Generation"] == 3
    assert generations(broker, "newer")[1][2] > 0  # with the grace of one that was current

    retire(broker, "retired", 2)
    assert 0 < generations(broker, "retired")[1][2] <= now().replace(tzinfo=datetime.timezone.utc).timestamp()

    bring(broker, keys[2], leaf(keys[2]), id="back", replace=True, force=True)
    set_current(broker, "back", 1)
    assert [g[2] > 0 for g in generations(broker, "back")] == [False, True, True]


def test_by_itself(stopped):
    """With the kernel's clock: two with the same key, of which the later takes the place of the one before. The key of
    another was destroyed meanwhile: the one before stays, that is said, and an import mends it."""
    broker = stopped.start()
    watch = Signals(broker)
    generate(broker, "client")
    ca = pki.Issuer()
    csr = request(broker, "client")
    install(broker, "client", pki.pem(issue(csr, ca)))
    key, other = pki.new_key("ec-p256"), pki.new_key("ec-p256")
    bring(broker, key, leaf(key), id="lost")
    before = {o["ID"] for o in broker.token_objects("Private Key")}
    begin = now() + datetime.timedelta(seconds=3 * PATIENCE)
    coming = leaf(other, begin)
    bring(broker, other, coming, id="lost", replace=True)
    install(broker, "client", pki.pem(issue(csr, ca, not_before=begin)))
    [made] = {o["ID"] for o in broker.token_objects("Private Key")} - before
    broker.pkcs11_tool("--delete-object", "--type", "privkey", "--id", made)
    assert broker.certificate_properties("client")["Generation"] == 1
    watch.wait("Rotated", certificate_path("client"), timeout=20 * PATIENCE)
    wait_until(lambda: broker.certificate_properties("client")["Generation"] == 2, "the next generation")
    pki.verify(csr.public_key(), "ecdsa-sha256", broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m")),
               b"m")

    said = lambda: str(broker.certificate_properties("lost")["LastError"])  # noqa: E731
    wait_until(lambda: "generation 2 is valid now, but did not become current" in said(), "it is said")
    for again in (lambda: None, lambda: broker.certificate("lost", "Refresh")):
        again()
        assert "did not pass a trial" in said()
        assert (generations(broker, "lost")[1][2], broker.certificate_properties("lost")["Generation"]) == (0, 1)
        assert sign_outcome(broker, "lost") == "ok"
        assert any("did not pass a trial" in a["reason"] for a in broker.cli_json("status")["attention"])
    assert "2 is valid since" in broker.cli("certificate", "show", "lost").stdout.decode()
    bring(broker, other, coming, id="lost", replace=True)
    assert (broker.certificate_properties("lost")["Generation"], said(), sign_outcome(broker, "lost")) == (3, "", "ok")
    assert broker.log_text().count("did not become current") == 1
    rotated = [r for r in map(json.loads, (broker.state / "audit.jsonl").read_text().splitlines())
               if r["event"] == "Rotated"]
    assert [(r["object"], r["generation"]) for r in rotated] == [(certificate_path("client"), 2)]


def test_by_itself_without_its_source(jumping):  # noqa: F811
    """Its source is away when its time comes: the one before goes on. Once that has expired, the next one is current,
    and nobody is given it before its key has signed."""
    broker = jumping.start()
    key, other = pki.new_key("ec-p256"), pki.new_key("ec-p256")
    bring(broker, key, leaf(key, not_after=now() + 20 * pki.DAY))
    bring(broker, other, leaf(other, now() + 10 * pki.DAY), replace=True)
    broker.create_backend("orders", "client")
    told = lambda: broker.certificate_properties("client")  # noqa: E731
    broker.stop()
    broker.tokens.rename(broker.folder / "gone")
    broker.tokens.mkdir()
    jumping.clock("+11d")
    broker.start(ready=None)
    wait_until(lambda: "generation 2 is valid now" in told()["LastError"], "it could not be tried")
    assert (told()["Generation"], state(broker, "client")) == (1, "active")
    jumping.clock("+21d")
    broker.manager("Reload")
    wait_until(lambda: told()["Generation"] == 2, "the one before has expired")
    assert state(broker, "client") == "unavailable" and "untried" in told()["LastError"]
    assert outcome(broker.backend, "orders", "GetCredential") == "SourceUnavailable"
    broker.tokens.rmdir()
    (broker.folder / "gone").rename(broker.tokens)
    wait_until(lambda: state(broker, "client") == "active", "its source is back", 30)
    assert (told()["LastError"], sign_outcome(broker, "client")) == ("", "ok")


def test_the_same_again(broker):
    """No generation and no object more; only a chain that is another is taken."""
    root = pki.Issuer()
    between = pki.Issuer("Between", parent=root)
    key = pki.new_key("ec-p256")
    mine = pki.certificate(key, "client.example", issuer=between)
    bring(broker, key, mine)
    assert "Between" in broker.certificate_properties("client")["LastError"]
    before = sorted(str(o) for o in broker.token_objects())
    chain = lambda: [bytes(c) for c in broker.get(certificate_path("client"), "Certificate", "Chain")]  # noqa: E731

    bring(broker, key, mine, replace=True)
    assert outcome(bring, broker, key, mine) == "AlreadyExists"
    broker.import_bundle("client", pki.p12(key, mine), b"secret", replace=True)
    assert len(chain()) == 1 and "Between" in broker.certificate_properties("client")["LastError"]
    bring(broker, key, mine, between.certificate, replace=True)
    assert chain() == [pki.der(mine), pki.der(between.certificate)]
    install(broker, "client", pki.pem(mine))  # a part of what is known
    broker.certificate("client", "Refresh")  # the token has less
    assert chain() == [pki.der(mine), pki.der(between.certificate)]
    assert broker.certificate_properties("client")["LastError"] == ""
    install(broker, "client", pki.pem(mine, between.certificate, root.certificate))
    assert len(chain()) >= 2

    broker.create_backend("orders", "client")
    watch = Signals(broker)
    renewed = pki.certificate(between.key, "Between", issuer=root, ca=True)
    install(broker, "client", pki.pem(mine, renewed, root.certificate))  # another chain of the same length
    assert chain()[1] == pki.der(renewed)
    watch.wait("CredentialChanged", backend_path("orders"))
    broker.restart()
    assert chain()[1] == pki.der(renewed)
    assert [g[0] for g in generations(broker)] == [1]
    assert sorted(str(o) for o in broker.token_objects()) == before

    # What is no longer in force, or is gone, or may be exported, is another matter.
    bring(broker, key, mine, replace=True, extractable=True)
    assert [g[0] for g in generations(broker)] == [1, 2]
    set_current(broker, "client", 1)  # its leaf is also that of one that is no longer in force
    bring(broker, key, mine, replace=True)
    install(broker, "client", pki.pem(mine))
    assert [(g[0], g[2] == 0) for g in generations(broker)] == [(1, True), (2, False)]
    set_current(broker, "client", 2)
    other = pki.new_key("ec-p256")
    bring(broker, other, leaf(other), replace=True)
    bring(broker, key, mine, replace=True)
    assert [g[0] for g in generations(broker)] == [1, 2, 3, 4]
    broker.restart()  # no note is left of a key that was to be made
    assert len(broker.token_objects("Private Key")) == 4


def test_the_same_however_many_wait(broker):
    key = pki.new_key("ec-p256")
    mine = leaf(key)
    bring(broker, key, mine)
    for _ in range(64):
        install(broker, "client", pki.pem(leaf(key, pki.NOW + 30 * pki.DAY)))
    bring(broker, key, mine, replace=True)
    assert (len(generations(broker)), broker.certificate_properties("client")["Generation"]) == (65, 1)


def test_a_key_that_is_gone_is_imported_again(broker):
    key = pki.new_key("ec-p256")
    mine = leaf(key)
    bring(broker, key, mine)
    [private] = broker.token_objects("Private Key")
    broker.pkcs11_tool("--delete-object", "--type", "privkey", "--id", private["ID"])
    broker.certificate("client", "Refresh")
    assert state(broker, "client") == "unavailable"
    bring(broker, key, mine, replace=True)
    assert (state(broker, "client"), sign_outcome(broker, "client")) == ("active", "ok")


def test_uses(broker):
    """A leaf that no server takes from a client is taken, and that is said as long as it is current."""
    key = pki.new_key("ec-p256")

    def with_use(extended, signs=True):
        usage = x509.KeyUsage(signs, False, True, False, False, False, False, False, False)
        return leaf(key, extensions=(usage, x509.ExtendedKeyUsage(extended)))

    said = lambda: str(broker.certificate_properties("client")["LastError"])  # noqa: E731
    bring(broker, key, with_use([Eku.SERVER_AUTH, Eku.CLIENT_AUTH]))
    assert said() == ""
    bring(broker, key, with_use([Eku.SERVER_AUTH]), replace=True)
    assert "clientAuth" in said() and "digitalSignature" not in said()
    broker.certificate("client", "Refresh")
    broker.restart()
    assert "clientAuth" in said()
    assert any("clientAuth" in a["reason"] for a in broker.cli_json("status")["attention"])
    bring(broker, key, with_use([Eku.CODE_SIGNING], signs=False), replace=True)
    assert "clientAuth" in said() and "digitalSignature" in said()
    set_current(broker, "client", 1)
    assert said() == ""
    bring(broker, key, with_use([Eku.ANY_EXTENDED_KEY_USAGE]), replace=True)
    assert said() == ""


def test_names(broker, refused):
    """However many: in another order and case they are the same, and one that is missing is missed."""
    key = pki.new_key("ec-p256")
    n = 2000
    names = [f"h{i}.example" for i in range(n)]
    bring(broker, key, pki.certificate(key, "client.example", sans=names))
    assert list(broker.certificate_properties("client")["SubjectAltNames"]) == [f"DNS:{name}" for name in names]
    bring(broker, key, pki.certificate(key, "client.example", sans=[name.upper() for name in reversed(names)]), replace=True)
    fewer = pki.certificate(key, "client.example", sans=names[:-1])
    assert f"DNS:{names[-1].upper()}" in refused("InvalidArgument", bring, broker, key, fewer, replace=True)
    assert f"DNS:{names[-1].upper()}" in refused("InvalidArgument", install, broker, "client", pki.pem(fewer))
    bring(broker, key, fewer, replace=True, force=True)
    assert len(broker.cli_json("certificate", "list")[0]["SubjectAltNames"]) == n - 1
    broker.restart()
    assert len(broker.certificate_properties("client")["SubjectAltNames"]) == n - 1
