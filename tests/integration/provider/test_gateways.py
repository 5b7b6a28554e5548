# SPDX-License-Identifier: Apache-2.0
"""nginx and haproxy as gateways: a master that loads keys as root, workers and threads that use them."""

import contextlib
import os
import pathlib
import pwd
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from broker import die_with_parent
from conftest import PATIENCE, SANITIZED, client_context, free_port, get, wait_until

WORKERS = "www-data"


class Gateway:
    def __init__(self, fake):
        self.fake, self.port, self.process = fake, free_port(), None

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def start(self):
        self.process = subprocess.Popen(self.command(), env=self.fake.environment(), cwd=self.fake.folder,
                                        stdin=subprocess.DEVNULL, stdout=self.output(), stderr=subprocess.STDOUT,
                                        preexec_fn=die_with_parent)
        wait_until(lambda: self.listens() or self.process.poll() is not None, "gateway")
        assert self.process.poll() is None, self.log()
        return self

    def output(self):
        return open(self.fake.path(f"{self.port}.out"), "ab")

    def children(self):
        task = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def stop(self, how=signal.SIGQUIT):
        """Asks it to end, and returns its exit status."""
        if not self.process:
            return None
        self.process.send_signal(how)
        try:
            return self.process.wait(10 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def get(self, version=None, **how):
        return get(self.port, client_context(self.fake.path("ca.crt"), version), **how)


class Nginx(Gateway):
    def __init__(self, fake, body, workers=2, keeps_environment=True):
        super().__init__(fake)
        self.workers = workers
        self.directory = fake.folder / f"nginx-{self.port}"
        self.directory.mkdir()
        user = f"user {WORKERS};" if os.getuid() == 0 else ""
        preserved = ["ASAN_OPTIONS", "UBSAN_OPTIONS"]
        if keeps_environment:
            preserved += ["OPENSSL_CONF", "OPENSSL_MODULES", "CERTBROKER_BUS"]
        temporary = "".join(f"  {kind}_temp_path {self.directory}/{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.directory / "nginx.conf").write_text(
            f"{user}\ndaemon off;\nworker_processes {workers};\npid {self.directory}/pid;\n"
            f"error_log {self.directory}/error.log info;\n"
            + "".join(f"env {name};\n" for name in preserved)
            + f"events {{ worker_connections 512; }}\nhttp {{\n  access_log off;\n{temporary}{body(self.port)}}}\n")

    def start(self):
        """It listens before it has workers."""
        super().start()
        wait_until(lambda: len(self.children()) == self.workers, "workers")
        return self

    def command(self):
        return ["nginx", "-p", str(self.directory), "-e", str(self.directory / "error.log"),
                "-c", str(self.directory / "nginx.conf")]

    def check(self):
        return self.fake.run(*self.command(), "-t", check=False)

    def log(self):
        try:
            text = (self.directory / "error.log").read_text(errors="replace")
        except FileNotFoundError:
            text = ""
        out = pathlib.Path(self.fake.path(f"{self.port}.out"))
        return text + (out.read_text(errors="replace") if out.exists() else "")

    def wait_log(self, text):
        wait_until(lambda: text in self.log(), text)

    def reload(self):
        before = set(self.children())
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(set(self.children()) - before) == self.workers, "new workers")

    def assert_no_crash(self):
        log = self.log()
        assert "exited on signal" not in log, log
        assert "ignoring stale global SSL error" not in log, log
        for report in self.fake.surroundings.sanitizer.iterdir():
            raise AssertionError(report.read_text())


def serves(fake, key, extra=""):
    return lambda port: (
        f"  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_protocols TLSv1.2 TLSv1.3;\n"
        f"    ssl_certificate {fake.path(key + '.crt')};\n    ssl_certificate_key {fake.path(key + '.key')};\n"
        f"    ssl_session_cache off; ssl_session_tickets off;\n{extra}"
        "    location / { return 200 \"$ssl_protocol\"; }\n  }\n")


def calls(fake, key, backend_port, version):
    return lambda port: (
        f"  server {{\n    listen 127.0.0.1:{port};\n    location / {{\n"
        f"      proxy_pass https://127.0.0.1:{backend_port};\n      proxy_ssl_name localhost;\n"
        f"      proxy_ssl_server_name on;\n      proxy_ssl_protocols TLSv{version};\n"
        f"      proxy_ssl_trusted_certificate {fake.path('ca.crt')};\n      proxy_ssl_verify on;\n"
        f"      proxy_ssl_verify_depth 2;\n      proxy_ssl_session_reuse off;\n"
        f"      proxy_ssl_certificate {fake.path(key + '.crt')};\n"
        f"      proxy_ssl_certificate_key {fake.path(key + '.key')};\n    }}\n  }}\n")


def get_plain(port):
    import urllib.error
    import urllib.request
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20 * PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def gateway():
    """Stops what was started, whatever happened."""
    started = []

    def start(one):
        started.append(one)
        return one.start()

    yield start
    for one in started:
        if one.process:
            # Workers outlive a master that is killed.
            workers = one.children()
            one.process.kill()
            one.process.wait()
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def guarded(bus, root):
    """A fake broker that lets the workers' user sign, and root not."""
    return bus.start("--sign-only", WORKERS)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_nginx_as_server(guarded, gateway, key, version):
    nginx = gateway(Nginx(guarded, serves(guarded, key)))
    workers = nginx.children()
    for _ in range(8):
        assert nginx.get(version)[:2] == (200, f"TLSv{version}")
    # The master loaded the key and asked nobody; the workers sign as who they are.
    rows = guarded.signed()
    assert len(rows) == 8
    assert {row[0] for row in rows} == {pwd.getpwnam(WORKERS).pw_uid}
    assert {row[1] for row in rows} <= set(workers)
    assert {row[2:4] for row in rows} == {(key, 3)}
    assert nginx.stop() == 0
    nginx.assert_no_crash()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_nginx_as_client_of_backends(guarded, gateway, key, version):
    backend = gateway(Nginx(guarded, lambda port: (
        f"  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_protocols TLSv1.2 TLSv1.3;\n"
        f"    ssl_certificate {guarded.path('ec.crt')};\n    ssl_certificate_key {guarded.path('ec.private')};\n"
        f"    ssl_client_certificate {guarded.path('ca.crt')};\n    ssl_verify_client on;\n"
        "    location / { return 200 \"$ssl_client_verify $ssl_client_s_dn $ssl_protocol\"; }\n  }\n"), workers=1))
    nginx = gateway(Nginx(guarded, calls(guarded, key, backend.port, version)))
    for _ in range(5):
        assert get_plain(nginx.port) == (200, f"SUCCESS CN=localhost TLSv{version}")
    rows = guarded.signed()
    assert len(rows) == 5
    assert {(row[0], row[2]) for row in rows} == {(pwd.getpwnam(WORKERS).pw_uid, key)}
    assert nginx.stop() == 0
    nginx.assert_no_crash()
    assert backend.stop() == 0
    backend.assert_no_crash()


def test_nginx_without_env_directives(guarded, gateway):
    """The provider has read its environment in the master, before nginx clears it; also after a reload."""
    nginx = gateway(Nginx(guarded, serves(guarded, "ec"), keeps_environment=False))
    assert nginx.get()[0] == 200
    nginx.reload()
    assert nginx.get()[0] == 200
    assert nginx.stop() == 0
    nginx.assert_no_crash()


def test_first_handshake_of_a_worker_waits_for_nothing(guarded, gateway):
    for _ in range(3):
        nginx = gateway(Nginx(guarded, serves(guarded, "ec"), workers=1))
        first = nginx.get()[2]
        assert first < 0.25 * PATIENCE, first
        assert nginx.stop() == 0


def test_master_opens_nothing(guarded, gateway):
    """What the master has open is inherited by each worker: no connection may be among it."""
    nginx = gateway(Nginx(guarded, serves(guarded, "ec")))
    nginx.get()
    nginx.reload()
    nginx.get()
    bus = guarded.surroundings.connection
    daemon = bus.get_object("org.freedesktop.DBus", "/org/freedesktop/DBus")
    clients = [int(daemon.GetConnectionUnixProcessID(name, dbus_interface="org.freedesktop.DBus"))
               for name in daemon.ListNames(dbus_interface="org.freedesktop.DBus") if name.startswith(":")]
    assert nginx.process.pid not in clients
    assert set(clients) & set(nginx.children())
    assert nginx.stop() == 0
    nginx.assert_no_crash()


class Load:
    """Threads that make one request after the other, each on a new connection."""

    def __init__(self, port, context, threads=4):
        self.port, self.context = port, context
        self.done, self.failures, self.stopping = 0, [], threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.stopping.is_set():
            try:
                status = get(self.port, self.context)[0]
                if status != 200:
                    self.failures.append(status)
                self.done += 1
            except (OSError, ssl.SSLError) as error:
                self.failures.append(repr(error))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_nginx_reloaded_under_load(guarded, gateway, key):
    nginx = gateway(Nginx(guarded, serves(guarded, key)))
    load = Load(nginx.port, client_context(guarded.path("ca.crt")))
    try:
        for _ in range(8):
            done = load.done
            nginx.reload()
            wait_until(lambda: load.done > done + 10, "requests after a reload")  # noqa: B023
    finally:
        load.stop()
    assert load.failures == []
    wait_until(lambda: len(nginx.children()) == 2, "old workers gone")
    assert nginx.stop() == 0
    nginx.assert_no_crash()
    assert nginx.log().count("exited with code 0") == 2 * (1 + 8)


def handshake_fails(nginx):
    begin = time.monotonic()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        nginx.get()
    return time.monotonic() - begin


def test_daemon_restarted_under_a_running_gateway(guarded, gateway):
    nginx = gateway(Nginx(guarded, serves(guarded, "ec"), workers=1))
    for _ in range(3):
        assert nginx.get()[0] == 200
        guarded.stop()
        assert handshake_fails(nginx) < 0.25 * PATIENCE
        assert handshake_fails(nginx) < 0.25 * PATIENCE
        nginx.wait_log("certbrokerd cannot be reached")
        guarded.start("--sign-only", WORKERS)
    assert nginx.get()[0] == 200
    # Restarted between two handshakes: the next one works.
    guarded.stop()
    guarded.start("--sign-only", WORKERS)
    assert nginx.get()[0] == 200
    assert nginx.stop() == 0
    nginx.assert_no_crash()


def test_daemon_away_at_the_gateways_start(guarded, gateway):
    guarded.stop()
    nginx = Nginx(guarded, serves(guarded, "rsa"))
    assert nginx.check().returncode == 0
    gateway(nginx)
    assert handshake_fails(nginx) < 0.25 * PATIENCE
    nginx.wait_log("certbrokerd is not running")
    guarded.start("--sign-only", WORKERS)
    assert nginx.get()[0] == 200
    assert nginx.stop() == 0
    nginx.assert_no_crash()


def test_who_may_not_sign_is_told_in_the_log(bus, root, gateway):
    bus.start("--sign-only", "nobody")
    nginx = gateway(Nginx(bus, serves(bus, "ec")))
    handshake_fails(nginx)
    nginx.wait_log("access denied by certbrokerd")
    nginx.wait_log(f"User {pwd.getpwnam(WORKERS).pw_uid} may not sign with certificate ec.")
    assert nginx.stop() == 0


def test_nginx_notices_a_key_of_another_certificate(fake):
    nginx = Nginx(fake, lambda port: (
        f"  server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {fake.path('rsa.crt')};\n"
        f"    ssl_certificate_key {fake.path('rsa3072.key')};\n  }}\n"))
    done = nginx.check()
    assert done.returncode != 0
    assert "key values mismatch" in done.stdout


def test_ordinary_keys_beside_ours(fake, gateway):
    """An ordinary key in one server, ours in another, and ECDHE with P-256 in both."""
    other = free_port()
    curves = "    ssl_ecdh_curve prime256v1;\n"
    nginx = Nginx(fake, lambda port: serves(fake, "ec", curves)(port) + serves(fake, "rsa", curves)(other).replace(
        "rsa.key", "rsa.private"))
    gateway(nginx)
    context = client_context(fake.path("ca.crt"))
    assert get(other, context)[0] == 200
    assert fake.signed() == []
    assert nginx.get()[0] == 200
    assert len(fake.signed()) == 1
    assert nginx.stop() == 0
    nginx.assert_no_crash()


class Haproxy(Gateway):
    def __init__(self, fake, key, master_worker):
        super().__init__(fake)
        self.master_worker = master_worker
        both = pathlib.Path(fake.path(f"{key}.crt")).read_text() + pathlib.Path(fake.path(f"{key}.key")).read_text()
        pathlib.Path(fake.path("both.pem")).write_text(both)
        user = f"  user {WORKERS}\n" if os.getuid() == 0 else ""
        self.config = fake.folder / "haproxy.cfg"
        self.config.write_text(
            f"global\n{user}  nbthread 4\n  log stderr format raw local0 notice\ndefaults\n  mode http\n  log global\n"
            "  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
            f"frontend f\n  bind 127.0.0.1:{self.port} ssl crt {fake.path('both.pem')} ssl-min-ver TLSv1.2 no-tls-tickets\n"
            "  http-request return status 200 content-type text/plain lf-string \"%sslv\"\n")

    def command(self):
        return ["haproxy", "-W" if self.master_worker else "-db", "-f", str(self.config)]

    def log(self):
        return pathlib.Path(self.fake.path(f"{self.port}.out")).read_text(errors="replace")

    def reload(self):
        """One at a time, and asked for again: the signal is lost while the master starts itself anew."""
        before = set(self.children())
        loaded = self.log().count("Loading success")
        for _ in range(10):
            self.process.send_signal(signal.SIGUSR2)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self.log().count("Loading success") > loaded, "loaded", 1)
                break
        wait_until(lambda: len(now := set(self.children())) == 1 and not now & before, "new worker")


@pytest.mark.parametrize("master_worker", [False, True])
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_haproxy(guarded, gateway, key, master_worker):
    haproxy = gateway(Haproxy(guarded, key, master_worker))
    for version in ("1.2", "1.3"):
        assert haproxy.get(version)[:2] == (200, f"TLSv{version}")
    load = Load(haproxy.port, client_context(guarded.path("ca.crt")), threads=8)
    try:
        wait_until(lambda: load.done > 200, "200 requests", 60)
    finally:
        load.stop()
    assert load.failures == []
    assert {row[0] for row in guarded.signed()} == {pwd.getpwnam(WORKERS).pw_uid}
    status = haproxy.stop(signal.SIGUSR1)
    assert status == 0, haproxy.log()
    assert "Segmentation" not in haproxy.log()


def test_haproxy_reloaded_under_load(guarded, gateway):
    haproxy = gateway(Haproxy(guarded, "ec", True))
    load = Load(haproxy.port, client_context(guarded.path("ca.crt")))
    try:
        for _ in range(4):
            done = load.done
            haproxy.reload()
            wait_until(lambda: load.done > done + 20, "requests after a reload")  # noqa: B023
    finally:
        load.stop()
    # haproxy may reset connections that wait in the old listener's queue; a crash it tells of.
    assert [f for f in load.failures if "Reset" not in f] == []
    assert haproxy.stop(signal.SIGUSR1) == 0, haproxy.log()
    assert "exited with code 139" not in haproxy.log(), haproxy.log()


assert SANITIZED in (True, False)
