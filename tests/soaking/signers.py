# SPDX-License-Identifier: Apache-2.0
"""Who uses keys all the while: over the bus, the channel and the library, and through nginx. Each signature is verified
with the certificate that the broker names, and each refusal has to have a reason: a change, or a disturbance."""

import os
import threading
import time

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

import pki
from broker import Failure
from gateway import fingerprint_in, get
from test_signtls import content, sign_tls
from world import Line

ENDS = ("Disabled", "NotFound", "Expired", "Pending")
LIBRARY_DIGEST = bytes([7] * 32)


def parts_of(way):
    """What a call needs that is made over the bus or the channel, besides the key's source."""
    return ("broker", "log", "bus") if way == "bus" else ("broker", "log")


def public_key(leaf):
    return x509.load_der_x509_certificate(bytes(leaf)).public_key()


def algorithms_of(id, public):
    if id.startswith("vault"):
        return ["ecdsa-sha256"]  # a vault has one for each curve
    if isinstance(public, rsa.RSAPublicKey):
        return pki.RSA_ALGORITHMS
    return ["ed25519"] if isinstance(public, ed25519.Ed25519PublicKey) else pki.EC_ALGORITHMS


class Signer(threading.Thread):
    """One of them: work() does one thing, some times a second. A call that never ends shows in `alive`."""

    def __init__(self, world, model, choice, name, parts, pause):
        super().__init__(name=name, daemon=True)
        self.world, self.model, self.choice = world, model, choice
        self.report, self.disturbances = world.report, world.disturbances
        self.parts, self.pause = parts, pause
        self.alive = time.monotonic()
        self.leaving = threading.Event()

    def run(self):
        while not self.leaving.wait(self.choice.uniform(0.5, 1.5) * self.pause):
            self.alive = time.monotonic()
            try:
                self.work()
            except Exception as error:  # of the soak's own
                self.report.breaks(f"{type(error).__name__} in {self.name}: {error}")
                raise
        self.end()

    def end(self):
        pass

    def failed(self, what, failure, began, record=None, stamp=None, extra=()):
        """A call that failed: is that no wonder?"""
        parts = (*self.parts, *extra)
        if record is not None and (record.stamp != stamp or stamp % 2):
            self.report.count("calls during a change")
        elif self.disturbances.touched(parts, began):
            self.report.count("failures while disturbed")
        elif record is not None and (record.sure is None or record.doomed):
            self.report.count("calls of what is not known")
        else:
            self.report.breaks(f"{what} failed undisturbed, after {time.monotonic() - began:.2f} s: {failure}")

    @staticmethod
    def source_of(name):
        return "vault" if name.startswith("vault") else "hsm"


class DbusSigner(Signer):
    """Over the bus or the channel: as a gateway by a backend's credential, and by id, what has ended included."""

    def __init__(self, world, model, choice, way, number):
        super().__init__(world, model, choice, f"{way}-{number}", parts_of(way), 0.15)
        self.line = Line(world, way)

    def end(self):
        self.line.drop()

    def work(self):
        what = self.choice.random()
        if what < 0.5:
            self.as_gateway()
        else:
            self.by_id(ended=what > 0.85)

    def as_gateway(self):
        names = sorted(name for name, record in list(self.model.backends.items()) if (s := record.sure) and s.present)
        if not names:
            return
        backend = self.model.backends[self.choice.choice(names)]
        bound, stamp_b = backend.sure, backend.stamp
        if not bound or not bound.present:
            return
        record = self.model.certificate(bound.certificate)
        stamp, sure, began = record.stamp, record.sure, time.monotonic()
        ends = {0: record.is_ended(0)}
        try:
            credential = self.line(self.world.backend, backend.name, "GetCredential")
            id, generation = str(credential["id"]), int(credential["generation"])
            if id != record.name and backend.stamp == stamp_b:
                self.report.breaks(f"the credential of {backend.name} is {id}, not {record.name}")
            public = public_key(credential["chain"][0])
            self.sign(id, generation, public, self.choice.choice(algorithms_of(id, public)))
        except Failure as failure:
            if backend.stamp != stamp_b or stamp_b % 2:
                self.report.count("calls during a change")
            elif sure and record.stamp == stamp and not stamp % 2 and \
                    (not sure.enabled or not sure.current) and failure.name in ENDS:
                self.report.count("refusals of what has ended")
            else:
                self.failed(f"{self.name}: {backend.name} ({record.name})", failure, began, record, stamp,
                            (self.source_of(record.name),))
            return
        if ends[0] is not None and record.is_ended(0) == ends[0]:
            self.report.breaks(f"{record.name} signed after its end was acknowledged")

    def by_id(self, ended):
        names = sorted(name for name, record in list(self.model.certificates.items()) if record.sure)
        if not names:
            return
        record = self.model.certificates[self.choice.choice(names)]
        stamp, sure, began = record.stamp, record.sure, time.monotonic()
        if not sure or stamp % 2 or not sure.leaves:
            return
        usable = [n for n, thumbprint in sure.leaves if thumbprint and self.may_sign(record, sure, n)]
        over = [n for n, thumbprint in sure.leaves if self.has_ended(record, sure, n)]
        wanted = over if ended else usable
        if not wanted:
            return
        generation = self.choice.choice(wanted)
        _, public = self.model.leaves.get((record.name, sure.leaf(generation)), (None, None))
        if public is None:
            public = ec.derive_private_key(1, ec.SECP256R1()).public_key()  # of what is pending: nothing may come
        try:
            self.sign(record.name, generation, public, self.choice.choice(algorithms_of(record.name, public)))
        except Failure as failure:
            if ended and failure.name in ENDS:
                self.report.count("refusals of what has ended")
                return
            self.failed(f"{self.name}: {record.name} generation {generation}", failure, began, record, stamp,
                        (self.source_of(record.name),))
            return
        if ended and record.stamp == stamp:
            self.report.breaks(f"{record.name} generation {generation} signed after its end: {sure}")

    @staticmethod
    def may_sign(record, sure, generation):
        if not sure.present or not sure.enabled or generation in sure.retired:
            return False
        until = record.until.get(generation, 1)
        return generation == sure.current or until > time.time() + 5

    @staticmethod
    def has_ended(record, sure, generation):
        if not sure.present or not sure.enabled or generation in sure.retired or not sure.leaf(generation):
            return True
        until = record.until.get(generation)
        return generation != sure.current and until is not None and 0 < until < time.time() - 2

    def sign(self, id, generation, public, algorithm):
        if algorithm == "ecdsa-sha256" and public.curve.name == "secp256r1" and self.choice.random() < 0.5:
            role, transcript = self.choice.choice(("client", "server")), os.urandom(32)
            signature = self.line(sign_tls, self.world, id, algorithm, role, transcript, generation)
            return self.judge(id, generation, public, algorithm, signature, content(role, transcript))
        message = os.urandom(40)
        signature = self.line(self.world.sign, id, algorithm, pki.digest(algorithm, message), generation)
        self.judge(id, generation, public, algorithm, signature, message)

    def judge(self, id, generation, public, algorithm, signature, message):
        self.report.count("signatures")
        self.report.count(f"signatures over the {self.line.way}")
        try:
            pki.verify(public, algorithm, signature, message)
        except InvalidSignature:
            self.report.breaks(f"a wrong signature: {id} generation {generation} {algorithm} {signature.hex()}")


class LibrarySigner(Signer):
    """libcertbroker in a program of its own: the current generation, whichever it is meanwhile."""

    def __init__(self, world, model, choice):
        super().__init__(world, model, choice, "library", ("broker", "log", "bus"), 0.25)

    def work(self):
        id, algorithm = self.choice.choice((("steady", "ecdsa-sha256"), ("gate", "rsa-pss-sha256"),
                                            ("vault-steady", "ecdsa-sha256")))
        began, record = time.monotonic(), self.model.certificate(id)
        stamp = record.stamp
        with self.world.library_turn:
            outcome, _, text = self.world.library("sign", id, algorithm)
        if outcome != "ok":
            return self.failed(f"library: {id}", f"{outcome} {text}", began, record, stamp, (self.source_of(id),))
        self.report.count("signatures")
        self.report.count("signatures over the library")
        publics = [public for (name, _), (_, public) in list(self.model.leaves.items()) if name == id]
        if not any(self.fits(public, algorithm, bytes.fromhex(text)) for public in publics):
            self.report.breaks(f"a wrong signature: library {id} {algorithm} {text}")

    @staticmethod
    def fits(public, algorithm, signature):
        how = utils.Prehashed(hashes.SHA256())
        try:
            if algorithm.startswith("ecdsa"):
                public.verify(signature, LIBRARY_DIGEST, ec.ECDSA(how))
            else:
                public.verify(signature, LIBRARY_DIGEST, padding.PSS(padding.MGF1(hashes.SHA256()), 32), how)
        except InvalidSignature:
            return False
        return True


class Visitor(Signer):
    """Requests to nginx, which has to show a key of the broker's to its backend for each."""

    def __init__(self, world, model, choice):
        super().__init__(world, model, choice, "gateway", ("broker", "log", "bus", "hsm"), 0.4)

    def work(self):
        began = time.monotonic()
        record = self.model.certificate("gate")
        try:
            status, text, _ = get(self.world.front_port)
        except OSError as error:
            status, text = None, repr(error)
        if status != 200:
            return self.failed("gateway", f"{status} {text[:200]!r}", began)
        self.report.count("gateway requests")
        shown = fingerprint_in(text)
        known = {thumbprint for (name, _), (thumbprint, _) in list(self.model.leaves.items()) if name == "gate"}
        if shown not in known:
            self.report.breaks(f"nginx showed a certificate that is none of its own: {shown}")
