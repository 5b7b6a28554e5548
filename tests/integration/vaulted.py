# SPDX-License-Identifier: Apache-2.0
"""A broker with a source in the test vault (tests/keyvault), for test_vault_*.py: `from vaulted import *`."""

import collections
import pathlib
import sys

import dbus
import dbus.lowlevel
import pytest

import pki
from broker import NAME, SANITIZED, Broker, Failure, PATIENCE, certificate_path, memfd, wait_until  # noqa: F401

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "keyvault"))

from vault import TestVault  # noqa: E402

SIGN = "/keys/"
NONE = dbus.Dictionary({}, signature="sv")


class Vaulted(Broker):
    """A broker whose one source is the test vault's `contoso`."""

    def __init__(self, folder):
        super().__init__(folder)
        self.vault = TestVault(folder).start()

    def vault_source(self, name="vault", uri=None, **settings):
        settings = {"driver": "azure-key-vault", "uri": uri or self.vault.named_url, "auth": "managed-identity",
                    "imds-endpoint": self.vault.imds, "ca-file": self.vault.ca_file, **settings}
        body = "".join(f'    {key} = "{value}";\n' for key, value in settings.items() if value is not None)
        return f"  {name} = {{\n{body}  }};\n"

    def configure_vault(self, more="", broker="", **settings):
        self.configure(sources=self.vault_source(**settings) + more, broker=broker)

    def begin(self, ready="vault", more="", broker="", environment=None, **settings):
        self.extra_environment.update(environment or {})
        self.configure_vault(more, broker, **settings)
        return self.start(ready=ready)

    def close(self):
        try:
            super().close()
        finally:
            self.vault.close()

    def uri(self, name, version=None):
        return f"{self.vault.named_url}/certificates/{name}" + (f"/{version}" if version else "")

    def register(self, id, uri=None, **options):
        values = dbus.Dictionary(options, signature="sv")
        return self.manager("RegisterCertificate", "ssa{sv}", id, uri or self.uri(id), values)

    def add(self, id="orders", key_type="ec-p256", **fields):
        """A certificate in the vault, registered under its name."""
        made = self.vault.add_certificate(id, key_type=key_type, **fields)
        self.register(id)
        return made

    def refresh(self, id, **how):
        return self.certificate(id, "Refresh", **how)

    def check_signature(self, id="orders", algorithm="ecdsa-sha256", generation=0, message=b"hello"):
        signature = self.sign(id, algorithm, pki.digest(algorithm, message), generation)
        pki.verify(self.leaf(id).public_key() if not generation else self.leaf(id, generation).public_key(), algorithm,
                   signature, message)
        return signature

    def leaf(self, id="orders", generation=0):
        from cryptography import x509
        return x509.load_der_x509_certificate(self.chain(id)[0])

    def try_sign(self, id="orders", algorithm="ecdsa-sha256", **how):
        return self.sign(id, algorithm, pki.digest(algorithm, b"hello"), **how)

    def call_many(self, n, id, method, signature="", *arguments, connections=1, in_flight=None):
        """n calls, in turn on some connections, so many of them unanswered at once (None: all of them); the replies."""
        pending, replies = collections.deque(), []
        channels = [self.connect() for _ in range(connections)]
        for i in range(n):
            while in_flight and len(pending) >= in_flight:
                pending.popleft().block()
            message = dbus.lowlevel.MethodCallMessage(NAME, certificate_path(id), "org.certbroker1.Certificate", method)
            message.append(*arguments, signature=signature)
            pending.append(channels[i % connections].send_message_with_reply(message, replies.append, 60 * PATIENCE))
        for call in pending:
            call.block()
        return replies

    def sign_many(self, n, id="orders", algorithm="ecdsa-sha256", **how):
        """n signatures, as call_many; the replies."""
        digest = dbus.ByteArray(pki.digest(algorithm, b"m"))
        return self.call_many(n, id, "Sign", "tsay", dbus.UInt64(0), algorithm, digest, **how)

    def last_error(self, id="orders"):
        return str(self.certificate_properties(id)["LastError"])

    def vault_state(self, name="vault"):
        properties = self.source_properties(name)
        return str(properties["State"]), str(properties["LastError"])

    def key_is(self, id, made):
        """Is the certificate's key this version of the vault's? (Its control endpoint has another host in its ids.)"""
        uri = str(self.certificate_properties(id)["KeyUri"])
        return uri == self.vault.named_url + "/keys/" + made["kid"].split("/keys/")[1]

    def asked(self, method, path):
        """How many requests of this kind the vault has seen."""
        return len(self.vault.requests("vault", method, path))

    def sent_elsewhere(self):
        return self.vault.connections("elsewhere") + self.vault.connections("elsewhere-http")


def answered(replies):
    """How many of them are answers, and no errors."""
    return len([reply for reply in replies if reply.get_type() == dbus.lowlevel.MESSAGE_TYPE_METHOD_RETURN])


@pytest.fixture
def vaulted(folder):
    broker = Vaulted(folder)
    try:
        broker.start_bus()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def broker(vaulted):
    return vaulted.begin()


@pytest.fixture
def orders(broker):
    """A broker with the certificate `orders` (ec-p256) in the vault, which has signed once."""
    broker.made = broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.check_signature()
    broker.vault.clear_log()
    return broker


def still_served(broker):
    """The cached credential is answered whatever the vault does, and the broker lives."""
    credential = broker.backend("orders-backend", "GetCredential")
    assert credential["generation"] == 1 and len(credential["chain"]) >= 1
    return credential
