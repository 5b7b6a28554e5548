# SPDX-License-Identifier: Apache-2.0
"""What certbrokerd tells the service manager: when it is ready, and how it is, in a line."""
import contextlib
import socket
import subprocess

from broker import DAEMON, SOFTHSM, wait_until


class Manager:
    """systemd's end of $NOTIFY_SOCKET."""

    def __init__(self, broker):
        path = broker.folder / "manager"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.broker, self.told = broker, []
        broker.extra_environment["NOTIFY_SOCKET"] = str(path)

    def read(self):
        """What came, with nothing left of it."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.told += self.socket.recv(4096).decode().splitlines()
        return self.told

    def status(self):
        return [line.removeprefix("STATUS=") for line in self.read() if line.startswith("STATUS=")]

    def wait(self, status):
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.status()[-1:] == [status], status)
        assert self.status()[-1:] == [status], self.told


@contextlib.contextmanager
def managed(broker):
    manager = Manager(broker)
    broker.daemon = broker.spawn()
    wait_until(lambda: "READY=1" in manager.read(), "READY=1")
    yield manager
    manager.socket.close()


def test_the_line_is_true(stopped):
    """Of sources, certificates, the log, the store and the configuration: what does not work comes first."""
    stopped.configure(sources=stopped.source() + stopped.source("other", **{"pin-file": f'"{stopped.folder}/none"'}))
    with managed(stopped) as manager:
        manager.wait("source other locked; 1 of 2 sources ready, 0 certificates")
        stopped.configure()
        stopped.manager("Reload")
        manager.wait("1 source ready, 0 certificates")
        stopped.import_new("client")
        manager.wait("1 source ready, 1 certificate")

        log, aside = stopped.state / "audit.jsonl", stopped.state / "aside"
        log.rename(aside)
        log.mkdir()
        with contextlib.suppress(Exception):
            stopped.sign("client", "ecdsa-sha256", bytes(32))
        manager.wait("audit log cannot be written; 1 source ready, 1 certificate")
        log.rmdir()
        aside.rename(log)
        stopped.sign("client", "ecdsa-sha256", bytes(32))
        manager.wait("1 source ready, 1 certificate")

        right = stopped.config.read_text()
        stopped.config.write_text(right + "nonsense = 1;\n")
        with contextlib.suppress(Exception):
            stopped.manager("Reload")
        manager.wait("the configuration is wrong, and the one before is in force; 1 source ready, 1 certificate")
        stopped.config.write_text(right.replace("hsm = {", "hsm2 = {"))
        stopped.manager("Reload")
        manager.wait("source hsm is not configured; 1 source ready, 1 certificate")
        stopped.configure(sources="")
        stopped.manager("Reload")
        manager.wait("source hsm is not configured; no source is configured, 1 certificate")
        stopped.stop()
        assert manager.status()[-1] == "finishing what is in flight"


def test_the_line_is_not_sent_for_each_call(broker):
    """Nothing has changed: nothing is told."""
    broker.import_new("client")
    broker.stop()
    with managed(broker) as manager:
        manager.wait("1 source ready, 1 certificate")
        n = len(manager.read())
        for _ in range(50):
            broker.sign("client", "ecdsa-sha256", bytes(32))
        assert len(manager.read()) == n


def slow(broker, milliseconds):
    rules = broker.folder / "rules"
    rules.write_text(f"C_Initialize delay={milliseconds}\n")
    broker.extra_environment.update({"P11FAULT_MODULE": SOFTHSM, "P11FAULT_RULES": str(rules),
                                     "P11FAULT_LOG": str(broker.folder / "calls")})
    broker.configure(sources=broker.source(module=broker.fault_module()))


def state(broker):
    return broker.source_properties("hsm")["State"]


def test_ready_waits_for_sources_where_it_is_told_to(stopped):
    """As the unit does: what is ordered after it can sign at once."""
    slow(stopped, 700)
    stopped.daemon_arguments = ["--wait-for-sources", "60"]
    with managed(stopped) as manager:
        assert state(stopped) == "ready"
        assert manager.told[:2] == ["STATUS=source hsm starting; 0 of 1 source ready, 0 certificates", "READY=1"]


def test_ready_does_not_wait_for_one_that_is_away(stopped):
    """For one that hangs it waits as long as it was told; for one that has failed not at all."""
    slow(stopped, 60000)
    stopped.daemon_arguments = ["--wait-for-sources", "1"]
    with managed(stopped) as manager:
        assert state(stopped) == "starting"
        manager.wait("source hsm starting; 0 of 1 source ready, 0 certificates")
        stopped.kill()
    stopped.pin_file.unlink()
    stopped.configure()
    stopped.daemon_arguments = ["--wait-for-sources", "99"]
    (stopped.folder / "manager").unlink()
    with managed(stopped) as manager:
        manager.wait("source hsm locked; 0 of 1 source ready, 0 certificates")


def test_seconds_that_are_none(folder):
    for text in ("", "x", "-1", "5s", "100"):
        done = subprocess.run([DAEMON, "--wait-for-sources", text, "--check-config"], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 64 and "0 to 99 seconds" in done.stderr
