# SPDX-License-Identifier: Apache-2.0
"""A certificate is rotated ten times under a gateway that works: `backend watch` writes its files and reloads it."""

import subprocess

import pki

from broker import CLI, die_with_parent, wait_until
from gateway import Load, backend_server, fingerprint_in, free_port, get, proxy_server
from test_gateway import files, nginx  # noqa: F401: fixtures

TYPES = ["ec-p256", "rsa-2048"] * 5


def test_ten_rotations_under_load(broker, files, nginx):  # noqa: F811
    """RSA to EC and back: every request is answered, and the last of them with the last certificate."""
    backend, port = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    cert, _, _ = files.import_client("client", "rsa-2048")
    broker.create_backend("orders", "client", f"https://localhost:{backend}/")
    chain, key = files.folder / "watched.crt", files.folder / "watched.key"
    pid_file = broker.folder / "gateway" / "pid"
    watch = subprocess.Popen(
        [CLI, "backend", "watch", "orders", "--chain", chain, "--key", key,
         "--exec", f"test ! -s {pid_file} || kill -HUP $(cat {pid_file})"],
        env=broker.foreign_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
    try:
        wait_until(lambda: chain.exists() and key.exists(), "the files are written")
        gateway = nginx("gateway", proxy_server(files, port, backend, chain, key)).start(port)
        with Load(port) as load:
            for generation, key_type in enumerate(TYPES, 2):
                new = pki.key(key_type, generation)
                cert = pki.certificate(new, "client.example", issuer=files.ca,
                                       sans=("localhost", "client.example"))
                broker.import_bundle("client", pki.p12(new, cert, (files.ca.certificate,)), b"secret", replace=True)
                wait_until(lambda c=cert: fingerprint_in(get(port)[1]) == pki.thumbprint(c),
                           f"generation {generation} is presented")
        assert len(load.statuses) > 100
        assert load.failures() == []
        assert broker.certificate_properties("client")["Generation"] == 11
        assert watch.poll() is None
        assert gateway
    finally:
        watch.terminate()
        status = watch.wait(10)
    assert status == 0, watch.stderr.read()
