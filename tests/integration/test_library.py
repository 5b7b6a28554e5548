# SPDX-License-Identifier: Apache-2.0
"""libcertbroker in a program as gateways are: threads, forks, deadlines, restarts, other users, a chroot."""

import os
import signal
import socket
import subprocess
import threading
import time

import dbus
import pki
import pytest

from broker import BUILD, PATIENCE, ROOT, SANITIZED, die_with_parent, wait_until

CLIENT = BUILD / "tests/integration/library-client"
SIGN = ("sign", "client", "rsa-pkcs1-sha256")  # always gives the same
DIGEST = bytes([7] * 32)
CONNECT = 250 * PATIENCE  # milliseconds
SLACK = 250 * PATIENCE    # of this machine, beyond a deadline


class Client:
    """library-client: one line to it, one line of it."""

    def __init__(self, environment, bus, before=(), **more):
        self.process = subprocess.Popen([*before, str(CLIENT), bus], env={**environment, **more}, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.read()[0] == "ok"
        assert self("timeouts", CONNECT, 0)[0] == "ok"

    def read(self):
        line = self.process.stdout.readline()
        assert line, "library-client ended"
        outcome, msec, *text = line.split(" ", 2)
        return outcome, float(msec), text[0].strip() if text else ""

    def send(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")

    def __call__(self, *words):
        self.send(*words)
        return self.read()

    def ok(self, *words):
        outcome, _, text = self(*words)
        assert outcome == "ok", (words, outcome, text)
        return text

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(20 * PATIENCE) == 0


@pytest.fixture
def start(stopped):
    """start(): a library-client for the broker's bus, or another address."""
    clients = []

    def make(bus=None, **environment):
        clients.append(Client(stopped.environment(), bus or stopped.bus_address, **environment))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def key(broker):
    """A broker with the certificate `client`, RSA, and the backend `orders`."""
    broker.cert = broker.import_new("client", "rsa-2048")
    broker.create_backend("orders", "client")
    return broker


def judge(broker, text):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, utils
    broker.cert.public_key().verify(bytes.fromhex(text), DIGEST, padding.PKCS1v15(), utils.Prehashed(hashes.SHA256()))


def test_sign(key, start):
    client = start()
    for _ in range(3):
        judge(key, client.ok(*SIGN))
    assert client("sign", "client", "ecdsa-sha256")[0] == "not-supported"
    assert client("sign", "nobody", "ecdsa-sha256")[0] == "not-found"
    # text that no D-Bus message may hold is refused here, and the connection lives on
    assert client("algorithm-bytes", "ff41")[0] == "invalid-argument"
    judge(key, client.ok(*SIGN))


def test_credential_and_certificate(key, start):
    client = start()
    assert client.ok("credential", "orders") == \
        "client 1 1 certbroker:certificate/client?generation=1 https://localhost:8443/"
    for selector in ("client", pki.thumbprint(key.cert), pki.thumbprint(key.cert, "sha256")):
        assert client.ok("certificate", selector) == \
            f"client 1 1 certbroker:certificate/client?generation=1 {pki.thumbprint(key.cert)}"
    assert client("credential", "nobody")[0] == "not-found"
    assert client("certificate", "nobody")[0] == "not-found"


def test_generation(key, start):
    client = start()
    key.import_new("client", "ec-p256", replace=True)
    for n in ("1", "2"):
        assert client.ok("generation", "client", n) == f"client {n} 1 certbroker:certificate/client?generation={n}"
    assert client("generation", "client", "3")[0] == "not-found"
    assert client("generation", "nobody", "1")[0] == "not-found"
    key.certificate("client", "Retire", "t", dbus.UInt64(1))
    assert client("generation", "client", "1")[0] == "disabled"


def test_private_channel_is_used(key, start):
    """Signatures go on while the message bus stands still."""
    client = start()
    client.ok(*SIGN)
    key.bus_daemon.send_signal(signal.SIGSTOP)
    try:
        judge(key, client.ok(*SIGN))
        assert client.ok("threads", "client", "rsa-pkcs1-sha256", 4, 5) == "0 0"
    finally:
        key.bus_daemon.send_signal(signal.SIGCONT)


def test_channel_as_the_address(key, start):
    addresses = str(key.get(ROOT, "Manager", "ChannelAddress"))
    for address in (addresses, *addresses.split(";")):
        judge(key, start(address).ok(*SIGN))


def test_threads(key, start):
    """Nobody gets another's signature, and threads share nothing that lasts."""
    client = start()
    assert client.ok("threads", "client", "rsa-pkcs1-sha256", 16, 50) == "0 0"
    client.ok(*SIGN)


def test_fork(key, start):
    """Children sign, with connections of their own; the parent's are closed in them."""
    client = start()
    client.ok(*SIGN)
    assert client.ok("fork", "client", "rsa-pkcs1-sha256", 0, 20) == "20 0 0 0 0"
    judge(key, client.ok(*SIGN))


def test_fork_while_threads_sign(key, start):
    """Whatever a thread held at the fork, the child waits for none of it."""
    client = start()
    # A sanitizer's own allocator has locks that a fork leaves locked.
    n_threads = 0 if SANITIZED else 8
    assert client.ok("fork", "client", "rsa-pkcs1-sha256", n_threads, 200) == "200 0 0 0 0"
    judge(key, client.ok(*SIGN))


def test_nothing_leaks(key, start):
    client = start()
    client.ok(*SIGN)
    before = client.ok("fds")
    assert before.endswith(" default"), "SIGPIPE is the program's"
    for _ in range(50):
        client.ok(*SIGN)
        client.ok("credential", "orders")
        assert client("certificate", "nobody")[0] == "not-found"
    assert client.ok("fds") == before


def test_daemon_away(stopped, start):
    """Fails in time, says why, and works as soon as the daemon is there."""
    client = start()
    for _ in range(3):
        outcome, msec, text = client(*SIGN)
        assert outcome == "unreachable" and "not running" in text
        assert msec < CONNECT + SLACK
    stopped.start()
    stopped.cert = stopped.import_new("client", "rsa-2048")
    judge(stopped, client.ok(*SIGN))


def test_bus_away(stopped, start):
    client = start()
    stopped.stop_bus()
    outcome, msec, text = client(*SIGN)
    assert outcome == "unreachable" and str(stopped.folder) in text
    assert msec < CONNECT + SLACK


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_daemon_restarted(key, start, how):
    """The first signature after it works: a dead connection is seen before it is used."""
    client = start()
    for _ in range(2):
        client.ok("threads", "client", "rsa-pkcs1-sha256", 4, 2)
        getattr(key, how)()
        outcome, msec, text = client(*SIGN)
        assert outcome == "unreachable" and "certbrokerd" in text and msec < CONNECT + SLACK
        key.start()
        judge(key, client.ok(*SIGN))


def test_daemon_dies_during_a_call(key, start):
    client = start()
    client.ok(*SIGN)
    key.daemon.send_signal(signal.SIGSTOP)
    client.send(*SIGN)
    time.sleep(0.3)
    key.kill()
    outcome, msec, _ = client.read()
    assert outcome == "unreachable" and msec < 300 + CONNECT + SLACK
    key.start()
    judge(key, client.ok(*SIGN))


@pytest.mark.parametrize("storm", [0, 1000])
def test_deadline_of_a_call(key, start, storm):
    """Not stretched by signals either, of which one comes each millisecond."""
    client = start()
    client.ok(*SIGN)
    client.ok("timeouts", 0, 400 * PATIENCE)
    key.daemon.send_signal(signal.SIGSTOP)
    try:
        client.ok("storm", storm)
        outcome, msec, _ = client(*SIGN)
        assert outcome == "timed-out"
        assert 350 * PATIENCE < msec < 400 * PATIENCE + SLACK
    finally:
        key.daemon.send_signal(signal.SIGCONT)
    client.ok("storm", 0)
    client.ok("timeouts", 0, 20000)
    judge(key, client.ok(*SIGN))


def test_deadline_of_connecting(key, start):
    key.daemon.send_signal(signal.SIGSTOP)
    try:
        outcome, msec, _ = start()(*SIGN)
        assert outcome == "timed-out" and msec < CONNECT + SLACK
    finally:
        key.daemon.send_signal(signal.SIGCONT)


def test_full_queue_does_not_block(stopped, start):
    """A server that takes no connections: connect(2) itself would wait without end."""
    path = str(stopped.folder / "full")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(0)
        waiting = []
        while True:
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            try:
                waiting[-1].connect(path)
            except BlockingIOError:
                break
        outcome, msec, text = start(f"unix:path={path}")(*SIGN)
        assert outcome == "timed-out" and "full" in text and msec < CONNECT + SLACK
        for s in waiting:
            s.close()


def serve(server, answer):
    """A channel that lets everybody in, and answers the first call with what is given."""
    connection, _ = server.accept()
    with connection:
        data = b""
        while b"BEGIN\r\n" not in data:
            data += connection.recv(4096)
        connection.sendall(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nERROR\r\n")
        if data.endswith(b"BEGIN\r\n"):
            connection.recv(4096)
        connection.sendall(answer)
        connection.recv(4096)


@pytest.mark.parametrize("answer", [b"\0" * 64, b"l\x02\0\x01\xff\xff\xff\xff\1\0\0\0\0\0\0\0", b"GET / HTTP/1.0\r\n\r\n" * 2])
def test_answer_that_is_no_message(stopped, start, answer):
    path = str(stopped.runtime / "channel")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(5)
        thread = threading.Thread(target=serve, args=(server, answer), daemon=True)
        thread.start()
        outcome, msec, text = start(f"unix:path={path}")(*SIGN)
        assert outcome == "failed" and "D-Bus" in text and msec < 5000
        thread.join(5)


def test_other_user_of_the_process(key, start, root):
    """After seteuid the broker sees the new user, and not the one who connected before."""
    client = start()
    judge(key, client.ok(*SIGN))
    client.ok("euid", 65534)
    assert client(*SIGN)[0] == "not-found"
    client.ok("euid", 0)
    judge(key, client.ok(*SIGN))


def test_chroot(key, start, root):
    """Where no path leads to the socket, the abstract one does."""
    jail = key.folder / "jail"
    jail.mkdir()
    # LeakSanitizer stands still at the end of a program that has no /proc.
    leaks = {"ASAN_OPTIONS": key.environment()["ASAN_OPTIONS"] + ":detect_leaks=0"} if SANITIZED else {}
    client = start(str(key.get(ROOT, "Manager", "ChannelAddress")), **leaks)
    client.ok("chroot", jail)
    judge(key, client.ok(*SIGN))


def test_bus_from_the_environment(key):
    done = subprocess.run([str(CLIENT)], env=key.environment(CERTBROKER_BUS=key.bus_address), text=True,
                          input=" ".join(SIGN) + "\n", capture_output=True, check=True)
    judge(key, done.stdout.splitlines()[1].split()[2])


@pytest.mark.parametrize("bus", ["nonsense", "tcp:host=localhost,port=1", "unixexec:path=/bin/true", "unix:path="])
def test_no_address(stopped, bus):
    done = subprocess.run([str(CLIENT), bus], env=stopped.environment(), text=True, capture_output=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("invalid-argument ")


# watching

def test_watch(key, start):
    client = start()
    assert client.ok("watch", "orders", 1000) == "client 1"
    assert client("watch", "orders", 300)[0] == "timed-out"

    client.send("watch", "orders", 20000)
    key.import_new("other", "ec-p256")  # of no concern to it
    key.backend("orders", "Change", "a{sv}", {"CaFile": "/etc/x.pem"})
    outcome, msec, text = client.read()
    assert (outcome, text) == ("ok", "client 1 /etc/x.pem")

    client.send("watch", "orders", 20000)
    key.import_new("client", "rsa-3072", replace=True)
    outcome, _, text = client.read()
    assert (outcome, text) == ("ok", "client 2 /etc/x.pem")


def test_watch_over_a_restart(key, start):
    """What changed while there was no connection is found; what did not is not told."""
    client = start()
    assert client.ok("watch", "orders", 1000) == "client 1"
    key.stop()
    outcome, _, text = client("watch", "orders", 500)
    assert outcome == "timed-out" and "not running" in text
    key.start()
    assert client("watch", "orders", 2000 * PATIENCE)[0] == "timed-out"

    client.send("watch", "orders", 20000 * PATIENCE)
    time.sleep(0.2)
    key.restart()
    key.backend("orders", "Change", "a{sv}", {"CaFile": "/etc/x.pem"})
    assert client.read()[2] == "client 1 /etc/x.pem"


def test_watch_of_what_is_deleted(key, start):
    client = start()
    assert client("watch", "orders", 1000)[0] == "ok"
    client.send("watch", "orders", 20000)
    key.certificate("client", "SetEnabled", "b", False)
    outcome, _, text = client.read()
    assert outcome == "disabled" and "client" in text
    assert client("watch", "orders", 300)[0] == "timed-out"  # told once
    client.send("watch", "orders", 20000)
    key.certificate("client", "SetEnabled", "b", True)
    outcome, msec, _ = client.read()
    assert outcome == "ok" and msec < 5000 * PATIENCE, "the signal, and not the look after half a minute"


def test_watch_begun_before_the_daemon(key, start):
    key.stop()
    client = start()
    client.send("watch", "orders", 30000 * PATIENCE)
    time.sleep(0.2)
    key.start()
    assert client.read()[2] == "client 1"
