# SPDX-License-Identifier: Apache-2.0
"""An nginx that presents a certificate of the test vault to a backend that demands one; and a vault that goes away.

For test_vault_gateway.py and tests/bench/vault: the same, for some seconds or for as long as one likes.
"""

import dataclasses
import time

import pki

from broker import Failure, wait_until
from gateway import Load, Nginx, backend_server, fingerprint_in, free_port, get, proxy_server

SIGN_SECONDS = 0.03  # of the vault; with it, the load of four threads stays below the source's budget


class Gateways:
    """Two nginx, ended by close(): the backend, and in front of it a gateway for each certificate."""

    def __init__(self, broker, files):
        self.broker, self.files = broker, files
        self.running = []
        self.backend_port = self._start("backend", lambda port: backend_server(files, port), foreign=False)

    def _start(self, name, servers, **how):
        port = free_port()
        self.running.append(Nginx(self.broker, name, servers(port), **how).start(port))
        return port

    def vault_certificate(self, name, key_type, which=0, rotate=False, **fields):
        """A certificate in the vault that the backend trusts, or the next version of one."""
        key = pki.key(key_type, which)
        certificate = pki.certificate(key, f"{name}.example", issuer=self.files.ca,
                                      sans=("localhost", f"{name}.example"))
        chain = [pki.pem(each).decode() for each in (certificate, self.files.ca.certificate)]
        made = self.broker.vault.add_certificate(name, rotate=rotate, key=pki.pem(key).decode(), chain=chain, **fields)
        return certificate, made

    def url(self):
        return f"https://localhost:{self.backend_port}/"

    def front(self, name, chain, key):
        """A gateway with these files; its port."""
        return self._start(name, lambda port: proxy_server(self.files, port, self.backend_port, chain, key))

    def front_of(self, id):
        return self.front(f"front-{id}", *self.files.files(id))

    def pid_file(self, name):
        return self.broker.folder / name / "pid"

    def close(self):
        try:
            for each in reversed(self.running):
                each.stop()
        finally:
            for each in self.running:
                each.close()


@dataclasses.dataclass
class Outage:
    """What was seen while the vault was away."""
    requests: int          # through the gateway, before, meanwhile and after
    failed: list           # what they said that were not answered by the backend
    refused_seconds: float  # the slowest failure, once the source was known to be unavailable
    errors: set            # names of what Sign answered meanwhile
    back_seconds: float    # from the vault's return to the first request that succeeds


def outage(broker, port, id, seconds, mode="refuse"):
    """The vault is away for so long, while four threads send requests through the gateway at `port`."""
    errors, slowest = set(), 0.0
    with Load(port) as load:
        wait_until(lambda: len(load.statuses) > 20, "requests go through")
        broker.vault.network(mode)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            away = broker.vault_state()[0] == "unavailable"
            status, _, took = get(port)
            slowest = max(slowest, took) if away and status != 200 else slowest
            try:
                broker.check_signature(id)
            except Failure as failure:
                errors.add(failure.name)
            time.sleep(0.1)
        broker.vault.network("open")
        back = time.monotonic()
        wait_until(lambda: get(port)[0] == 200, "requests go through again", 30)
        back = time.monotonic() - back
        good = load.statuses.count(200)
        wait_until(lambda: load.statuses.count(200) > good + 20, "and go on")
    return Outage(len(load.statuses), load.failures(), slowest, errors, back)


def presented(port):
    """The SHA-1 thumbprint of the certificate that the backend saw."""
    status, text, _ = get(port)
    assert status == 200, text
    return fingerprint_in(text)
