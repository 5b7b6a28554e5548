# SPDX-License-Identifier: Apache-2.0
"""The CA of the stand-in's own servers, and the server certificates, good and bad, that it presents."""

import datetime
import ipaddress
import pathlib
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)

# "localhost" and what is below it resolve to this machine with curl; the rest are the real service's names. "*.localhost"
# would be no use: OpenSSL takes a wildcard only above two labels.
NAMES = ("localhost", "login.localhost", "elsewhere.localhost", "evil.localhost", "*.vault.localhost", "*.vault.azure.net", "login.microsoftonline.com",
         "login.windows.net", "login.microsoft.com")

TLS_MODES = ("good", "wrong-ca", "self-signed", "expired", "not-yet-valid", "wrong-host", "sha1", "tls1.1",
             "client-certificate")


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    def __init__(self, common_name="Test vault CA"):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _name(common_name)
        self.certificate = self.issue(self.key, self.name, [], ca=True)

    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, key, name, dns_names, ca=False, start=-DAY, end=3650 * DAY, digest=hashes.SHA256, addresses=()):
        now = datetime.datetime.utcnow()
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now + start).not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False))
        if ca:
            builder = builder.add_extension(x509.KeyUsage(*[False] * 5, True, True, False, False), True)
        else:
            names = [x509.DNSName(dns) for dns in dns_names]
            names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False).add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        return builder.sign(self.key, digest())


class Contexts:
    """The ssl.SSLContext of each TLS mode, made when first asked for. Files go into `folder`."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.authority = Authority()
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(self.authority.pem())
        self._made = {}

    def get(self, mode="good"):
        if mode not in TLS_MODES:
            raise ValueError(f"no such TLS mode: {mode}")
        if mode not in self._made:
            self._made[mode] = self._make(mode)
        return self._made[mode]

    def _make(self, mode):
        key = ec.generate_private_key(ec.SECP256R1())
        authority, names, how = self.authority, NAMES, {"addresses": ["127.0.0.1"]}
        if mode == "wrong-ca":
            authority = Authority("Somebody else's CA")
        elif mode == "self-signed":
            authority = Authority("localhost")
            key = authority.key
        elif mode == "wrong-host":
            names, how = ("elsewhere.example",), {}
        elif mode == "expired":
            how.update(start=-30 * DAY, end=-DAY)
        elif mode == "not-yet-valid":
            how.update(start=DAY, end=30 * DAY)
        elif mode == "sha1":
            how.update(digest=hashes.SHA1)
        certificate = authority.issue(key, _name("localhost"), names, **how)
        return self._context(mode, key, certificate)

    def _context(self, mode, key, certificate):
        file = self.folder / f"server-{mode}.pem"
        file.touch(mode=0o600)
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if mode in ("sha1", "tls1.1"):
            context.set_ciphers("ALL:@SECLEVEL=0")
        if mode == "tls1.1":
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.load_cert_chain(file)
        if mode == "client-certificate":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context
