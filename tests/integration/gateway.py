# SPDX-License-Identifier: Apache-2.0
"""Unmodified gateways of Debian's, with a key file that refers to the broker: nginx, haproxy, curl, openssl."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pki

from broker import PATIENCE, die_with_parent, wait_until


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Pki:
    """The files of a small world: an authority, a backend's own certificate with a plain key, a client's."""

    def __init__(self, broker):
        self.broker = broker
        self.folder = broker.folder / "pki"
        self.folder.mkdir()
        self.ca = pki.Issuer("Gateway Root")
        self.ca_file = self.write("ca.pem", pki.pem(self.ca.certificate))
        server_key = pki.key("ec-p256", "server")
        server = pki.certificate(server_key, "orders.example", issuer=self.ca, sans=("orders.example", "localhost"))
        self.server_cert = self.write("server.pem", pki.pem(server))
        self.server_key = self.write("server.key", pki.pem(server_key))

    def write(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def import_client(self, id="client", key_type="rsa-2048", which=0, **how):
        """Imports a certificate for a gateway; its chain and key files as the CLI writes them."""
        key = pki.key(key_type, which)
        cert = pki.certificate(key, f"{id}.example", issuer=self.ca, sans=("localhost", f"{id}.example"))
        self.broker.import_bundle(id, pki.p12(key, cert, (self.ca.certificate,)), b"secret", **how)
        return cert, *self.files(id)

    def files(self, id):
        out = []
        for what in ("chain", "key"):
            done = self.broker.cli("certificate", what, id)
            assert done.returncode == 0, done.stderr.decode()
            out.append(self.write(f"{id}.{what}.pem", done.stdout))
        return out


class Nginx:
    def __init__(self, broker, name, servers, user=None, workers=2, foreign=True):
        self.broker, self.name = broker, name
        self.folder = broker.folder / name
        self.folder.mkdir()
        self.error_log = self.folder / "error.log"
        self.config = self.folder / "nginx.conf"
        self.user, self.workers = user, workers
        self.foreign = foreign
        self.process = None
        self.write(servers)

    def write(self, servers):
        # without it root's nginx has workers of www-data, who has no grant
        user = f"user {self.user or 'root root'};" if os.getuid() == 0 else ""
        temp = "".join(f"{t}_temp_path {self.folder}/{t};\n" for t in
                       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        self.config.write_text(
            f"daemon off; {user}\nworker_processes {self.workers};\npid {self.folder}/pid;\n"
            f"error_log {self.error_log} info;\nenv CERTBROKER_BUS;\nevents {{ worker_connections 512; }}\n"
            f"http {{ access_log off;\n{temp}{servers}\n}}\n")

    def command(self, *more):
        return ["nginx", "-e", str(self.error_log), "-p", str(self.folder), "-c", str(self.config), *more]

    def test(self):
        return subprocess.run(self.command("-t"), env=self.environment(), capture_output=True, text=True, check=False)

    def environment(self):
        return self.broker.foreign_environment() if self.foreign else {"PATH": os.environ["PATH"]}

    def start(self, *ports):
        self.process = subprocess.Popen(self.command(), env=self.environment(), preexec_fn=die_with_parent,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in ports:
            wait_until(lambda p=port: self.process.poll() is not None or listening(p), f"{self.name} listens")
        assert self.process.poll() is None, self.log()
        return self

    def log(self):
        return self.error_log.read_text(errors="replace") if self.error_log.exists() else ""

    def worker_pids(self):
        path = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return {int(pid) for pid in path.read_text().split()}

    def reload(self):
        """HUP, and waits until the old workers are gone."""
        old = self.worker_pids()
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.worker_pids() and not old & self.worker_pids(), "the old workers are gone", 20)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGQUIT)
            status = self.process.wait(20 * PATIENCE)
            self.process = None
            assert status == 0, self.log()
        assert "exited on signal" not in self.log(), self.log()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Haproxy:
    def __init__(self, files, proxies, head="", user=None, environment=None):
        self.log_file = files.folder / "haproxy.log"
        self.environment = environment or files.broker.foreign_environment()
        user = f"user {user}" if user else ""
        self.config = files.write("haproxy.cfg", f"""
global
    nbthread 4
    log stderr format raw local0
    {user}
    {head}
defaults
    mode http
    log global
    timeout connect 10s
    timeout client 10s
    timeout server 10s
{proxies}""".encode())

    def log(self):
        return self.log_file.read_text(errors="replace")

    @contextlib.contextmanager
    def running(self, *ports):
        """It listens; at the end it is told to go, and must have ended well."""
        with open(self.log_file, "wb") as log:
            process = subprocess.Popen(["haproxy", "-db", "-f", self.config], env=self.environment, stdout=log,
                                       stderr=log, preexec_fn=die_with_parent)
        try:
            for port in ports:
                wait_until(lambda p=port: process.poll() is not None or listening(p), "haproxy listens")
            assert process.poll() is None, self.log()
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20 * PATIENCE) in (0, 143, -15), self.log()


def backend_server(files, port, protocols="TLSv1.2 TLSv1.3"):
    """A backend that demands a client certificate and says whose it saw."""
    return f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols {protocols};
        ssl_certificate {files.server_cert};
        ssl_certificate_key {files.server_key};
        ssl_client_certificate {files.ca_file};
        ssl_verify_client on;
        location / {{ return 200 "$ssl_client_s_dn $ssl_client_fingerprint $ssl_protocol\\n"; }}
    }}"""


def proxy_server(files, port, backend_port, chain, key, protocols="TLSv1.2 TLSv1.3", listen=""):
    return f"""
    server {{
        listen 127.0.0.1:{port} {listen};
        location / {{
            proxy_pass https://127.0.0.1:{backend_port};
            proxy_ssl_certificate {chain};
            proxy_ssl_certificate_key {key};
            proxy_ssl_trusted_certificate {files.ca_file};
            proxy_ssl_name orders.example;
            proxy_ssl_verify on;
            proxy_ssl_session_reuse off;
            proxy_ssl_protocols {protocols};
            proxy_connect_timeout 20s;
        }}
    }}"""


def get(port, timeout=20):
    """Status, text and seconds of a GET."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * PATIENCE)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace"), time.monotonic() - began
    finally:
        connection.close()


class Load:
    """Requests, one after the other in each of some threads, until it is left; what came back."""

    def __init__(self, port, threads=4):
        self.port, self.statuses = port, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self):
        while not self.stopping.is_set():
            try:
                self.statuses.append(get(self.port)[0])
            except OSError as error:
                self.statuses.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def failures(self):
        return [s for s in self.statuses if s != 200]


class Wrk:
    """wrk's requests, until it is left, and what it counted.

    Each has a connection of its own: nginx, told to reload, closes connections that wait for a further request, and
    one that is under way at that moment fails with or without a rotation.
    """

    SCRIPT = """function done(summary)
        local e = summary.errors
        print(string.format('{"requests": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}',
                            summary.requests, e.connect, e.read, e.write, e.timeout, e.status))
    end"""

    def __init__(self, folder, port, connections=8):
        script = folder / "wrk.lua"
        script.write_text(self.SCRIPT)
        self.command = ["wrk", "-t", "2", "-c", str(connections), "-d", "600s", "--timeout", "60s", "-s", script,
                        "-H", "Connection: close", f"http://127.0.0.1:{port}/"]
        self.requests, self.failures = 0, None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        preexec_fn=die_with_parent)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        text, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, text
        counts = json.loads(text.splitlines()[-1])
        self.requests = counts.pop("requests")
        self.failures = {kind: n for kind, n in counts.items() if n}


def fingerprint_in(text):
    return re.search(r"\b[0-9a-f]{40}\b", text).group().upper()
