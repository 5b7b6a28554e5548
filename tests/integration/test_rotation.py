# SPDX-License-Identifier: Apache-2.0
"""A certificate is rotated ten times under a gateway that works: `backend watch` writes its files and reloads it."""

import shlex
import subprocess

import pki

from broker import CLI, PATIENCE, die_with_parent, wait_until
from gateway import Wrk, backend_server, fingerprint_in, free_port, get, proxy_server
from test_gateway import files, nginx  # noqa: F401: fixtures

TYPES = ["ec-p256", "rsa-2048"] * 5


def test_ten_rotations_under_load(broker, files, nginx):  # noqa: F811
    """RSA to EC and back: wrk counts no failed request, and each new certificate is soon presented."""
    backend, port = free_port(), free_port()
    nginx("backend", backend_server(files, backend), foreign=False).start(backend)
    cert, _, _ = files.import_client("client", "rsa-2048")
    broker.create_backend("orders", "client", f"https://localhost:{backend}/")
    chain, key = files.folder / "watched.crt", files.folder / "watched.key"
    gateway = nginx("gateway", proxy_server(files, port, backend, chain, key))
    reload = f"test ! -s {gateway.folder}/pid || {shlex.join(gateway.command('-s', 'reload'))}"
    watch = subprocess.Popen(
        [CLI, "backend", "watch", "orders", "--chain", chain, "--key", key, "--exec", reload],
        env=broker.foreign_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=die_with_parent)
    try:
        wait_until(lambda: chain.exists() and key.exists(), "the files are written")
        gateway.start(port)
        with Wrk(broker.folder, port) as load:
            for generation, key_type in enumerate(TYPES, 2):
                new = pki.key(key_type, generation)
                cert = pki.certificate(new, "client.example", issuer=files.ca,
                                       sans=("localhost", "client.example"))
                broker.import_bundle("client", pki.p12(new, cert, (files.ca.certificate,)), b"secret", replace=True)
                wait_until(lambda c=cert: fingerprint_in(get(port)[1]) == pki.thumbprint(c),
                           f"generation {generation} is presented")
        assert broker.certificate_properties("client")["Generation"] == 11
        assert watch.poll() is None
    finally:
        watch.terminate()
        status = watch.wait(10 * PATIENCE)
    print(f"{load.requests} requests, failed: {load.failures}")
    assert load.failures == {} and load.requests > 100
    assert gateway.log().count("reconfiguring") >= 10
    assert status == 0, watch.stderr.read()
