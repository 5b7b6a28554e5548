# SPDX-License-Identifier: Apache-2.0
"""The whole path: unmodified programs, the provider, the broker, the token."""

import os
import signal
import socket
import ssl
import subprocess
import time

import pki
import pytest

from broker import GRANT_ALL, PATIENCE, die_with_parent, wait_until
from gateway import Haproxy, Load, Nginx, Pki, backend_server, fingerprint_in, free_port, get, proxy_server


@pytest.fixture
def files(broker):
    return Pki(broker)


@pytest.fixture
def nginx(stopped):
    """Makes an nginx; at the end each must have ended well, and no worker of it by a signal."""
    made = []

    def make(name, servers, **how):
        made.append(Nginx(stopped, name, servers, **how))
        return made[-1]

    yield make
    try:
        for each in made:
            each.stop()
    finally:
        for each in made:
            each.close()


def run(broker, *command, status=0, input=None, **how):
    done = subprocess.run([str(c) for c in command], env=broker.foreign_environment(), input=input,
                          capture_output=True, check=False, timeout=60 * PATIENCE, **how)
    assert done.returncode == status, (command, done.returncode, done.stdout, done.stderr)
    return done


# openssl

@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384"])
def test_openssl_dgst(broker, files, key_type):
    cert, _, key = files.import_client(key_type=key_type)
    data = broker.folder / "data"
    data.write_bytes(b"to be signed" * 1000)
    public = files.write("pub.pem", run(broker, "openssl", "pkey", "-in", key, "-pubout").stdout)
    for hash_name in ("sha256", "sha384", "sha512"):
        for padding in ([], ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]):
            if padding and not key_type.startswith("rsa"):
                continue
            for reference in (str(key), "certbroker:certificate/client", "certbroker://certificate/client"):
                signature = run(broker, "openssl", "dgst", f"-{hash_name}", "-sign", reference, *padding, data).stdout
                algorithm = {"rsa": f"rsa-{'pss' if padding else 'pkcs1'}-{hash_name}",
                             "ec-": f"ecdsa-{hash_name}"}[key_type[:3].rstrip("-") if key_type[0] == "r" else "ec-"]
                pki.verify(cert.public_key(), algorithm, signature, data.read_bytes())
    assert b"BEGIN PUBLIC KEY" in public.read_bytes()


def test_openssl_req(broker, files):
    _, _, key = files.import_client(key_type="ec-p256")
    from cryptography import x509
    pem = run(broker, "openssl", "req", "-new", "-key", key, "-subj", "/CN=made.by.openssl").stdout
    request = x509.load_pem_x509_csr(pem)
    assert request.is_signature_valid
    assert request.public_key().public_numbers() == pki.key("ec-p256").public_key().public_numbers()


def test_openssl_store(broker, files):
    """A certbroker: URI gives the key's handle, the certificate and its chain."""
    files.import_client()
    broker.create_backend("orders", "client")
    for uri in ("certbroker:certificate/client", "certbroker://certificate/client?generation=1",
                "certbroker:backend/orders"):
        text = run(broker, "openssl", "storeutl", "-noout", "-text", uri).stdout.decode()
        assert "client.example" in text and "Gateway Root" in text, text
    run(broker, "openssl", "storeutl", "-noout", "certbroker:certificate/nobody", status=1)


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p384", "ed25519"])
def test_public_half_by_uri(broker, files, key_type):
    """As a key's public half, and as a public key; the latter verifies and does not sign."""
    from cryptography.hazmat.primitives import serialization
    cert, _, _ = files.import_client(key_type=key_type)
    data = files.write("data", b"data")
    public = cert.public_key().public_bytes(serialization.Encoding.PEM,
                                            serialization.PublicFormat.SubjectPublicKeyInfo)
    for uri in ("certbroker:certificate/client", "certbroker://certificate/client"):
        for how in (["-pubout"], ["-pubin"], ["-pubin", "-pubout"]):
            assert run(broker, "openssl", "pkey", "-in", uri, *how).stdout == public
        if key_type != "ed25519":
            signature = files.write("signature", run(broker, "openssl", "dgst", "-sha256", "-sign", uri, data).stdout)
            run(broker, "openssl", "dgst", "-sha256", "-verify", uri, "-signature", signature, data)
            run(broker, "openssl", "dgst", "-sha512", "-verify", uri, "-signature", signature, data, status=1)
    assert b"Total found: 1" in run(broker, "openssl", "storeutl", "-keys", "-noout", uri).stdout


def test_openssl_store_of_an_older_generation(broker, files):
    """What GetCredential gave before a rotation goes on opening: the key, its certificate and its chain."""
    old, _, _ = files.import_client(key_type="ec-p256")
    broker.create_backend("orders", "client")
    uri = str(broker.backend("orders", "GetCredential")["key"])
    new, _, _ = files.import_client(key_type="ec-p384", replace=True)
    data = files.write("data", b"data")
    for generation, cert in ((uri, old), (uri.replace("=1", "=2"), new)):
        text = run(broker, "openssl", "storeutl", "-noout", "-text", generation).stdout.decode()
        assert f"{cert.serial_number:x}" in text.lower().replace(":", "") and "Gateway Root" in text, text
        signature = run(broker, "openssl", "dgst", "-sha256", "-sign", generation, data).stdout
        pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"data")
        public = run(broker, "openssl", "pkey", "-in", generation, "-pubout").stdout
        from cryptography.hazmat.primitives import serialization
        assert serialization.load_pem_public_key(public).public_numbers() == cert.public_key().public_numbers()
    run(broker, "openssl", "storeutl", "-noout", uri.replace("=1", "=3"), status=1)


def test_private_half_is_refused(broker, files):
    _, _, key = files.import_client()
    done = subprocess.run(["openssl", "pkey", "-in", key, "-text"], env=broker.foreign_environment(),
                          capture_output=True, check=False)
    secret = pki.key("rsa-2048").private_numbers().d
    assert b"BEGIN PRIVATE KEY" not in done.stdout
    assert "%x" % secret not in done.stdout.decode().replace(":", "").replace(" ", "").replace("\n", "")


def test_loading_a_key_file_needs_no_connection(broker, files):
    """The daemon and the bus are away: the file is read, and its public half is there."""
    cert, _, key = files.import_client()
    broker.stop()
    broker.stop_bus()
    began = time.monotonic()
    public = run(broker, "openssl", "pkey", "-in", key, "-pubout").stdout
    assert time.monotonic() - began < 2 * PATIENCE
    from cryptography.hazmat.primitives import serialization
    assert serialization.load_pem_public_key(public).public_numbers() == cert.public_key().public_numbers()


def test_other_keys_are_left_alone(broker, files):
    """Plain PEM keys, in the same program, are OpenSSL's own."""
    plain = files.write("plain.key", pki.pem(pki.key("rsa-2048", "plain")))
    data = files.write("data", b"data")
    signature = run(broker, "openssl", "dgst", "-sha256", "-sign", plain, data).stdout
    pki.verify(pki.key("rsa-2048", "plain").public_key(), "rsa-pkcs1-sha256", signature, b"data")
    done = subprocess.run(["openssl", "dgst", "-sha256", "-sign", plain, data],
                          env=dict(broker.foreign_environment(), CERTBROKER_BUS="unix:path=/nonexistent"),
                          capture_output=True, check=True)
    pki.verify(pki.key("rsa-2048", "plain").public_key(), "rsa-pkcs1-sha256", done.stdout, b"data")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_s_client_and_s_server(broker, files, key_type):
    """Both ends with keys of the broker."""
    client, client_chain, client_key = files.import_client("client", key_type)
    server, server_chain, server_key = files.import_client("server", key_type, which=1)
    for version in ("-tls1_2", "-tls1_3"):
        port = free_port()
        server_process = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", server_chain, "-key", server_key,
             "-CAfile", files.ca_file, "-Verify", "1", "-verify_return_error", version, "-naccept", "1", "-www"],
            env=broker.foreign_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent)
        time.sleep(0.3)
        wait_until(lambda p=port: any(f":{p:04X}" in line for line in open("/proc/net/tcp")), "s_server listens")
        done = run(broker, "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-cert", client_chain, "-key",
                   client_key, "-CAfile", files.ca_file, "-verify_return_error", version, "-ign_eof",
                   input=b"GET / HTTP/1.0\r\n\r\n")
        assert b"Verify return code: 0 (ok)" in done.stdout
        assert b"client.example" in done.stdout  # what the server says that it saw
        server_process.wait(10)


# curl

@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_curl(broker, files, nginx, key_type):
    cert, chain, key = files.import_client(key_type=key_type)
    port = free_port()
    nginx("backend", backend_server(files, port), foreign=False).start(port)
    joined = files.write("joined.pem", key.read_bytes() + chain.read_bytes())
    for version, shown in ((["--tls-max", "1.2"], "TLSv1.2"), (["--tlsv1.3"], "TLSv1.3")):
        for how in (["--cert", chain, "--key", key], ["--cert", joined]):
            text = run(broker, "curl", "-sS", "--fail", "--cacert", files.ca_file, *how, *version,
                       f"https://localhost:{port}/").stdout.decode()
            assert fingerprint_in(text) == pki.thumbprint(cert)
            assert text.split()[-1] == shown
    # without a certificate the backend says no
    without = subprocess.run(["curl", "-sS", "--fail", "--cacert", files.ca_file, f"https://localhost:{port}/"],
                             env=broker.foreign_environment(), capture_output=True, check=False)
    assert without.returncode != 0


# nginx

@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_nginx_calls_a_backend(broker, files, nginx, key_type, protocol):
    cert, chain, key = files.import_client(key_type=key_type)
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    nginx("gateway", proxy_server(files, gateway, backend, chain, key, protocol)).start(gateway)
    for _ in range(20):
        status, text, _ = get(gateway)
        assert status == 200, text
        assert fingerprint_in(text) == pki.thumbprint(cert)
        assert text.split()[-1] == protocol


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nginx_as_a_server(broker, files, nginx, key_type, version):
    """ssl_certificate_key of the broker's, a client that is not OpenSSL's command line."""
    cert, chain, key = files.import_client(key_type=key_type)
    port = free_port()
    nginx("gateway", f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        location / {{ return 200 "hello\\n"; }}
    }}""").start(port)
    context = ssl.create_default_context(cafile=files.ca_file)
    context.minimum_version = context.maximum_version = version
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port)) as plain, \
                context.wrap_socket(plain, server_hostname="localhost") as tls:
            assert tls.getpeercert(binary_form=True) == pki.der(cert)
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"200 OK" in tls.recv(4096)


def test_master_reads_and_workers_sign(stopped, root, nginx):
    """The key is loaded by nginx's master, root, who may only read; the workers, www-data, have the grant."""
    from broker import ME
    stopped.configure(grants=GRANT_ALL.format(me=ME).replace('"manage", "use"', '"manage"') + """
      workers = { user = "www-data"; allow = "use"; certificate = "client"; };
    """)
    stopped.start()
    files = Pki(stopped)
    cert, chain, key = files.import_client()
    backend, gateway, denied = free_port(), free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    nginx("gateway", proxy_server(files, gateway, backend, chain, key), user="www-data").start(gateway)
    for _ in range(10):
        status, text, _ = get(gateway)
        assert (status, fingerprint_in(text)) == (200, pki.thumbprint(cert))
    # a worker that has no grant: refused, and its log says why
    other = nginx("denied", proxy_server(files, denied, backend, chain, key), user="nobody nogroup").start(denied)
    status, _, took = get(denied)
    assert status == 502
    assert took < 2 * PATIENCE
    wait_until(lambda: "NotFound" in other.log() or "not found" in other.log().lower()
               or "no certificate" in other.log().lower(), "the reason in its log")
    assert "certbroker" in other.log()
    assert get(gateway)[0] == 200


def test_nginx_reloaded_under_load(broker, files, nginx):
    """Not one failed request, no crashed worker; the new workers sign at once."""
    _, chain, key = files.import_client()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    server = nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    with Load(gateway) as load:
        for _ in range(5):
            time.sleep(0.3)
            server.reload()
    assert load.failures() == []
    assert len(load.statuses) > 20


def test_replaced_certificate_without_a_failure(broker, files, nginx):
    """The old key file goes on working after a replacement; after a reload with the new one, the new is presented."""
    old, chain, key = files.import_client(key_type="rsa-2048")
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    server = nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    with Load(gateway) as load:
        time.sleep(0.3)
        new, _, _ = files.import_client(key_type="ec-p256", replace=True)  # writes both files anew
        time.sleep(0.3)
        server.reload()
        time.sleep(0.3)
    assert load.failures() == []
    assert fingerprint_in(get(gateway)[1]) == pki.thumbprint(new) != pki.thumbprint(old)


def test_first_handshake_waits_for_nothing(broker, files, nginx):
    """A new worker's first handshake takes about as long as the others."""
    _, chain, key = files.import_client(key_type="ec-p256")
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    server = nginx("gateway", proxy_server(files, gateway, backend, chain, key), workers=1).start(gateway)
    for _ in range(5):
        server.reload()
        status, _, took = get(gateway)
        assert status == 200
        assert took < 0.25 * PATIENCE, took


def test_daemon_restarted_under_a_gateway(broker, files, nginx):
    """The next handshake works, or fails at once and plainly, and the one after works."""
    _, chain, key = files.import_client()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    for end in (broker.stop, broker.kill):
        assert get(gateway)[0] == 200
        end()
        broker.start()
        statuses = [get(gateway) for _ in range(6)]
        # two workers: each may have a connection that has gone
        assert [s for s, _, _ in statuses].count(200) >= 4, statuses
        assert statuses[-1][0] == statuses[-2][0] == 200
        assert max(took for _, _, took in statuses) < 1 * PATIENCE


def test_daemon_away_at_the_start(broker, files, nginx):
    """nginx starts; handshakes fail within 250 ms with a message that says so, until the daemon is there."""
    _, chain, key = files.import_client()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    broker.stop()
    server = nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    get(gateway)  # warms up nginx's own connection to the backend
    for _ in range(3):
        status, _, took = get(gateway)
        assert status == 502
        assert took < 0.5 * PATIENCE, took
    assert "certbrokerd" in server.log(), server.log()
    broker.start()
    assert get(gateway)[0] == 200


def test_bus_away_at_the_start(broker, files, nginx):
    _, chain, key = files.import_client()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    broker.stop()
    broker.stop_bus()
    server = nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    status, _, took = get(gateway)
    assert status == 502 and took < 1 * PATIENCE
    (broker.folder / "bus").unlink(missing_ok=True)
    broker.start_bus()
    broker.start()
    wait_until(lambda: get(gateway)[0] == 200, "the bus is back", 5)
    assert "certbroker" in server.log()


def test_source_killed_under_load(broker, files, nginx):
    """The source's process is killed: what fails, fails fast; then all is well again without a hand."""
    _, chain, key = files.import_client()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    nginx("gateway", proxy_server(files, gateway, backend, chain, key)).start(gateway)
    with Load(gateway, threads=2) as load:
        time.sleep(0.5)
        for pid in broker.helper_pids():
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)
        broker.wait_source("hsm", "ready")
        before = len(load.statuses)
        wait_until(lambda: len(load.statuses) > before + 10, "requests go on")
        # what was under way may have failed
        tail = load.statuses[-5:]
    assert tail == [200] * 5
    assert set(load.statuses) <= {200, 502}


def test_wrong_certificate_for_the_key(broker, files, nginx):
    """nginx -t finds it: the public halves are compared."""
    _, chain, key = files.import_client("client", "rsa-2048")
    _, other_chain, _ = files.import_client("other", "rsa-2048", which=1)
    server = nginx("gateway", proxy_server(files, free_port(), 1, other_chain, key))
    done = server.test()
    assert done.returncode != 0
    assert "key values mismatch" in done.stderr, done.stderr
    server.write(proxy_server(files, free_port(), 1, chain, key))
    done = server.test()
    assert done.returncode == 0, done.stderr


# haproxy

@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_haproxy(broker, files, nginx, key_type):
    """Threads; a frontend with a key of the broker, and a client certificate of the broker to the backend."""
    server_cert, chain, key = files.import_client("server", key_type)
    client_cert, client_chain, client_key = files.import_client("client", key_type, which=1)
    front = files.write("front.pem", chain.read_bytes() + key.read_bytes())
    client = files.write("client-joined.pem", client_chain.read_bytes() + client_key.read_bytes())
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    haproxy = Haproxy(files, f"""
frontend f
    bind 127.0.0.1:{gateway} ssl crt {front}
    default_backend b
backend b
    server s 127.0.0.1:{backend} ssl verify required ca-file {files.ca_file} crt {client} verifyhost orders.example no-ssl-reuse
""")
    with haproxy.running(gateway):
        import concurrent.futures
        context = ssl.create_default_context(cafile=files.ca_file)

        def request(_):
            import http.client
            connection = http.client.HTTPSConnection("localhost", gateway, context=context, timeout=20 * PATIENCE)
            connection.request("GET", "/")
            text = connection.getresponse().read().decode()
            peer = connection.sock.getpeercert(binary_form=True) if connection.sock else None
            connection.close()
            return text, peer

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for text, peer in pool.map(request, range(40)):
                assert fingerprint_in(text) == pki.thumbprint(client_cert)
                assert peer in (None, pki.der(server_cert))


def test_haproxy_in_a_chroot(broker, files, root, nginx):
    """As Debian's haproxy runs: the bus's socket is out of reach, the channel's abstract one is not."""
    _, chain, key = files.import_client("client", "ec-p256")
    client = files.write("client-joined.pem", chain.read_bytes() + key.read_bytes())
    jail = broker.folder / "jail"
    jail.mkdir()
    backend, gateway = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    channel = str(broker.get("/org/certbroker1", "Manager", "ChannelAddress"))
    haproxy = Haproxy(files, f"""
frontend f
    bind 127.0.0.1:{gateway}
    default_backend b
backend b
    server s 127.0.0.1:{backend} ssl verify required ca-file {files.ca_file} crt {client} verifyhost orders.example no-ssl-reuse
""", head=f"chroot {jail}", environment=dict(broker.foreign_environment(), CERTBROKER_BUS=channel))
    with haproxy.running(gateway):
        for _ in range(5):
            status, text, _ = get(gateway)
            assert status == 200, text
