# SPDX-License-Identifier: Apache-2.0
"""Who changes things all the while, each some ids of its own: imports, generations, rotations in the token and in the
vault, rollbacks, retirements, switching off and on, deletions, backends, reloads. What is acknowledged is in the model."""

import signal
import threading
import time

import dbus
from cryptography import x509

import lifecycle
import pki
from broker import ROOT, Failure, backend_path, certificate_path
from signers import Signer, parts_of
from world import Line

KEY_TYPES = ("ec-p256", "ec-p256", "ec-p256", "ec-p384", "rsa-2048", "ed25519")
GENERATIONS_MAX = 8  # then it is deleted, and begins anew


class Changer(Signer):
    """Of one source's ids. `turn` is held while something is changed: whoever compares takes it."""

    destroys = True  # the keys, with a certificate that is deleted

    def __init__(self, world, model, choice, name, way, names, pause):
        super().__init__(world, model, choice, name, (*parts_of(way), "store"), pause)
        self.line, self.names = Line(world, way), names
        self.turn = threading.Lock()
        self.serial = 0

    def end(self):
        self.line.drop()

    def work(self):
        with self.turn:
            record = self.model.certificate(self.choice.choice(self.names))
            began, stamp = time.monotonic(), record.stamp
            if record.sure is None:
                self.settle(record)
            try:
                if record.sure is not None:
                    self.change(record, record.sure)
                    self.report.count("changes")
            except Failure as failure:
                self.report.event(f"a change of {record.name}: {failure}")
                self.failed(f"a change of {record.name}", failure, began, None, stamp, (self.source_of(record.name),))
            if self.choice.random() < 0.7:
                self.settle(record)

    def settle(self, record):
        """What it is, as the broker has it: of what is not known, and the graces."""
        if record.later:
            try:
                record.again()
                record.later = None
            except Failure as failure:
                self.report.event(f"a change of {record.name}: {failure}")
                if failure.name == "AlreadyExists" and self.destroys:  # a look-up has found it
                    record.later = None
        try:
            row = self.line(self.world.certificate_properties, record.name)
        except Failure as failure:
            if failure.name != "NotFound":
                return
            row = None
        record.observed(row)

    def make(self, record, step, event, call, ends=None, revives=(), path=None):
        self.report.event(f"{event} {record.name}")
        answer = self.model.change(record, step, event, path or certificate_path(record.name), call, ends, revives)
        self.report.event(f"{event} {record.name} is done")
        return answer

    def note_leaf(self, name, leaf):
        thumbprint = pki.thumbprint(leaf, "sha256")
        self.model.leaves[name, thumbprint] = (pki.thumbprint(leaf), leaf.public_key())
        return thumbprint

    # ---- one change, of those that are possible

    def change(self, record, sure):
        if record.doomed:
            return self.delete(record, sure)
        if not sure.present:
            return self.create(record)
        ways = [self.set_enabled] + [self.change_backend] * 3
        if not sure.enabled:
            ways = [self.set_enabled] * 4 + [self.delete]
        elif not sure.current:
            ways = [self.delete]  # what was only begun
        elif sure.newest >= GENERATIONS_MAX:
            ways = [self.delete]
        else:
            ways += [self.rotate] * 4 + [self.retire, self.set_current, self.delete]
        return self.choice.choice(ways)(record, sure)

    def create(self, record):
        revives = [0, *range(1, GENERATIONS_MAX + 4)]
        if self.choice.random() < 0.3:
            return self.generate(record, revives)
        self.import_bundle(record, self.choice.choice(KEY_TYPES), revives)

    def import_bundle(self, record, key_type, revives=(), **options):
        key = pki.key(key_type, self.choice.randrange(8)) if key_type.startswith("rsa") else pki.new_key(key_type)
        issuer, passphrase = self.world.files.ca, self.world.passphrase.encode()
        name = f"{record.name}.example"
        leaf = pki.certificate(key, name, issuer=issuer, sans=("localhost", name))
        bundle = pki.p12(key, leaf, (issuer.certificate,), passphrase)
        thumbprint = self.note_leaf(record.name, leaf)
        before = record.sure
        self.make(record, lambda c: (c if options else before).published(thumbprint), "ImportCertificate",
                  lambda: self.line(self.world.import_bundle, record.name, bundle, passphrase, **options),
                  revives=revives)
        self.report.count("rotations" if options else "imports")

    def generate(self, record, revives):
        begun = record.sure._replace(present=True, current=0, leaves=((1, ""),))
        self.make(record, lambda c: begun, "GenerateKey",
                  lambda: self.line(lambda **how: lifecycle.generate(self.world, record.name, **how)), revives=revives)
        names = dbus.Array((f"DNS:{record.name}.example",), signature="s")
        der = self.line(self.world.certificate, record.name, "CreateRequest", "sas", f"CN={record.name}.example", names)
        leaf = lifecycle.issue(x509.load_der_x509_csr(bytes(der)), self.world.files.ca)
        chain = pki.pem(leaf, self.world.files.ca.certificate)
        thumbprint = self.note_leaf(record.name, leaf)
        # What lies in the token is found by the next look-up, though its installation had no answer.
        self.once_more(record, lambda c: c._replace(current=1, leaves=((1, thumbprint),)), "InstallCertificate",
                       lambda **how: lifecycle.install(self.world, record.name, chain, **how))
        self.report.count("generations of keys")

    def once_more(self, record, step, event, call, **how):
        """A change that may come about by itself, whatever was answered: asked for until it is acknowledged."""
        record.begin()
        record.later, record.again = step, lambda: self.make(record, step, event, lambda: self.line(call), **how)
        record.undecided(step)
        record.again()
        record.later = None

    def rotate(self, record, sure):
        self.import_bundle(record, self.choice.choice(KEY_TYPES), replace=True)

    def set_current(self, record, sure):
        now = time.time()
        older = [n for n, thumbprint in sure.leaves if thumbprint and n != sure.current and n not in sure.retired
                 and record.until.get(n, 0) > now + 15]
        if older:
            n = self.choice.choice(older)
            self.make(record, lambda c: c._replace(current=n), "SetCurrent",
                      lambda: self.line(self.world.certificate, record.name, "SetCurrent", "t", dbus.UInt64(n)))
            self.report.count("rollbacks")

    def retire(self, record, sure):
        older = [n for n, _ in sure.leaves if n != sure.current and n not in sure.retired]
        if older:
            n = self.choice.choice(older)
            self.make(record, lambda c: c._replace(retired=c.retired | {n}), "Retire",
                      lambda: self.line(self.world.certificate, record.name, "Retire", "t", dbus.UInt64(n)), ends=n)
            self.report.count("retirements")

    def set_enabled(self, record, sure):
        enabled = not sure.enabled
        self.make(record, lambda c: c._replace(enabled=enabled), "SetEnabled",
                  lambda: self.line(self.world.certificate, record.name, "SetEnabled", "b", enabled),
                  ends=None if enabled else 0, revives=(0,) if enabled else ())
        self.report.count("switched on" if enabled else "switched off")

    def delete(self, record, sure):
        backend = self.model.backend("b-" + record.name)
        if backend.sure is None or backend.sure.present:
            self.settle_backend(backend)
            if backend.sure.present:
                self.delete_backend(backend)
        options = dbus.Dictionary({"destroy-key": dbus.Boolean(True)} if self.destroys else {}, signature="sv")
        record.doomed = self.destroys
        # What has lost a key is deleted when it can be, though the answer was that it could not.
        self.once_more(record, lambda c: record.nothing, "Delete",
                       lambda **how: self.world.certificate(record.name, "Delete", "a{sv}", options, **how), ends=0)
        record.doomed = False
        self.report.count("deletions")

    # ---- its backend

    def settle_backend(self, backend):
        try:
            row = self.line(self.world.backend_properties, backend.name)
        except Failure as failure:
            if failure.name != "NotFound":
                raise
            row = None
        backend.observed(row)

    def change_backend(self, record, sure):
        backend = self.model.backend("b-" + record.name)
        if backend.sure is None:
            self.settle_backend(backend)
        if not backend.sure.present:
            self.create_backend(backend, record.name)
        elif self.choice.random() < 0.3:
            self.delete_backend(backend)
        else:
            self.serial += 1
            url = f"https://localhost/{self.name}-{self.serial}"
            path = backend_path(backend.name)
            self.make(backend, lambda b: b._replace(url=url), "Set",
                      lambda: self.line(self.world.set, path, "Backend", "Url", url), path=path)

    def create_backend(self, backend, certificate, url="https://localhost/"):
        values = dbus.Dictionary({"Url": url, "Certificate": certificate}, signature="sv")
        self.make(backend, lambda b: b._replace(present=True, certificate=certificate, url=url), "CreateBackend",
                  lambda: self.line(self.world.manager, "CreateBackend", "sa{sv}", backend.name, values),
                  path=backend_path(backend.name))

    def delete_backend(self, backend):
        self.make(backend, lambda b: backend.nothing, "Delete",
                  lambda: self.line(self.world.backend, backend.name, "Delete"), path=backend_path(backend.name))


class VaultChanger(Changer):
    """Of certificates in the vault, which are rotated there; the broker is told to look."""

    destroys = False

    def create(self, record):
        made = self.world.vault.add_certificate(record.name, key_type="ec-p256", subject=f"CN={record.name}.example",
                                                sans=[f"{record.name}.example"])
        thumbprint = self.note_vault(record, made)
        self.make(record, lambda c: record.nothing.published(thumbprint), "RegisterCertificate",
                  lambda: self.line(lambda connection: self.world.manager(
                      "RegisterCertificate", "ssa{sv}", record.name, self.world.uri(record.name),
                      dbus.Dictionary({}, signature="sv"), connection=connection)),
                  revives=[0, *range(1, GENERATIONS_MAX + 4)])
        self.report.count("registrations")

    def note_vault(self, record, made):
        return self.note_leaf(record.name, x509.load_pem_x509_certificate(made["chain"][0].encode()))

    def rotate(self, record, sure):
        made = self.world.vault.rotate(record.name, key_type="ec-p256")
        thumbprint = self.note_vault(record, made)

        def follow(c):
            return c if c.leaf(c.current) == thumbprint else c.published(thumbprint)

        self.once_more(record, follow, "Refresh", lambda **how: self.world.refresh(record.name, **how))
        self.report.count("rotations")

    def set_current(self, record, sure):
        """Not of what follows the vault."""


class Steady(Changer):
    """What is always there: a key that is never changed, and the gateway's, which is only rotated."""

    def __init__(self, world, model, choice):
        super().__init__(world, model, choice, "steady", "channel", ["gate"], 60)

    def prepare(self):
        self.import_bundle(self.model.certificate("steady"), "ec-p256", (0,))
        self.import_bundle(self.model.certificate("gate"), "rsa-2048", (0,))
        self.create_backend(self.model.backend("gate"), "gate", "https://localhost/")
        for name in ("steady", "gate"):
            self.settle(self.model.certificate(name))

    def change(self, record, sure):
        self.import_bundle(record, "rsa-2048", replace=True)


class Reloader(Changer):
    """Reloads, by the call and by SIGHUP, good ones and ones with a mistake."""

    def __init__(self, world, model, choice):
        super().__init__(world, model, choice, "reloader", "channel", [], 12)

    def work(self):
        with self.turn:
            began = time.monotonic()
            try:
                if self.choice.random() < 0.25:
                    self.mistaken()
                else:
                    self.reload()
            except Failure as failure:
                self.failed("a reload", failure, began)

    def reload(self):
        self.world.reloads += 1
        self.world.configured()
        self.model.count("Reload", ROOT, undecided=True)
        if self.choice.random() < 0.3:
            daemon = self.world.daemon
            if daemon is not None and daemon.poll() is None:
                daemon.send_signal(signal.SIGHUP)
        else:
            self.line(self.world.manager, "Reload")
            self.model.count("Reload", ROOT)
        self.report.count("reloads")

    def mistaken(self):
        text = self.world.config.read_text()
        self.world.config.write_text(text + "nonsense = 1;\n")
        try:
            self.line(self.world.manager, "Reload")
            self.report.breaks("a configuration with a mistake was taken")
        except Failure as failure:
            if failure.name not in ("InvalidArgument", "Failed") and not self.disturbances.any():
                raise
            self.report.count("mistaken reloads")
        finally:
            self.world.configured()
