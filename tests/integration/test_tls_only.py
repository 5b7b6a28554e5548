# SPDX-License-Identifier: Apache-2.0
"""A gateway that is granted `tls` does TLS 1.3 handshakes, and cannot be made to sign anything else with that key."""

import hashlib
import pwd
import re
import socket
import ssl
import subprocess

import pki
import pytest

from broker import GRANT_ALL, ME, PATIENCE, certificate_path, wait_until
from gateway import Haproxy, Pki, backend_server, fingerprint_in, free_port, get, proxy_server
from test_gateway import nginx  # noqa: F401: a fixture

USER = "www-data"
WHY_NOT = "access denied by certbrokerd (TLS 1.2, like all but TLS 1.3, needs the operation use)"


@pytest.fixture
def files(stopped, root):
    """www-data may do `tls` with `client`, and that is all; the files may be read by it."""
    stopped.configure(grants=GRANT_ALL.format(me=ME) + f"""
      gateway = {{ user = "{USER}"; allow = "tls"; certificate = "client"; backend = "orders"; }};
    """)
    stopped.start()
    return Pki(stopped)


def as_gateway(broker, *command, input=None):
    group = pwd.getpwnam(USER).pw_gid
    return subprocess.run(["setpriv", f"--reuid={USER}", f"--regid={group}", "--clear-groups",
                           *[str(word) for word in command]],
                          env=broker.foreign_environment(), input=input, capture_output=True, check=False,
                          timeout=60 * PATIENCE, cwd="/")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384"])
def test_nginx_does_tls13_and_says_why_not_tls12(files, nginx, key_type):  # noqa: F811
    broker = files.broker
    cert, chain, key = files.import_client(key_type=key_type)
    backend, new, old = free_port(), free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    gateway = nginx("gateway", proxy_server(files, new, backend, chain, key, "TLSv1.3") +
                    proxy_server(files, old, backend, chain, key, "TLSv1.2"), user=USER).start(new, old)
    for _ in range(5):
        status, text, _ = get(new)
        assert (status, fingerprint_in(text), text.split()[-1]) == (200, pki.thumbprint(cert), "TLSv1.3")
    assert get(old)[0] == 502
    wait_until(lambda: WHY_NOT in gateway.log(), "the reason in nginx's log")
    records = (broker.state / "audit.jsonl").read_text()
    assert '"event":"SignTls"' in records and '"grant":"gateway"' in records


def handshake(files, port, version):
    """A request to a server with a certificate of the broker's; the version that the server saw."""
    context = ssl.create_default_context(cafile=files.ca_file)
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), 20 * PATIENCE) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return tls.makefile("rb").read().split()[-1].decode()


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_haproxy_does_tls13_and_says_why_not_tls12(files, nginx, key_type):  # noqa: F811
    """As a server and as a client of backends; the reason stands in its log where its format asks for it."""
    cert, chain, key = files.import_client(key_type=key_type)
    joined = files.write("joined.pem", chain.read_bytes() + key.read_bytes())
    backend, server, new, old = (free_port() for _ in range(4))
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    call = (f"server s 127.0.0.1:{backend} ssl verify required ca-file {files.ca_file} crt {joined} "
            "verifyhost orders.example no-ssl-reuse")
    haproxy = Haproxy(files, f"""
    log-format "%ft %ST %[ssl_bc_err_str]"
    error-log-format "%ft %[ssl_fc_err_str]"
frontend server
    bind 127.0.0.1:{server} ssl crt {joined} ssl-min-ver TLSv1.2
    http-request return status 200 content-type text/plain lf-string %sslv
listen new
    bind 127.0.0.1:{new}
    {call} force-tlsv13
listen old
    bind 127.0.0.1:{old}
    {call} force-tlsv12
""", user=USER)
    with haproxy.running(server, new, old):
        assert handshake(files, server, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        with pytest.raises(ssl.SSLError):
            handshake(files, server, ssl.TLSVersion.TLSv1_2)
        status, text, _ = get(new)
        assert (status, fingerprint_in(text), text.split()[-1]) == (200, pki.thumbprint(cert), "TLSv1.3")
        assert get(old)[0] == 503
        for line in (r"server~ .*", r"old 503 .*"):
            wait_until(lambda want=line + re.escape(WHY_NOT): re.search(want, haproxy.log()), "the reason in its log")


def test_curl_does_tls13_alone(files, nginx):  # noqa: F811
    cert, chain, key = files.import_client(key_type="ec-p256")
    port = free_port()
    nginx("backend", backend_server(files, port), foreign=False).start(port)
    curl = ["curl", "-sS", "--fail", "--cacert", files.ca_file, "--cert", chain, "--key", key]
    url = f"https://localhost:{port}/"
    done = as_gateway(files.broker, *curl, "--tlsv1.3", url)
    assert done.returncode == 0, done.stderr
    assert fingerprint_in(done.stdout.decode()) == pki.thumbprint(cert)
    assert as_gateway(files.broker, *curl, "--tls-max", "1.2", url).returncode != 0


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_nothing_else_can_be_signed(files, key_type):
    """A token's or document's digest, a CMS, a request, and content that only looks like a handshake's."""
    broker = files.broker
    _, chain, key = files.import_client(key_type=key_type)
    context = b"TLS 1.3, client CertificateVerify\0"
    documents = {
        "jwt": b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb290In0",
        "short blanks": b" " * 63 + context + bytes(32),
        "other context": b" " * 64 + b"TLS 1.3, master CertificateVerify\0" + bytes(32),
        "longer hash": b" " * 64 + context + bytes(33),
        "something after it": b" " * 64 + context + bytes(32) + b"{}",
        "something before it": b"{}" + b" " * 64 + context + bytes(32),
    }
    padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if key_type == "rsa-2048" else []
    for name, document in documents.items():
        for options in ([], padding):
            path = files.write("document", document)
            done = as_gateway(broker, "openssl", "dgst", "-sha256", "-sign", key, *options, path)
            assert done.returncode != 0 and not done.stdout, name
            assert b"AccessDenied" in done.stderr or b"operation use" in done.stderr, done.stderr
    request = as_gateway(broker, "openssl", "req", "-new", "-key", key, "-subj", "/CN=evil")
    assert request.returncode != 0 and b"BEGIN CERTIFICATE REQUEST" not in request.stdout
    cms = as_gateway(broker, "openssl", "cms", "-sign", "-signer", chain, "-inkey", key, "-outform", "PEM",
                     input=b"a contract")
    assert cms.returncode != 0 and b"BEGIN CMS" not in cms.stdout
    # the digest of a true CertificateVerify is a digest like any other
    digest = hashlib.sha256(b" " * 64 + context + bytes(32)).hexdigest()
    algorithm = "rsa-pss-sha256" if key_type == "rsa-2048" else "ecdsa-sha256"
    (result,) = broker.as_user(USER, [certificate_path("client"), "org.certbroker1.Certificate", "Sign", "tsay", 0,
                                      algorithm, {"hex": digest}])
    assert result["error"].endswith("AccessDenied")
