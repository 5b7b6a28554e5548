# SPDX-License-Identifier: Apache-2.0
"""A stand-in for certbrokerd with keys of its own, for what the real one cannot be made to do on demand.

Serves org.certbroker1 on the bus of DBUS_SESSION_BUS_ADDRESS, as far as the OpenSSL provider asks: GetCertificate, a
certificate's properties, GetCredential, Sign. Certificates of every key type are made at the start and written to
FOLDER as NAME.crt and NAME.key (the key file that the provider reads), with their issuer in ca.crt.

FOLDER/fault holds what the next Sign shall do: "hang", "slow SECONDS", "garbage" (a well-formed signature of other
data), "short", "long", "deny"; empty or missing: sign. Each Sign is a line of FOLDER/signed: uid, pid, id, generation,
algorithm, length of the input. With --sign-only NAME, other users than root and NAME may not sign, and root
may not either.
"""

import argparse
import pathlib
import pwd
import sys
import time

import dbus
import dbus.mainloop.glib
import dbus.service
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from gi.repository import GLib

import pki

NAME = "org.certbroker1"
KEY_TYPES = {"rsa": "rsa-2048", "rsa3072": "rsa-3072", "ec": "ec-p256", "ec384": "ec-p384", "ec521": "ec-p521",
             "ed25519": "ed25519"}
GENERATION = 3


def key_file(id, generation, public_key):
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = pki.tlv(0x30, pki.tlv(0x1A, b"certbroker key reference v1"),
                  pki.tlv(0x0C, f"certbroker:certificate/{id}?generation={generation}".encode()), spki)
    return b"Read by OpenSSL programs with the certbroker provider.\n" + pki.der_to_pem(der, "CERTBROKER KEY REFERENCE")


def sign(key, algorithm, data):
    if algorithm == "ed25519":
        return key.sign(data)
    kind, name = algorithm.rsplit("-", 1)
    digest = pki.HASHES[name]()
    if len(data) != digest.digest_size:
        raise Error("InvalidArgument", f"{algorithm} takes {digest.digest_size} bytes, not {len(data)}.")
    if kind == "ecdsa":
        return key.sign(data, ec.ECDSA(utils.Prehashed(digest)))
    if kind == "rsa-pkcs1":
        return key.sign(data, padding.PKCS1v15(), utils.Prehashed(digest))
    return key.sign(data, padding.PSS(padding.MGF1(digest), digest.digest_size), utils.Prehashed(digest))


class Error(dbus.DBusException):
    def __init__(self, name, text):
        super().__init__(text)
        self._dbus_error_name = f"org.certbroker1.Error.{name}"


class Certificate(dbus.service.Object):
    def __init__(self, broker, id, key, leaf, issuer):
        super().__init__(broker.bus, f"/org/certbroker1/certificate/{pki_label(id)}")
        self.broker, self.id, self.key, self.leaf, self.issuer = broker, id, key, leaf, issuer

    def chain(self):
        return dbus.Array([dbus.ByteArray(pki.der(c)) for c in (self.leaf, self.issuer)], signature="ay")

    def algorithms(self):
        return dbus.Array(pki.algorithms_of(KEY_TYPES[self.id]), signature="s")

    def properties(self):
        return {"Id": self.id, "Generation": dbus.UInt64(GENERATION), "Thumbprint": pki.thumbprint(self.leaf),
                "Algorithms": self.algorithms(), "NotAfter": dbus.UInt64(2 ** 31)}

    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        return self.properties()

    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return self.chain() if name == "Chain" else self.properties()[name]

    @dbus.service.method("org.certbroker1.Certificate", in_signature="t", out_signature="aay")
    def GetChain(self, generation):
        if generation not in (0, GENERATION):
            raise Error("NotFound", f"Certificate {self.id} has no generation {generation}.")
        return self.chain()

    @dbus.service.method("org.certbroker1.Certificate", in_signature="tsay", out_signature="ay",
                         byte_arrays=True, sender_keyword="sender", async_callbacks=("done", "failed"))
    def Sign(self, generation, algorithm, data, sender, done, failed):
        try:
            self.broker.log(self, sender, generation, algorithm, data)
            answer = self.broker.answer(self, algorithm, bytes(data))
            if answer is not None:
                done(dbus.ByteArray(answer))
        except Error as error:
            failed(error)

    @dbus.service.method("org.certbroker1.Certificate", in_signature="tssay", out_signature="ay",
                         byte_arrays=True, sender_keyword="sender", async_callbacks=("done", "failed"))
    def SignTls(self, generation, algorithm, role, transcript_hash, sender, done, failed):
        data = b" " * 64 + f"TLS 1.3, {role} CertificateVerify".encode() + b"\0" + bytes(transcript_hash)
        if algorithm != "ed25519":
            context = hashes.Hash(pki.HASHES[algorithm.rsplit("-", 1)[1]]())
            context.update(data)
            data = context.finalize()
        self.Sign(generation, algorithm, data, sender, done, failed)


class Backend(dbus.service.Object):
    def __init__(self, broker, name, certificate):
        super().__init__(broker.bus, f"/org/certbroker1/backend/{pki_label(name)}")
        self.certificate = certificate

    @dbus.service.method("org.certbroker1.Backend", out_signature="a{sv}")
    def GetCredential(self):
        c = self.certificate
        return {"id": c.id, "generation": dbus.UInt64(GENERATION), "chain": c.chain(), "algorithms": c.algorithms(),
                "key": f"certbroker:certificate/{c.id}?generation={GENERATION}", "not-after": dbus.UInt64(2 ** 31),
                "thumbprint": pki.thumbprint(c.leaf), "stale": False, "url": "https://localhost/",
                "validate-chain": True, "validate-name": True, "server-names": dbus.Array([], signature="s"),
                "server-thumbprints": dbus.Array([], signature="s"), "ca-file": "",
                "certificate": dbus.ObjectPath(f"/org/certbroker1/certificate/{pki_label(c.id)}")}


class Broker(dbus.service.Object):
    def __init__(self, bus, folder, signer):
        super().__init__(bus, "/org/certbroker1")
        self.bus, self.folder, self.signer = bus, folder, signer
        self.daemon = bus.get_object("org.freedesktop.DBus", "/org/freedesktop/DBus")
        issuer = self.make_issuer()
        self.certificates = {}
        for id, key_type in KEY_TYPES.items():
            self.make(id, key_type, issuer)
        self.backends = [Backend(self, f"to-{id}", c) for id, c in self.certificates.items()]

    def key(self, id, key_type):
        path = self.folder / f"{id}.private"
        if path.exists():  # it was restarted: all is as before
            return serialization.load_pem_private_key(path.read_bytes(), None)
        key = pki.key(key_type, which=id)
        path.write_bytes(pki.pem(key))
        path.chmod(0o600)
        return key

    def make_issuer(self):
        path = self.folder / "ca.crt"
        issuer = pki.Issuer("Fake Root")
        issuer.key = self.key("ca", "ec-p256")
        if path.exists():
            issuer.certificate = x509.load_pem_x509_certificate(path.read_bytes())
        else:
            issuer.certificate = pki.certificate(issuer.key, "Fake Root", ca=True)
            path.write_bytes(pki.pem(issuer.certificate))
        return issuer

    def make(self, id, key_type, issuer):
        key = self.key(id, key_type)
        leaf = pki.certificate(key, "localhost", issuer=issuer, sans=["localhost", f"{id}.example"])
        self.certificates[id] = Certificate(self, id, key, leaf, issuer.certificate)
        (self.folder / f"{id}.crt").write_bytes(pki.pem(leaf, issuer.certificate))
        (self.folder / f"{id}.key").write_bytes(key_file(id, GENERATION, key.public_key()))

    @dbus.service.method("org.certbroker1.Manager", in_signature="s", out_signature="o")
    def GetCertificate(self, selector):
        if selector not in self.certificates:
            raise Error("NotFound", f"There is no certificate {selector}.")
        return dbus.ObjectPath(f"/org/certbroker1/certificate/{pki_label(selector)}")

    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="ss", out_signature="v")
    def Get(self, interface, name):
        return ""

    def log(self, certificate, sender, generation, algorithm, data):
        uid = int(self.bus.get_unix_user(sender))
        pid = int(self.daemon.GetConnectionUnixProcessID(sender, dbus_interface="org.freedesktop.DBus"))
        with open(self.folder / "signed", "a") as log:
            log.write(f"{uid} {pid} {certificate.id} {generation} {algorithm} {len(data)}\n")
        if self.signer is not None and uid != self.signer:
            raise Error("AccessDenied", f"User {uid} may not sign with certificate {certificate.id}.")

    def answer(self, certificate, algorithm, data):
        try:
            fault = (self.folder / "fault").read_text().split()
        except FileNotFoundError:
            fault = []
        kind = fault[0] if fault else ""
        if kind == "hang":
            return None
        if kind == "slow":
            time.sleep(float(fault[1]))
        if kind == "deny":
            raise Error("AccessDenied", f"You may not sign with certificate {certificate.id}; ask for a grant.")
        if kind == "garbage":
            data = bytes(b ^ 1 for b in data)
        signature = sign(certificate.key, algorithm, data)
        return {"short": signature[:-1], "long": signature + b"\0" * 200}.get(kind, signature)


def pki_label(text):
    return "".join(c if c.isascii() and (c.isalpha() or (c.isdigit() and i)) else f"_{ord(c):02x}"
                   for i, c in enumerate(text))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sign-only", default=None)
    arguments = parser.parse_args()
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.SessionBus()
    signer = pwd.getpwnam(arguments.sign_only).pw_uid if arguments.sign_only else None
    broker = Broker(bus, arguments.folder, signer)
    name = dbus.service.BusName(NAME, bus)
    print("ready", flush=True)
    GLib.MainLoop().run()
    return broker, name


if __name__ == "__main__":
    sys.exit(main())
