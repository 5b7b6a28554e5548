# SPDX-License-Identifier: Apache-2.0
"""`backend check`: what a backend presents is judged as its settings say, with a key that stays in the token."""

import contextlib
import socket
import ssl
import threading

import pki
import pytest

from broker import MODULES
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID


class Server:
    """A TLS server that demands a client certificate of an issuer, and answers one request a connection."""

    def __init__(self, folder, certificate, key, clients=None, version=None):
        chain, secret = folder / "server.pem", folder / "server.key"
        chain.write_bytes(pki.pem(certificate))
        secret.write_bytes(pki.pem(key))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain, secret)
        if clients:
            authorities = folder / "clients.pem"
            authorities.write_bytes(pki.pem(clients.certificate))
            self.context.load_verify_locations(authorities)
            self.context.verify_mode = ssl.CERT_REQUIRED
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.seen = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ssl.SSLError), plain:
                plain.settimeout(10)
                with self.context.wrap_socket(plain, server_side=True) as tls:
                    self.seen.append(tls.getpeercert(binary_form=True))
                    tls.recv(4096)
                    tls.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which else goes on with it
        self.socket.close()
        self.thread.join(10)


@pytest.fixture
def check(broker):
    """check(expected status, setting, …): a backend `orders` at a server, checked; (document, text, errors)."""
    broker.clients = pki.Issuer("Clients")
    broker.cert = broker.import_new("client", "ec-p256", issuer=broker.clients)
    broker.servers = pki.Issuer("Servers")
    broker.ca_file = broker.folder / "servers.pem"
    broker.ca_file.write_bytes(pki.pem(broker.servers.certificate))
    running = []

    def serve(certificate=None, key_type="ec-p256", clients=broker.clients, **how):
        key = pki.key(key_type, 1)
        certificate = certificate or pki.certificate(key, "localhost", issuer=broker.servers, sans=("localhost",))
        running.append(Server(broker.folder, certificate, key, clients, **how))
        broker.server, broker.server_cert = running[-1], certificate
        broker.create_backend("orders", "client", f"https://localhost:{broker.server.port}/path")
        return broker.server

    def check(status, *settings):
        if settings:
            done = broker.cli("backend", "set", "orders", *[str(s) for s in settings])
            assert done.returncode == 0, done.stderr.decode()
        done = broker.cli("backend", "check", "orders", OPENSSL_MODULES=MODULES)
        assert done.returncode == status, (done.stdout.decode(), done.stderr.decode())
        return done.stdout.decode(), done.stderr.decode()

    check.serve = serve
    check.broker = broker
    yield check
    for server in running:
        server.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_verified(check, version):
    server = check.serve(version=version)
    text, _ = check(0, "--ca-file", check.broker.ca_file)
    assert "CN=localhost" in text and "204" in text and "a certificate" in text
    assert pki.thumbprint(check.broker.server_cert, "sha256") in text
    assert server.seen == [pki.der(check.broker.cert)], "the token's certificate was presented"


def test_json(check):
    check.serve()
    check(0, "--ca-file", check.broker.ca_file)
    import json
    done = check.broker.cli("--json", "backend", "check", "orders", OPENSSL_MODULES=MODULES)
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["presented"]["thumbprint-sha256"] == pki.thumbprint(check.broker.server_cert, "sha256")
    assert document["verified"] == {"chain": "ok", "name": "ok", "pin": None}
    assert document["asked-for-certificate"] is True
    assert document["asked-for-issuers"] == []  # Python's servers name none
    check(1, "--ca-file", "/dev/null")


def test_authorities_that_cannot_be_read(check):
    """What the file is, or why it is none, and what makes PEM of it."""
    check.serve()
    authority = check.broker.servers.certificate
    bundle = pkcs7.serialize_certificates
    for name, content, words in (
            ("missing", None, "No such file"),
            ("empty", b"", "no certificate in PEM"),
            ("authority.der", pki.der(authority), "openssl x509 -inform DER"),
            ("authority.p7b", bundle([authority], serialization.Encoding.DER), "openssl pkcs7 -inform DER"),
            ("authority.p7b.pem", bundle([authority], serialization.Encoding.PEM), "openssl pkcs7 -print_certs")):
        file = check.broker.folder / name
        if content is not None:
            file.write_bytes(content)
        _, errors = check(1, "--ca-file", file)
        assert f"The authorities in {file} cannot be read" in errors and words in errors, errors


def test_issuers_that_it_names(check):
    """openssl s_server says whose clients it wants."""
    import json
    import subprocess
    check.serve()
    folder = check.broker.folder
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = str(unused.getsockname()[1])
    with subprocess.Popen(["openssl", "s_server", "-accept", port, "-cert", folder / "server.pem", "-key",
                           folder / "server.key", "-CAfile", folder / "clients.pem", "-Verify", "2", "-www"],
                          env={"PATH": "/usr/bin"}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            server.stdout.readline()
            check.broker.cli("backend", "set", "orders", "--ca-file", str(check.broker.ca_file), "--url",
                             f"https://localhost:{port}/")
            done = check.broker.cli("--json", "backend", "check", "orders", OPENSSL_MODULES=MODULES)
            assert json.loads(done.stdout)["asked-for-issuers"] == ["CN=Clients"], done.stderr
        finally:
            server.kill()


def test_self_signed_proposes_the_pin(check):
    """Refused without an explicit switch; the pin that is proposed makes it work, and verifies more than no chain."""
    key = pki.key("ec-p256", 1)
    server = check.serve(pki.certificate(key, "localhost", sans=("localhost",)))
    pin = pki.thumbprint(check.broker.server_cert, "sha256")
    text, errors = check(1)
    assert "self-signed" in errors and f"--server-thumbprint {pin}" in errors and pin in text
    assert server.seen == [], "our certificate was not shown to whom we do not trust"
    check(0, "--server-thumbprint", pin)
    assert len(server.seen) == 1
    _, errors = check(1, "--server-thumbprint", "AB" * 32)
    assert "pinned" in errors
    text, _ = check(0, "--server-thumbprint", "", "--no-validate-chain", "--skip-reason", "test")
    assert "not verified" in text


def test_name(check):
    key = pki.key("ec-p256", 1)
    check.serve(pki.certificate(key, "other", issuer=check.broker.servers, sans=("other.example",)))
    _, errors = check(1, "--ca-file", check.broker.ca_file)
    assert "--server-name" in errors
    text, _ = check(0, "--server-name", "other.example")
    assert "other.example" in text
    check(1, "--server-name", "")
    text, _ = check(0, "--no-validate-name", "--skip-reason", "test")
    assert "not verified" in text


def test_untrusted(check):
    check.serve()
    _, errors = check(1)  # the system does not know this authority
    assert "--ca-file" in errors and "not trusted" in errors


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_refused_by_the_backend(check, version):
    """It wants a client of another authority: that shows in TLS 1.3 only after the handshake."""
    check.serve(clients=pki.Issuer("Others"), version=version)
    _, errors = check(1, "--ca-file", check.broker.ca_file)
    assert "certificate" in errors and "is known" not in errors


def test_a_certificate_that_no_client_can_have(check):
    """What is known of it is said: the server's alert says little, or nothing."""
    broker = check.broker
    key = pki.new_key("ec-p256")
    uses = [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]
    cert = pki.certificate(key, "client.example", issuer=broker.clients, extensions=uses)
    broker.import_bundle("client", pki.pem(key, cert, broker.clients.certificate), replace=True)
    check.serve()
    _, errors = check(1, "--ca-file", broker.ca_file)
    assert "client" in errors and "lacks clientAuth" in errors


def test_asks_for_nothing(check):
    check.serve(clients=None)
    text, _ = check(0, "--ca-file", check.broker.ca_file)
    assert "no certificate" in text


def test_nobody_there(check):
    check.serve()
    _, errors = check(1, "--url", "https://localhost:1/")
    assert "connect" in errors
    assert "refused" in errors


def test_disabled_certificate(check):
    check.serve()
    check.broker.certificate("client", "SetEnabled", "b", False)
    _, errors = check(1)
    assert "client" in errors
