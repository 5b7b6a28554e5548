# SPDX-License-Identifier: Apache-2.0
"""In a vault, too, who manages some ids does nothing to another: names there fold `.`, `_` and `-`, so ids may meet."""

import concurrent.futures

import lifecycle
import pki
import pytest

from broker import Failure
from managers import Manager
from test_apart import denied, grants, whole
from vaulted import *  # noqa: F403

TEAMS = """
  team = { user = "games"; allow = [ "manage", "use" ]; certificate = "team_*"; source = "*"; };
  tribe = { user = "daemon"; allow = [ "manage", "use" ]; certificate = "team.*"; source = "*"; };
"""


@pytest.fixture
def games(vaulted, root):
    """The manager of team_*, beside a root who has everything else."""
    vaulted.configure(sources=vaulted.vault_source(), grants=grants(TEAMS))
    vaulted.start(ready="vault")
    manager = Manager(vaulted, "games")
    yield manager
    manager.close()


def bundle(which=1, common_name="evil"):
    key = pki.key("ec-p256", which)
    return pki.p12(key, pki.certificate(key, common_name))


def writes(broker):
    return [r["path"] for r in broker.vault.requests("vault") if r["method"] != "GET"]


def state(broker, id, name=None):
    name = name or id
    return whole(broker, id), broker.vault.certificate(name)["version"], writes(broker)


def test_replace_writes_to_no_name_of_another(vaulted, games):
    """An id that follows some other certificate of the vault gets no new version under the name made of the id."""
    vaulted.add("team-pay")
    vaulted.vault.add_certificate("loose")
    games.register("team_pay", vaulted.uri("loose"))
    before = state(vaulted, "team-pay")
    for replace in (lambda: games.import_bundle("team_pay", bundle(), source="vault", replace=True, force=True),
                    lambda: games.generate("team_pay", source="vault", replace=True)):
        message = denied("InvalidArgument", replace)
        assert "team-pay" not in message and "rotate" in message
    vaulted.refresh("team-pay")
    assert state(vaulted, "team-pay") == before
    vaulted.check_signature("team-pay")


def test_ids_that_meet_in_the_vault(vaulted, games):
    """The later one is refused, with what is said of a name that only the vault knows; a pending key has its name too."""
    vaulted.import_new("team-pay", source="vault")
    lifecycle.generate(vaulted, "Team-Wait", source="vault")
    vaulted.vault.add_certificate("team-gone")
    before = state(vaulted, "team-pay")
    said = set()
    for id in ("team_pay", "team_wait", "team_gone"):
        for make in (lambda: games.import_bundle(id, bundle(), source="vault"), lambda: games.generate(id, source="vault")):
            said.add(denied("AlreadyExists", make).replace(id, "X"))
    assert len(said) == 1 and "team-" not in said.pop()
    assert state(vaulted, "team-pay") == before
    csr = lifecycle.request(vaulted, "Team-Wait", "CN=wait.example")
    leaf = lifecycle.issue(csr, pki.Issuer())
    lifecycle.install(vaulted, "Team-Wait", pki.pem(leaf), force=True)
    vaulted.check_signature("Team-Wait")


def test_what_another_holds_is_not_registered(vaulted, games):
    """Not in another spelling, and no version of it, for who rotates or destroys one does it to the name."""
    first = vaulted.add("orders")["version"]
    vaulted.vault.rotate("orders")
    vaulted.refresh("orders")
    before = state(vaulted, "orders")
    for uri in (vaulted.uri("orders"), vaulted.uri("ORDERS"), vaulted.uri("orders", first),
                vaulted.uri("orders").replace("https", "HTTPS").replace("contoso", "CONTOSO")):
        assert "orders" not in denied("AccessDenied", games.register, "team_1", uri)
    assert vaulted.list_ids() == ["orders"]
    assert state(vaulted, "orders") == before


def test_one_of_several_holders_writes_to_none(vaulted, games):
    """A name that several ids follow is written to by who manages all of them; nor is it destroyed for one."""
    games.import_bundle("team_pay", bundle(2, "own"), source="vault")
    vaulted.register("orders", vaulted.uri("team-pay"))
    before = state(vaulted, "orders", "team-pay")
    for write in (lambda: games.import_bundle("team_pay", bundle(3), source="vault", replace=True, force=True),
                  lambda: games.generate("team_pay", source="vault", replace=True)):
        assert "orders" not in denied("AccessDenied", write)
    assert "orders" not in denied("InUse", games.delete, "team_pay", destroy=True)
    vaulted.refresh("orders")
    assert state(vaulted, "orders", "team-pay") == before
    # all of them: both follow, for both were meant to
    vaulted.import_bundle("team_pay", bundle(3), b"secret", source="vault", replace=True, force=True)
    vaulted.refresh("orders")
    assert vaulted.chain("orders") == vaulted.chain("team_pay")


def test_a_key_that_waits_is_merged_by_who_manages_all_holders(vaulted, games):
    """What was allowed when the key was made is not any more: another id has come to follow the name."""
    games.import_bundle("team_pay", bundle(2, "own"), source="vault")
    games.generate("team_pay", source="vault", replace=True)
    vaulted.register("orders", vaulted.uri("team-pay"))
    before = whole(vaulted, "orders"), vaulted.vault.certificate("team-pay")["version"]
    leaf = lifecycle.issue(lifecycle.request(vaulted, "team_pay", "CN=own"), pki.Issuer())
    denied("AccessDenied", games.install, "team_pay", pki.pem(leaf), force=True)
    vaulted.refresh("orders")
    assert (whole(vaulted, "orders"), vaulted.vault.certificate("team-pay")["version"]) == before


def test_of_two_ids_that_meet_at_once_one_is_made(vaulted, games):
    other = Manager(vaulted, "daemon")

    def make(manager, id):
        try:
            manager.import_bundle(id, bundle(), source="vault")
            return "ok"
        except Failure as failure:
            return failure.name

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i in range(6):
            both = [pool.submit(make, games, f"team_{i}"), pool.submit(make, other, f"team.{i}")]
            assert sorted(f.result() for f in both) == ["AlreadyExists", "ok"], i
            assert len([w for w in writes(vaulted) if w.endswith(f"/certificates/team-{i}/import")]) == 1
    other.close()


def test_followers_of_one_name_go_on_together(vaulted, games):
    """Who manages both has registered both: what the vault brings by itself is for both."""
    vaulted.add("orders")
    vaulted.register("again", vaulted.uri("orders"))
    vaulted.vault.rotate("orders")
    for id in ("orders", "again"):
        vaulted.refresh(id)
        assert vaulted.certificate_properties(id)["Generation"] == 2
        assert vaulted.certificate_properties(id)["LastError"] == ""
