# SPDX-License-Identifier: Apache-2.0
"""A bus with a fake broker on it, and the programs that use the provider from the build tree."""

import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from broker import BUILD, PATIENCE, PYTHON, SANITIZED, Broker, die_with_parent, wait_until  # noqa: E402

PROGRAM = BUILD / "tests/integration/provider/test-provider"
PYPI = BUILD.parent / "build-pypi"  # see .ci/install-pypi


class Fake:
    """The fake broker (fake_broker.py) on a bus of its own; its files are in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.surroundings = Broker(folder)
        self.surroundings.start_bus()
        self.address = self.surroundings.bus_address
        self.process = None
        self.folder.joinpath("message").write_bytes(b"to be signed\n")

    def start(self, *arguments):
        environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": self.address,
                       "PYTHONPATH": str(HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen([PYTHON, HERE / "fake_broker.py", self.folder, *arguments],
                                        env=environment, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        self.stop()
        self.surroundings.close()

    def fault(self, text=""):
        self.folder.joinpath("fault").write_text(text)

    def signed(self):
        """What was asked of Sign: (uid, pid, id, generation, algorithm, length of the input)."""
        try:
            lines = self.folder.joinpath("signed").read_text().splitlines()
        except FileNotFoundError:
            return []
        rows = [line.split() for line in lines]
        return [(int(r[0]), int(r[1]), r[2], int(r[3]), r[4], int(r[5])) for r in rows]

    def path(self, name):
        return str(self.folder / name)

    def environment(self, **more):
        return {**self.surroundings.foreign_environment(), "CERTBROKER_TEST_FOLDER": str(self.folder),
                "OPENSSL_MODULES": str(BUILD / "client/provider"), **{k: str(v) for k, v in more.items()}}

    def run(self, *command, check=True, environment=None, timeout=60, **how):
        done = subprocess.run([str(c) for c in command], env=environment or self.environment(), cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              timeout=timeout * PATIENCE, check=False, **how)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}: {done.stdout}"
        return done

    def openssl(self, *arguments, **how):
        return self.run("openssl", *arguments, **how)

    def judge(self, *arguments, **how):
        """openssl without our provider."""
        return self.run("openssl", *arguments, environment={"PATH": os.environ["PATH"], "OPENSSL_CONF": "/dev/null"},
                        **how)


@pytest.fixture
def bus(folder):
    fake = Fake(folder)
    yield fake
    fake.close()


@pytest.fixture
def fake(bus):
    return bus.start()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


TLS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def client_context(ca, version=None, certificate=None, key=None):
    """Of Python's own ssl: no openssl.cnf of ours is in its environment."""
    context = ssl.create_default_context(cafile=ca)
    if version:
        context.minimum_version = context.maximum_version = TLS[version]
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def get(port, context, path="/"):
    """One HTTPS request on a connection of its own: status, body, seconds that the handshake took."""
    with socket.create_connection(("127.0.0.1", port), 10 * PATIENCE) as plain:
        begin = time.monotonic()
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            took = time.monotonic() - begin
            tls.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b""
            while data := tls.recv(65536):
                answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode(), took


class Demanding:
    """An HTTPS server that demands a client certificate and tells who came; Python's own ssl."""

    def __init__(self, fake, version):
        self.port = free_port()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = self.context.maximum_version = TLS[version]
        self.context.load_cert_chain(fake.path("ec.crt"), fake.path("ec.private"))
        self.context.load_verify_locations(fake.path("ca.crt"))
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(plain, server_side=True) as tls:
                    while b"\r\n\r\n" not in tls.recv(65536):
                        pass
                    names = [v for k, v in tls.getpeercert()["subjectAltName"]]
                    body = " ".join(names).encode()
                    tls.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            except (OSError, ssl.SSLError):
                pass

    def close(self):
        self.listener.close()


@pytest.fixture
def demanding(fake):
    servers = []

    def start(version):
        servers.append(Demanding(fake, version))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


__all__ = ["BUILD", "PATIENCE", "PROGRAM", "PYPI", "PYTHON", "SANITIZED", "client_context", "free_port", "get", "wait_until"]
