# SPDX-License-Identifier: Apache-2.0
"""Sequences at random of what managers of different ids may do, each on ids of their own. After each step nothing of
what the others have is changed: no property, no chain, no object in the token, no version in the vault; their keys go
on signing; and what is refused names no id that the caller may not see.

    CERTBROKER_MANAGERS_SECONDS   how long, each on a token and on a vault; 18
    CERTBROKER_MANAGERS_SEED      one that was printed
    CERTBROKER_MANAGERS_GO_ON=1   say what is found, and go on

CERTBROKER_MANAGERS_SECONDS=600 CERTBROKER_BUILD=build-check /usr/bin/python3 -m pytest -s tests/integration/test_managers.py
"""

import collections
import os
import random
import time

import pki
from cryptography import x509

from broker import ME, ROOT, OBJECT_MANAGER, Failure, backend_path, certificate_path
from managers import Manager, token_files
from test_apart import put_without_id
from test_register import put
from vaulted import vaulted  # noqa: F401

SECONDS = float(os.environ.get("CERTBROKER_MANAGERS_SECONDS", "18"))
SEED = int(os.environ.get("CERTBROKER_MANAGERS_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
GO_ON = os.environ.get("CERTBROKER_MANAGERS_GO_ON") == "1"
STEPS = 40  # of a sequence
WEIGHTS = {"import": 6, "replace": 4, "generate": 3, "register": 9, "install": 6, "request": 1, "current": 2, "retire": 1,
           "enable": 2, "refresh": 2, "export": 1, "delete": 2, "destroy": 4, "bind": 1, "change": 1, "unbind": 2}
RESTART = 20  # sequences, before the broker is started anew: it lets nobody make more than so much in a time
LOOSE = 4  # keys that nobody here has made

# user → stems of ids. Those of the first two meet in a vault; the third may make nothing anywhere.
STEMS = {"games": ("one-{n}-", "pay_{n}_"), "daemon": ("two-{n}-", "pay-{n}-"), "www-data": ("all-{n}-",)}
GRANTS = f"""
  everything = {{ user = "{ME}"; allow = [ "manage", "use", "export", "audit" ];
                 certificate = "*"; backend = "*"; source = "*"; }};
  first = {{ user = "games"; allow = [ "manage", "export" ];
            certificate = [ "one-*", "pay_*" ]; backend = "one-*"; source = "*"; }};
  second = {{ user = "daemon"; allow = [ "manage", "use" ];
             certificate = [ "two-*", "pay-*" ]; backend = "two-*"; source = "*"; }};
  third = {{ user = "www-data"; allow = "manage"; certificate = "all-*"; backend = "all-*"; }};
"""
# Whatever else a call may end with would be a fault of the broker's.
OUTCOMES = {"NotFound", "AlreadyExists", "AccessDenied", "InUse", "InvalidArgument", "Pending", "Expired", "Disabled",
            "NotSupported", "KeyMismatch", "LimitExceeded"}
PASSING = ("LastRefresh", "NextRefresh", "LastUsed", "LastUsedBy")  # properties that say when


class Violation(AssertionError):
    pass


class World:
    """What the managers are let loose on: a token."""

    source = "hsm"
    failures = ()  # that it may say
    weights = WEIGHTS
    numbers = {}  # of the ids of a stem, where these are not 1 and 2

    def __init__(self, broker):
        self.broker = broker
        self.issuer = pki.Issuer("Shared Root")

    def loose_uris(self):
        return [f"pkcs11:object=loose-{i}" for i in range(LOOSE)] + \
            [f"pkcs11:token=test;id=%{0x40 + i:02x}" for i in range(LOOSE)] + ["pkcs11:object=pay-0-1", "pkcs11:object=two-1-1"]

    def spellings(self, uri):
        label = uri.split("object=")[1].split(";")[0] if "object=" in uri else None
        mark = uri.split("id=")[1].split(";")[0] if "id=" in uri else None
        return [uri, uri.replace("pkcs11:", "PKCS11:")] + ([f"pkcs11:object={label}"] if label else []) + \
            ([f"pkcs11:id={mark.lower()}"] if mark else [])

    def things(self):
        """Each thing that is there, by a name, as a text that changes with it."""
        return token_files(self.broker)

    def things_of(self, uris, owner):
        """Of what nobody here has made, the things that lie under these keys' URIs."""
        labels = {uri.split("object=")[1].split(";")[0] for uri in uris if "object=" in uri}
        return {name for key in (*labels, *uris) for name in owner.get(key, ())}

    def prepare(self):
        """Keys of the token's owner, some with a name that an id will have, one that is known by its label alone."""
        made = {}
        for i, label in enumerate([f"loose-{i}" for i in range(LOOSE)] + ["pay-0-1", "two-1-1"]):
            before = set(token_files(self.broker))
            key = pki.new_key("ec-p256")
            leaf = pki.certificate(key, label, issuer=self.issuer if i % 2 else None)
            if label == "two-1-1":
                put_without_id(self.broker, label, key, leaf)
            else:
                put(self.broker, label, key, leaf, id=f"{0x40 + i:02x}")
            made[label] = set(token_files(self.broker)) - before
        return made


class VaultWorld(World):
    """The same in the test vault."""

    source = "vault"
    failures = ("Conflict", "has no 'cer'")  # of a name whose key waits for its certificate
    # Here it is names that meet, and each look-up takes its time: fewer ids, and more that writes.
    weights = {**WEIGHTS, "replace": 14, "generate": 6, "register": 12, "install": 4, "refresh": 1, "enable": 1}
    numbers = {"one-{n}-": (1,), "two-{n}-": (1,)}

    def loose_uris(self):
        return [self.broker.uri(f"loose-{i}") for i in range(LOOSE)]

    def spellings(self, uri):
        if "/keys/" in uri:
            uri = uri.replace("/keys/", "/certificates/")
        name = uri.split("/certificates/")[1].split("/")[0]
        return [self.broker.uri(name), self.broker.uri(name.upper()), uri]

    def things(self):
        """Names; what was deleted is not there."""
        things = {}
        for name in self.names:
            try:
                found = self.broker.vault.certificate(name)
            except ValueError:
                continue
            things[name] = f"{found['versions']} {found['version']} {found.get('enabled')}"
        return things

    def things_of(self, uris, owner):
        return {uri.split("/")[4].lower() for uri in uris if uri.startswith("https://")} & set().union(*owner.values())

    def prepare(self):
        self.names = {f"loose-{i}" for i in range(LOOSE)}
        for name in self.names:
            self.broker.vault.add_certificate(name, key_type="ec-p256")
        return {name: {name} for name in self.names}

    def begin(self, ids):
        self.names |= {id.replace("_", "-").replace(".", "-") for id in ids}


class Sequence:
    """Some steps on ids that no other sequence has."""

    def __init__(self, world, managers, dice, number, loose):
        self.world, self.broker, self.managers, self.dice, self.loose = world, world.broker, managers, dice, dict(loose)
        self.ids = {user: [stem.format(n=number) + str(k) for stem in stems for k in world.numbers.get(stem, (1, 2))]
                    for user, stems in STEMS.items()}
        self.backends = {user: [f"{STEMS[user][0].format(n=number)}{k}" for k in (1, 2)] for user in STEMS}
        self.owners = {}  # thing → user; what nobody made here, or has left there, has none
        self.makers = {}  # thing → id
        self.leavers = {}  # thing → id that left it, and has it again where it is made anew
        self.things = world.things()  # after the last step
        self.trace, self.when, self.done = [], number, collections.Counter()

    # --- what there is

    def objects(self):
        """path → properties, of all ids and backends."""
        found = {}
        for path, interfaces in self.broker.call(ROOT, OBJECT_MANAGER, "GetManagedObjects").items():
            for name, properties in interfaces.items():
                if name.startswith("org.certbroker1.") and "/source/" not in path:
                    found[str(path)] = {str(k): v for k, v in properties.items() if k not in PASSING}
        return found

    def state(self, user, objects, thorough=False):
        """All that this user has, as root sees it. A chain has its leaf's thumbprint among the properties."""
        paths = {certificate_path(id) for id in self.ids[user]} | {backend_path(name) for name in self.backends[user]}
        state = {path: properties for path, properties in objects.items() if path in paths}
        for id in self.ids[user]:
            if thorough and certificate_path(id) in state and state[certificate_path(id)]["Generation"]:
                state[f"chain of {id}"] = self.broker.chain(id)
        return state

    def look_up(self, users):
        for user in users:
            for id in self.ids[user]:
                try:
                    self.broker.certificate(id, "Refresh")
                except Failure as failure:
                    self.check_outcome(failure)

    def uris(self, user, objects):
        return [str(objects[certificate_path(id)]["KeyUri"]) for id in self.ids[user] if certificate_path(id) in objects]

    def protected(self, user, id, objects, things):
        """Of what is there, what this user's step on this id must not touch."""
        others = [other for other in STEMS if other != user]
        held = set().union(*(self.world.things_of(self.uris(other, objects), self.loose) for other in others))
        if user == "www-data":  # who may manage no source
            held |= {name for name in set().union(*self.loose.values()) if self.leavers.get(name) != id}
        return {name: text for name, text in things.items() if self.owners.get(name) in others or name in held}

    # --- steps: each is one call by one user, on an id of his own

    def bundle(self, id):
        key = pki.key("ec-p256", self.dice.randrange(6))
        issuer = self.dice.choice([None, self.world.issuer])
        chain = (issuer.certificate,) if issuer and self.dice.random() < 0.5 else ()
        return pki.pem(key, pki.certificate(key, id, issuer=issuer), *chain)

    def any_uri(self, user):
        objects = self.objects()
        known = [uri for other in STEMS for uri in self.uris(other, objects) if uri]
        if known and self.dice.random() < 0.7:
            return self.dice.choice(self.world.spellings(self.dice.choice(known)))
        return self.dice.choice(self.world.loose_uris())

    def step_import(self, user, id):
        self.managers[user].import_bundle(id, self.bundle(id), b"", source=self.world.source,
                                          extractable=self.dice.random() < 0.3)

    def step_replace(self, user, id):
        self.managers[user].import_bundle(id, self.bundle(id), b"", source=self.world.source, replace=True, force=True)

    def step_generate(self, user, id):
        self.managers[user].generate(id, source=self.world.source, replace=self.dice.random() < 0.4)

    def step_register(self, user, id):
        uri = self.any_uri(user)
        self.trace[-1] += f" {uri}"
        self.managers[user].register(id, uri)

    def step_install(self, user, id):
        csr = x509.load_der_x509_csr(bytes.fromhex(self.managers[user].certificate(id, "CreateRequest", "sas", f"CN={id}", [])))
        issuer = pki.Issuer("Some Root")
        leaf = pki.certificate(csr, subject=csr.subject, issuer=issuer)
        self.managers[user].install(id, pki.pem(leaf, issuer.certificate), force=True)

    def step_request(self, user, id):
        self.managers[user].certificate(id, "CreateRequest", "sas", f"CN={id}", [])

    def step_current(self, user, id):
        self.managers[user].certificate(id, "SetCurrent", "t", self.dice.randrange(1, 4))

    def step_retire(self, user, id):
        self.managers[user].certificate(id, "Retire", "t", self.dice.randrange(1, 4))

    def step_enable(self, user, id):
        self.managers[user].certificate(id, "SetEnabled", "b", self.dice.random() < 0.7)

    def step_refresh(self, user, id):
        self.managers[user].certificate(id, "Refresh")

    def step_export(self, user, id):
        self.managers[user].export(id)

    def step_delete(self, user, id):
        self.managers[user].delete(id)

    def step_destroy(self, user, id):
        self.managers[user].delete(id, destroy=True)

    def step_bind(self, user, id):
        name = self.dice.choice(self.backends[user])
        self.managers[user].manager("CreateBackend", "sa{sv}", name, {"Url": "https://localhost/", "Certificate": id})

    def step_change(self, user, id):
        name = self.dice.choice(self.backends[user])
        target = self.dice.choice([id] + [i for ids in self.ids.values() for i in ids])
        self.trace[-1] += f" {target}"
        self.managers[user].backend(name, "Change", "a{sv}", {"Certificate": target})

    def step_unbind(self, user, id):
        self.managers[user].backend(self.dice.choice(self.backends[user]), "Delete")

    # --- and what must not follow of them

    def run(self):
        for i in range(STEPS):
            if self.dice.random() < 0.12:
                self.step_of_root()
            else:
                self.step(thorough=i % 4 == 3)

    def step_of_root(self):
        """Who manages everything registers one user's key for another: the two ids share it from then on."""
        user, id = self.pick()
        uri = self.any_uri(user)
        self.trace.append(f"root registers {id} {uri}")
        try:
            self.broker.manager("RegisterCertificate", "ssa{sv}", id, uri, {})
        except Failure as failure:
            self.check_outcome(failure)

    def pick(self):
        user = self.dice.choice([*STEMS, "www-data"])  # who has no other way to come to something
        return user, self.dice.choice(self.ids[user])

    def check_outcome(self, failure):
        if failure.name not in OUTCOMES and not any(text in failure.message for text in self.world.failures):
            self.violated(f"an outcome that none is meant to have: {failure}")

    def step(self, thorough):
        objects = self.objects()
        users = [user for user in STEMS if user != "www-data" or self.uris(user, objects) or self.dice.random() < 0.1]
        user = self.dice.choice(users)
        kind = self.dice.choices(*zip(*self.world.weights.items()))[0]
        others = [other for other in STEMS if other != user]
        if thorough:
            self.look_up(others)
            objects = self.objects()
        id = self.likely(user, kind, objects)
        before = {other: self.state(other, objects, thorough) for other in others}
        protected = self.protected(user, id, objects, self.things)
        self.trace.append(f"{user} {kind} {id}")
        try:
            getattr(self, f"step_{kind}")(user, id)
            self.trace[-1] += ": ok"
            self.done[kind] += 1
            if kind == "delete":
                self.leave(id, str(objects[certificate_path(id)]["KeyUri"]))
        except Failure as failure:
            self.trace[-1] += f": {failure.name}"
            self.check_words(user, failure)
        if thorough:
            self.look_up(others)
        self.check(user, id, before, protected, thorough)
        if thorough:
            self.check_signatures(others, before)

    def leave(self, id, uri):
        """Who forgets an id leaves its key to whoever manages the source, or has it under another id."""
        left = {name for name, maker in self.makers.items() if maker == id}
        for name in left:
            del self.owners[name]
            self.leavers[name] = self.makers.pop(name)
        self.loose[uri] = left | self.loose.get(uri, set())

    def likely(self, user, kind, objects):
        """An id with which it may well succeed."""
        there = [id for id in self.ids[user] if certificate_path(id) in objects]
        new = [id for id in self.ids[user] if id not in there]
        wanted = new if kind in ("import", "register") or (kind == "generate" and self.dice.random() < 0.6) else there
        return self.dice.choice(wanted if wanted and self.dice.random() < 0.9 else self.ids[user])

    def check_words(self, user, failure):
        self.check_outcome(failure)
        words = failure.message.split(": ", 1)[-1] if "URI" in failure.message else failure.message
        own = {id.replace("_", "-") for id in self.ids[user]}
        for other in STEMS:
            for id in self.ids[other]:
                if other != user and f"'{id}'" in words and id.replace("_", "-") not in own and id not in self.trace[-1]:
                    self.violated(f"an id that he may not see: {failure}")

    def check(self, user, id, before, protected, thorough):
        objects, things = self.objects(), self.world.things()
        self.things = things
        for other, state in before.items():
            now = self.state(other, objects, thorough)
            if now != state:
                paths = [path for path in {**state, **now} if state.get(path) != now.get(path)]
                self.violated(f"{other}'s {paths}: {[state.get(p) for p in paths]} is {[now.get(p) for p in paths]}")
        changed = [name for name, text in protected.items() if things.get(name) != text]
        if changed:
            self.violated(f"what {[self.owners.get(name, 'nobody here') for name in changed]} made: {changed}")
        for name in things:
            if name not in self.owners and not any(name in loose for loose in self.loose.values()):
                self.owners[name], self.makers[name] = user, id

    def check_signatures(self, users, states):
        for user in users:
            for id in self.ids[user]:
                properties = states[user].get(certificate_path(id))
                if not properties or properties["State"] != "active":
                    continue
                leaf = x509.load_der_x509_certificate(states[user][f"chain of {id}"][0])
                try:
                    signature = self.broker.sign(id, "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
                    pki.verify(leaf.public_key(), "ecdsa-sha256", signature, b"m")
                except Exception as error:
                    self.violated(f"{id} does not sign any more: {error!r}")

    def told(self):
        return f"seed {SEED}, sequence {self.when}, step {len(self.trace)}:\n  " + "\n  ".join(self.trace)

    def violated(self, what):
        if not GO_ON:
            raise Violation(f"{what}\n{self.told()}")
        print(f"FOUND in sequence {self.when}, step {len(self.trace)}: {self.trace[-1]}: {what[:600]}")


def let_loose(world):
    """As many sequences as there is time for; how many."""
    broker, end, n, steps, done = world.broker, time.monotonic() + SECONDS, 0, 0, collections.Counter()
    managers = {user: Manager(broker, user) for user in STEMS}
    try:
        while time.monotonic() < end:
            if n % RESTART == RESTART - 1:
                broker.restart(ready=world.source)
            sequence = Sequence(world, managers, random.Random(f"{SEED} {n}"), n, world.prepared)
            if hasattr(world, "begin"):
                world.begin([id for ids in sequence.ids.values() for id in ids])
            sequence.run()
            steps += len(sequence.trace)
            done += sequence.done
            n += 1
            tidy(broker, sequence)
    finally:
        for manager in managers.values():
            manager.close()
    print(f"{n} sequences, {steps} steps, of which succeeded {dict(done)}, seed {SEED}")
    assert done.total() > steps / 10, "too little of it does anything"


def tidy(broker, sequence):
    """As root: what is left goes, with its keys where no two have them."""
    for names in sequence.backends.values():
        for name in names:
            attempt(broker.backend, name, "Delete")
    for ids in sequence.ids.values():
        for id in ids:
            if not id_is_loose(broker, id):
                attempt(broker.delete_certificate, id, destroy_key=True)
            attempt(broker.delete_certificate, id)


def id_is_loose(broker, id):
    """Is its key one of the owner's? The next sequence wants it again."""
    try:
        return "loose-" in str(broker.certificate_properties(id)["KeyUri"])
    except Failure:
        return True


def attempt(function, *arguments, **how):
    try:
        function(*arguments, **how)
    except Failure as failure:
        assert failure.name in OUTCOMES, failure


def test_token(stopped, root):
    world = World(stopped)
    stopped.configure(grants=GRANTS)
    world.prepared = world.prepare()
    stopped.start()
    let_loose(world)


def test_vault(vaulted, root):  # noqa: F811
    world = VaultWorld(vaulted)
    vaulted.configure(sources=vaulted.vault_source(), grants=GRANTS)
    vaulted.start(ready="vault")
    world.prepared = world.prepare()
    let_loose(world)
