# SPDX-License-Identifier: Apache-2.0
"""Owners who change certificates and backends all at once, and what was acknowledged to each: for tests/crash.

Each owner has ids of its own and makes one change after the other, so there is one change of each at most of which
nobody knows whether it was done: what stands in `open` when the broker is gone.
"""

import collections
import random
import threading
import time
import typing

import dbus
import pki

from broker import ERROR, Failure, ROOT, backend_path, certificate_path
from cryptography.exceptions import InvalidSignature
from lifecycle import generate, install, options, request

ALGORITHM = "ecdsa-sha256"


def id_of(path):
    """Of an id of ours, which has nothing else that is escaped."""
    return path.rsplit("/", 1)[1].replace("_2d", "-")


class Certificate(typing.NamedTuple):
    generations: tuple  # (number, SHA-256 thumbprint, one of: pending, current, older, retired)
    enabled: bool = True

    @property
    def current(self):
        return next((row for row in self.generations if row[2] == "current"), None)


class Backend(typing.NamedTuple):
    url: str
    certificate: str
    validates: bool = True


class Open(typing.NamedTuple):
    """A change whose answer did not come."""
    event: str
    before: object  # None: it is not there
    after: object


class Owner:
    """One connection and what it was told; run() until the broker does not answer any more."""

    PAUSE = 0.01  # seconds at most: who is fast leaves room for the others

    def __init__(self, broker, name, seed):
        self.broker, self.name = broker, name
        self.random = random.Random(f"{seed}/{name}")
        self.connection = broker.connect()
        self.objects = {}  # path → Certificate or Backend
        self.open = {}  # path → Open
        self.acknowledged = collections.Counter()  # (event, path)
        self.refused = collections.Counter()  # names of errors
        self.n = 0
        self.fault = None

    def run(self, until):
        try:
            while not until.is_set() and self.step():
                time.sleep(self.random.uniform(0, self.PAUSE))
        except Exception as error:  # no thread ends unseen
            self.fault = error

    def call(self, event, path, work):
        """True: it is done; False: it is refused; None: nobody knows."""
        try:
            self.answer = work()
        except Failure as failure:
            self.refused[failure.name] += 1
            is_open = not failure.full_name.startswith(ERROR) or "is deleted when it can be" in failure.message
            return None if is_open else False
        self.acknowledged[event, path] += 1
        return True

    def change(self, event, path, after, work):
        """False: the broker is gone."""
        before = self.objects.get(path)
        self.open[path] = Open(event, before, after)
        done = self.call(event, path, work)
        if done is None:
            return False
        del self.open[path]
        if done:
            self.set(path, after)
        return True

    def set(self, path, value):
        if value is None:
            self.objects.pop(path, None)
        else:
            self.objects[path] = value

    def fresh(self):
        self.n += 1
        return f"{self.name}-{self.n}"


class Leaves:
    """The certificates that are handed in, by their thumbprints; each key is made once."""

    def __init__(self):
        self.ca = pki.Issuer()
        self.by_thumbprint = {}
        self.bundles = [self._bundle(i) for i in range(12)]

    def add(self, leaf):
        thumbprint = pki.thumbprint(leaf, "sha256")
        self.by_thumbprint[thumbprint] = leaf
        return thumbprint

    def _bundle(self, i):
        key = pki.key("ec-p256", i)
        leaf = pki.certificate(key, f"client-{i}.example", issuer=self.ca)
        return self.add(leaf), pki.p12(key, leaf, (self.ca.certificate,))

    def signed(self, signature, message, thumbprints):
        """Is it a signature by one of these?"""
        for thumbprint in thumbprints:
            try:
                pki.verify(self.by_thumbprint[thumbprint].public_key(), ALGORITHM, signature, message)
                return True
            except InvalidSignature:
                pass
        return False


class Importer(Owner):
    """Imports, switches off and on, forgets and registers anew, deletes with the key."""

    MAX = 4

    def __init__(self, broker, name, seed, leaves):
        super().__init__(broker, name, seed)
        self.leaves = leaves
        self.forgotten = {}  # id → (URI of its key, Certificate): on the token, and nobody's
        self.left = []  # URIs of those that were registered again: issuers beside them are the token's owner's

    def step(self):
        mine = [path for path, value in self.objects.items() if value.current]
        if len(mine) < self.MAX and self.random.random() < 0.4 or not mine:
            return self.bring()
        return self.random.choice((self.switch, self.switch, self.delete, self.forget))(self.random.choice(mine))

    def bring(self):
        """A forgotten one, or a new one."""
        if self.forgotten:
            id, (uri, value) = next(iter(self.forgotten.items()))
            return self.change("RegisterCertificate", certificate_path(id), value, lambda: self.broker.manager(
                "RegisterCertificate", "ssa{sv}", id, uri, options({}), connection=self.connection)) and self.known(id)
        id, (thumbprint, bundle) = self.fresh(), self.random.choice(self.leaves.bundles)
        return self.change("ImportCertificate", certificate_path(id), Certificate(((1, thumbprint, "current"),)),
                           lambda: self.broker.import_bundle(id, bundle, b"secret", connection=self.connection))

    def known(self, id):
        if certificate_path(id) in self.objects:
            self.forgotten.pop(id, None)
        return True

    def switch(self, path):
        value = self.objects[path]
        return self.change("SetEnabled", path, value._replace(enabled=not value.enabled), lambda: self.member(
            path, "SetEnabled", "b", not value.enabled))

    def delete(self, path):
        return self.change("Delete", path, None, lambda: self.member(
            path, "Delete", "a{sv}", options({"destroy-key": True})))

    def forget(self, path):
        if not self.objects[path].enabled or len(self.forgotten) > 1:
            return self.switch(path)
        uri = self.broker.get(path, "Certificate", "KeyUri", connection=self.connection)
        self.forgotten[id_of(path)] = str(uri), self.objects[path]
        self.left.append(str(uri))
        going = self.change("Delete", path, None, lambda: self.member(path, "Delete", "a{sv}", options({})))
        return going and self.known(id_of(path))

    def member(self, path, method, signature, *arguments):
        return self.broker.call(path, "org.certbroker1.Certificate", method, signature, *arguments,
                                connection=self.connection)


class Rotator(Importer):
    """Next generations by imports, back to older ones and forward, retired ones, and an end with all keys."""

    def step(self):
        if not self.objects:
            return self.bring()
        [path] = self.objects
        value = self.objects[path]
        older = [row[0] for row in value.generations if row[2] == "older"]
        if len(value.generations) > 4:
            return self.delete(path)
        if older and self.random.random() < 0.5:
            return self.random.choice((self.back, self.retire))(path, value, self.random.choice(older))
        return self.rotate(path, value)

    def rotate(self, path, value):
        thumbprint, bundle = self.random.choice([b for b in self.leaves.bundles if b[0] not in str(value)])
        rows = tuple(row[:2] + ("older",) if row[2] == "current" else row for row in value.generations)
        id = id_of(path)
        return self.change("ImportCertificate", path, Certificate(rows + ((len(rows) + 1, thumbprint, "current"),)),
                           lambda: self.broker.import_bundle(id, bundle, b"secret", replace=True,
                                                             connection=self.connection))

    def back(self, path, value, number):
        kinds = {"current": "older", "older": "older", "retired": "retired"}
        rows = tuple(row[:2] + ("current" if row[0] == number else kinds[row[2]],) for row in value.generations)
        return self.change("SetCurrent", path, Certificate(rows), lambda: self.member(
            path, "SetCurrent", "t", dbus.UInt64(number)))

    def retire(self, path, value, number):
        rows = tuple(row[:2] + ("retired",) if row[0] == number else row for row in value.generations)
        return self.change("Retire", path, Certificate(rows), lambda: self.member(
            path, "Retire", "t", dbus.UInt64(number)))


class Generator(Importer):
    """Keys that the token makes, and their certificates."""

    def step(self):
        pending = [path for path, value in self.objects.items() if not value.current]
        if pending:
            return self.certify(pending[0])
        if len(self.objects) > 2:
            return self.delete(self.random.choice(list(self.objects)))
        id = self.fresh()
        return self.change("GenerateKey", certificate_path(id), Certificate(((1, "", "pending"),)),
                           lambda: generate(self.broker, id, connection=self.connection))

    def certify(self, path):
        id = id_of(path)
        done = self.call("CreateRequest", path, lambda: request(self.broker, id, connection=self.connection))
        if not done:
            return done is not None
        leaf = pki.certificate(self.answer, subject=self.answer.subject, issuer=self.leaves.ca)
        after = Certificate(((1, self.leaves.add(leaf), "current"),))
        return self.change("InstallCertificate", path, after, lambda: install(
            self.broker, id, pki.pem(leaf, self.leaves.ca.certificate), connection=self.connection))


class Manager(Owner):
    """Backends that come, change and go; each is bound to a certificate that stays."""

    def __init__(self, broker, name, seed, certificates):
        super().__init__(broker, name, seed)
        self.certificates = certificates

    def step(self):
        if len(self.objects) < 4 and self.random.random() < 0.6 or not self.objects:
            return self.create()
        return self.random.choice((self.alter, self.alter, self.put, self.delete))(self.random.choice(list(self.objects)))

    def any(self):
        return Backend(f"https://{self.random.randrange(1 << 30)}.example/", self.random.choice(self.certificates),
                       self.random.random() < 0.5)

    def create(self):
        name, value = self.fresh(), self.any()
        return self.change("CreateBackend", backend_path(name), value, lambda: self.broker.manager(
            "CreateBackend", "sa{sv}", name, settings(value), connection=self.connection))

    def alter(self, path):
        value = self.any()
        return self.change("Change", path, value, lambda: self.member(path, "Change", "a{sv}", settings(value)))

    def put(self, path):
        value = self.any()
        return self.change("Set", path, self.objects[path]._replace(url=value.url), lambda: self.broker.set(
            path, "Backend", "Url", value.url, connection=self.connection))

    def delete(self, path):
        return self.change("Delete", path, None, lambda: self.member(path, "Delete"))

    def member(self, path, method, signature="", *arguments):
        return self.broker.call(path, "org.certbroker1.Backend", method, signature, *arguments, connection=self.connection)


def settings(value):
    return dbus.Dictionary({"Url": value.url, "Certificate": value.certificate, "ValidateChain": value.validates},
                           signature="sv")


class Signer(Owner):
    """Signs with what the others have; what comes is a signature by one of that certificate's leaves."""

    def __init__(self, broker, name, seed, leaves, others):
        super().__init__(broker, name, seed)
        self.leaves, self.others = leaves, others

    def step(self):
        path = self.random.choice([path for owner in self.others for path in list(owner.objects)] or [ROOT])
        if path == ROOT:
            return True
        message = self.random.randbytes(32)
        before = self.thumbprints(path)
        done = self.call("Sign", path, lambda: self.broker.call(
            path, "org.certbroker1.Certificate", "Sign", "tsay", dbus.UInt64(0), ALGORITHM,
            dbus.ByteArray(pki.digest(ALGORITHM, message)), connection=self.connection))
        if done:
            known = before | self.thumbprints(path)
            assert self.leaves.signed(bytes(self.answer), message, known), f"a wrong signature by {path}"
        return done is not None

    def thumbprints(self, path):
        values = []
        for owner in self.others:
            values += [owner.objects.get(path), getattr(owner.open.get(path), "after", None)]
        return {row[1] for value in values if value for row in value.generations if row[1]}


class Crowd:
    """All of them, each in a thread of its own."""

    def __init__(self, broker, seed, kept):
        """kept: the leaves of certificates that stay."""
        self.leaves = Leaves()
        self.kept = Owner(broker, "kept", seed)
        for id, leaf in kept.items():
            self.kept.objects[certificate_path(id)] = Certificate(((1, self.leaves.add(leaf), "current"),))
        keepers = [Importer(broker, "imported", seed, self.leaves), Importer(broker, "brought", seed, self.leaves),
                   Rotator(broker, "rotated", seed, self.leaves), Generator(broker, "generated", seed, self.leaves)]
        self.owners = [self.kept, *keepers, Manager(broker, "backend", seed, list(kept)),
                       Signer(broker, "signer", seed, self.leaves, [self.kept, *keepers])]
        self.threads = []

    def begin(self):
        self.until = threading.Event()
        self.threads = [threading.Thread(target=owner.run, args=(self.until,), daemon=True) for owner in self.owners[1:]]
        for thread in self.threads:
            thread.start()

    def end(self):
        """The broker is gone: each of them finds that out by itself."""
        self.until.set()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a call got neither answer nor error"
        for owner in self.owners:
            if owner.fault:
                raise owner.fault

    def forgotten(self):
        """URIs of keys that may be on the token though they are nobody's."""
        return [uri for owner in self.owners for uri, _ in getattr(owner, "forgotten", {}).values()]

    def left(self):
        """URIs of keys beside which issuers may be that are nobody's."""
        return [uri for owner in self.owners for uri in getattr(owner, "left", ())]

    def taken(self, attribute):
        """What the owners counted since it was taken last."""
        total = collections.Counter()
        for owner in self.owners:
            total += getattr(owner, attribute)
            setattr(owner, attribute, collections.Counter())
        return total
