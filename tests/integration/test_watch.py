# SPDX-License-Identifier: Apache-2.0
"""`certbroker backend watch`: a gateway's files follow the broker, whole, and its command is run until it succeeds."""

import contextlib
import os
import signal
import subprocess
import threading

import pki
import pytest

from broker import CLI, GRANT_ALL, ME, PATIENCE, die_with_parent, wait_until
from gateway import Load, Nginx, Pki, backend_server, fingerprint_in, free_port, get, listening


class Watch:
    """The watcher, its files and what it says."""

    def __init__(self, broker, *options, backend="orders", chain="chain.pem", key="key.pem"):
        self.broker = broker
        self.folder = broker.folder / "gateway"
        self.folder.mkdir(exist_ok=True)
        self.chain, self.key, self.conf = self.folder / chain, self.folder / key, self.folder / "conf"
        self.log = self.folder / "log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(CLI), "--bus", broker.bus_address, "backend", "watch", backend, "--chain", self.chain,
                 "--key", self.key, *[str(o) for o in options]], env=broker.environment(), stdout=log, stderr=log,
                preexec_fn=die_with_parent)

    def text(self):
        return self.log.read_text()

    def wait(self, what, times=1):
        wait_until(lambda: self.text().count(what) >= times or self.process.poll() is not None, what, 30)
        assert self.text().count(what) >= times, self.text()
        return self

    def leaf(self):
        from cryptography import x509
        return x509.load_pem_x509_certificate(self.chain.read_bytes())

    def end(self, status=0):
        """SIGTERM, unless it has ended by itself."""
        if self.process.poll() is None and status == 0:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(10 * PATIENCE) == status, self.text()
        assert sorted(p.name for p in self.folder.iterdir() if "." in p.name and len(p.suffix) == 7) == [], "left over"


@pytest.fixture
def watch(stopped):
    made = []

    def make(*options, **how):
        made.append(Watch(stopped, *options, **how))
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()


def rotate(broker, id="client", which=1, key_type="ec-p256"):
    key = pki.key(key_type, which)
    cert = pki.certificate(key, f"{id}.example")
    broker.import_bundle(id, pki.p12(key, cert), b"secret", replace=True)
    return cert


@pytest.fixture
def orders(broker):
    broker.cert = broker.import_new("client")
    broker.create_backend("orders", "client")
    return broker


def test_writes_now_and_at_each_change(orders, watch):
    runs = orders.folder / "runs"
    w = watch("--exec", f"echo run >> {runs}; cat {orders.folder}/gateway/key.pem >> {runs}")
    w.wait("the command succeeded")
    assert w.leaf() == orders.cert
    assert "generation=1" in w.key.read_text() or "BEGIN CERTBROKER KEY REFERENCE" in w.key.read_text()
    assert (w.chain.stat().st_mode & 0o777, w.key.stat().st_mode & 0o777) == (0o644, 0o644)
    new = rotate(orders)
    w.wait("the command succeeded", 2)
    assert w.leaf() == new
    assert runs.read_text().count("run\n") == 2
    from cryptography.hazmat.primitives import serialization
    import base64
    body = w.key.read_text().split("REFERENCE-----")[1].split("-----END")[0]
    assert new.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) in base64.b64decode(body)
    # what does not change the files runs nothing
    orders.backend("orders", "Change", "a{sv}", {"SkipReason": "none"})
    orders.set("/org/certbroker1/backend/orders", "Backend", "ValidateName", False)
    new = rotate(orders, which=2)
    w.wait("the command succeeded", 3)
    assert runs.read_text().count("run\n") == 3 and w.leaf() == new
    w.end()


def test_files_are_never_seen_half(orders, watch):
    """A reader in a loop sees whole files only."""
    w = watch()
    w.wait("written")
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append((w.chain.read_bytes(), w.key.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(1, 9):
            rotate(orders, which=i)
            w.wait("written", i + 1)
    finally:
        stop.set()
        reader.join()
    assert len({chain for chain, _ in seen}) > 1
    for chain, key in seen:
        assert chain.endswith(b"-----END CERTIFICATE-----\n") and key.endswith(b"-----END CERTBROKER KEY REFERENCE-----\n")
    w.end()


def test_one_file_for_both(orders, watch):
    w = watch(chain="both.pem", key="both.pem").wait("written")
    text = w.chain.read_text()
    assert text.count("BEGIN CERTIFICATE") == 1 and text.count("BEGIN CERTBROKER KEY REFERENCE") == 1
    w.end()


def test_a_command_that_fails_is_run_again(orders, watch):
    """With growing pauses, until it succeeds; SIGTERM in between ends the watcher well."""
    runs = orders.folder / "runs"
    w = watch("--exec", f"echo run >> {runs}; test $(wc -l < {runs}) -ge 3")
    w.wait("the command ended with status 1; trying again in 1 s")
    w.wait("the command ended with status 1; trying again in 2 s")
    w.wait("the command succeeded")
    assert runs.read_text() == "run\n" * 3
    w.end()
    w = watch("--exec", "kill -9 $$").wait("was ended by signal 9")
    w.end()


def test_sigterm_ends_a_running_command(orders, watch):
    pid_file = orders.folder / "pid"
    w = watch("--exec", f"echo $$ > {pid_file}; exec sleep 600")
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip(), "the command runs")
    w.end()
    assert not os.path.exists(f"/proc/{pid_file.read_text().strip()}"), "it outlived its watcher"


def test_a_place_that_cannot_be_written(orders, watch):
    folder = orders.folder / "later"
    w = watch("--exec", "true", chain=str(folder / "chain.pem"))
    w.wait("cannot be written")
    assert not w.key.exists(), "the key without its chain"
    folder.mkdir()
    w.wait("the command succeeded")
    assert w.leaf() == orders.cert
    w.end()


def test_survives_restarts_of_daemon_and_bus(orders, watch):
    w = watch("--exec", "true").wait("the command succeeded")
    orders.kill()
    orders.start()
    new = rotate(orders, which=1)
    w.wait("written", 2)
    assert w.leaf() == new
    orders.stop()
    orders.stop_bus()
    orders.start_bus()
    orders.start()
    new = rotate(orders, which=2)
    w.wait("written", 3)
    assert w.leaf() == new
    assert w.process.poll() is None
    w.end()


def test_changed_while_the_watcher_was_cut_off(orders, watch):
    w = watch().wait("written")
    orders.process = w.process
    w.process.send_signal(signal.SIGSTOP)
    new = rotate(orders)
    w.process.send_signal(signal.SIGCONT)
    w.wait("written", 2)
    assert w.leaf() == new
    w.end()


def test_a_daemon_that_comes_later(stopped, watch):
    w = watch("--exec", "true")
    w.wait("orders: ")
    assert not w.chain.exists()
    stopped.start()
    w.end(3)  # there is no such backend, and that is said
    assert "orders" in w.text()


def test_mistakes_at_the_start(orders, watch):
    watch(backend="nobody").end(3)
    watch("--conf", orders.folder / "x").end(2)
    watch("--for", "nginx").end(2)
    watch("--conf", orders.folder / "x", "--for", "apache").end(2)
    watch("--conf", orders.folder / "gateway/chain.pem", "--for", "nginx").end(2)
    watch("--conf", orders.folder / "x", "--for", "haproxy").end(2)  # key.pem is not chain.pem.key
    watch("--conf", orders.folder / "x", "--for", "nginx", chain="a b.pem").end(2)


def test_a_refusal_later_keeps_the_files(orders, watch):
    w = watch().wait("written")
    orders.certificate("client", "SetEnabled", "b", False)
    w.wait("The files stay as they are")
    assert w.leaf() == orders.cert
    orders.certificate("client", "SetEnabled", "b", True)
    new = rotate(orders)
    w.wait("written", 2)
    assert w.leaf() == new
    w.end()


def test_no_grant(stopped, watch):
    stopped.configure(grants=f'  x = {{ user = "{ME}"; allow = "manage"; certificate = "*"; backend = "*"; source = "*"; }};\n')
    stopped.start()
    stopped.import_new("client")
    stopped.create_backend("orders", "client")
    watch().end(4)


def test_json(orders, watch):
    import json
    w = watch("--json", "--exec", "true").wait('"ran"')
    assert [json.loads(line)["event"] for line in w.text().splitlines()] == ["written", "ran"]
    w.end()


# the gateways' own directives

@contextlib.contextmanager
def backend(broker, files):
    """A backend that demands a client certificate: its port."""
    port = free_port()
    server = Nginx(broker, "backend", backend_server(files, port), foreign=False)
    try:
        server.start(port)
        yield port
        server.stop()
    finally:
        server.close()


def change(broker, **settings):
    broker.backend("orders", "Change", "a{sv}", settings)


@pytest.fixture
def world(broker):
    files = Pki(broker)
    files.import_client()
    broker.files = files
    return broker


def nginx_server(port, backend_port, conf):
    return (f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass https://localhost:{backend_port};"
            f" include {conf}; proxy_ssl_session_reuse off; }} }}")


def test_nginx_with_written_directives(world, watch):
    """nginx takes certificate, key, name and verification from the file that was written, and nothing else."""
    with backend(world, world.files) as backend_port:
        world.create_backend("orders", "client", url=f"https://localhost:{backend_port}/",
                             CaFile=str(world.files.ca_file))
        port = free_port()
        folder = world.folder / "gateway"
        w = watch("--conf", folder / "conf", "--for", "nginx", "--exec",
                  f"test ! -e {world.folder}/front/pid || kill -HUP $(cat {world.folder}/front/pid)")
        w.wait("the command succeeded")
        front = Nginx(world, "front", nginx_server(port, backend_port, w.conf))
        try:
            front.start(port)
            status, text, _ = get(port)
            assert status == 200 and "client.example" in text, front.log()
            # a rotation under load: the reload is the watcher's own
            with Load(port) as load:
                key = pki.key("ec-p256", 5)
                cert = pki.certificate(key, "client.example", issuer=world.files.ca, sans=("localhost", "client.example"))
                world.import_bundle("client", pki.p12(key, cert, (world.files.ca.certificate,)), b"secret", replace=True)
                w.wait("the command succeeded", 2)
                wait_until(lambda: fingerprint_in(get(port)[1]) == pki.thumbprint(cert), "the new certificate", 20)
            assert load.failures() == []
            # an authority that did not issue the backend's certificate: nginx refuses it, by the file
            other = world.files.write("other.pem", pki.pem(pki.Issuer("Other").certificate))
            change(world, CaFile=str(other))
            w.wait("the command succeeded", 3)
            wait_until(lambda: get(port)[0] == 502, "nginx refuses the backend", 20)
            # and switched off
            change(world, ValidateChain=False, ValidateName=False, SkipReason="a test")
            w.wait("the command succeeded", 4)
            wait_until(lambda: get(port)[0] == 200, "nginx accepts any backend", 20)
            assert "proxy_ssl_verify off" in w.conf.read_text()
            front.stop()
        finally:
            front.close()
        w.end()


def test_nginx_refuses_a_wrong_name(world, watch):
    with backend(world, world.files) as backend_port:
        world.create_backend("orders", "client", url="https://elsewhere.example/", CaFile=str(world.files.ca_file))
        w = watch("--conf", world.folder / "gateway/conf", "--for", "nginx").wait("written")
        port = free_port()
        front = Nginx(world, "front", nginx_server(port, backend_port, w.conf))
        try:
            front.start(port)
            assert get(port)[0] == 502 and "elsewhere.example" in front.log()
            front.stop()
        finally:
            front.close()
        w.end()


class Haproxy:
    def __init__(self, broker, conf):
        self.port = free_port()
        config = broker.folder / "haproxy.cfg"
        config.write_text(
            "global\n  log stderr format raw local0 info\ndefaults\n  mode http\n  log global\n  timeout connect 5s\n"
            "  timeout client 20s\n  timeout server 20s\n  retries 0\n"
            f"frontend f\n  bind 127.0.0.1:{self.port}\n  use_backend orders\n")
        self.log = broker.folder / "haproxy.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(["haproxy", "-db", "-f", config, "-f", conf],
                                            env=broker.foreign_environment(), stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        wait_until(lambda: self.process.poll() is not None or listening(self.port), "haproxy listens")
        assert self.process.poll() is None, self.log.read_text()

    def close(self):
        self.process.kill()
        self.process.wait()


def haproxy_status(broker, conf):
    haproxy = Haproxy(broker, conf)
    try:
        return get(haproxy.port)[:2]
    finally:
        haproxy.close()


def test_haproxy_with_written_directives(world, watch):
    with backend(world, world.files) as backend_port:
        url = f"https://localhost:{backend_port}/"
        world.create_backend("orders", "client", url=url, CaFile=str(world.files.ca_file))
        w = watch("--conf", world.folder / "gateway/conf", "--for", "haproxy", chain="orders.pem", key="orders.pem.key")
        w.wait("written")
        status, text = haproxy_status(world, w.conf)
        assert status == 200 and "client.example" in text
        other = world.files.write("other.pem", pki.pem(pki.Issuer("Other").certificate))
        change(world, CaFile=str(other))
        w.wait("written", 2)
        assert haproxy_status(world, w.conf)[0] == 503
        # the name: 127.0.0.1 is reached, and its certificate is for others
        change(world, CaFile=str(world.files.ca_file), Url=url.replace("localhost", "127.0.0.1"),
               ServerNames=["elsewhere.example"])
        w.wait("written", 3)
        assert haproxy_status(world, w.conf)[0] == 503
        change(world, ServerNames=["orders.example"])
        w.wait("written", 4)
        assert haproxy_status(world, w.conf)[0] == 200
        change(world, ServerNames=["elsewhere.example"], ValidateName=False)
        w.wait("written", 5)
        assert haproxy_status(world, w.conf)[0] == 200
        w.end()


PIN = "0123456789abcdef" * 4


@pytest.mark.parametrize("gateway", ["nginx", "haproxy"])
def test_what_cannot_be_enforced_is_not_written(orders, watch, gateway):
    """Nothing that verifies less than was asked for: exit 1, and why; also when it is asked for later."""
    files = {"chain": "o.pem", "key": "o.pem.key"}
    options = ("--conf", orders.folder / "gateway/conf", "--for", gateway)
    for settings in ({"ServerThumbprints": [PIN]}, {"ValidateChain": False},
                     {"Url": "https://10.1.2.3/"}, *([{"ValidateName": False}] if gateway == "nginx" else [])):
        change(orders, **settings)
        w = watch(*options, **files)
        w.end(1)
        assert gateway in w.text() and not w.chain.exists() and not w.conf.exists(), (settings, w.text())
        w.log.unlink()
        import dbus
        change(orders, ServerThumbprints=dbus.Array([], signature="s"), ValidateChain=True, ValidateName=True,
               Url="https://orders.example/")
    w = watch(*options, **files).wait("written")
    before = w.conf.read_text()
    change(orders, ServerThumbprints=[PIN])
    w.end(1)
    assert w.conf.read_text() == before


assert GRANT_ALL
