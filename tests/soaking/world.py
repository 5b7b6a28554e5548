# SPDX-License-Identifier: Apache-2.0
"""All that runs: bus, token, vault, certbrokerd and who starts it again, a gateway, a program with the library."""

import pathlib
import secrets
import signal
import subprocess
import threading

import dbus

from broker import GRANT_ALL, ME, Failure, wait_until
from gateway import Nginx, backend_server, free_port, proxy_server
from test_channel import peer
from test_library import Client
from test_watch import Watch
from vaulted import Vaulted

SIZES = {"state": "24m", "log": "384m"}
GRACE_SECONDS = 60
REQUEST_SECONDS = 8
BROKER = f"""
  audit-log = "{{log}}/audit.jsonl";
  audit-max-size = "8MiB";
  rotation-grace = "{GRACE_SECONDS}s";
  request-timeout = "{REQUEST_SECONDS}s";
  verify-signatures = "always";
"""
EXTRA_GRANT = """
  extra = { user = "nobody"; allow = [ "read" ]; certificate = [ "extra-*" ]; rate = "10/s"; };
"""


class Line:
    """A connection to the broker for one thread, made anew after it was lost."""

    def __init__(self, world, way):
        self.world, self.way = world, way
        self.connection, self.life = None, None

    def __call__(self, function, *arguments, **how):
        try:
            if self.life != self.world.lives:  # it is to one that has ended
                self.drop()
            if self.connection is None:
                self.life = self.world.lives
                self.connection = self.dial()
            return function(*arguments, connection=self.connection, **how)
        except dbus.exceptions.DBusException as error:
            self.drop()
            raise Failure(error) from None
        except Failure as failure:
            if "." in failure.name:
                self.drop()
            raise

    def dial(self):
        if self.way == "bus":
            return self.world.connect()
        return peer(f"unix:path={self.world.runtime}/channel")

    def drop(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class World(Vaulted):
    def __init__(self, folder, report, disturbances):
        super().__init__(folder)
        self.report, self.disturbances = report, disturbances
        self.logs = self.folder / "log"
        self.logs.mkdir()
        for name, size in SIZES.items():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "soak", str(self.folder / name)],
                           check=True)
        self.pin, self.passphrase = secrets.token_hex(12), secrets.token_hex(12)
        self.pin_file.write_text(self.pin + "\n")
        self.calls = "/dev/null"  # of the module: the log would be long
        self.fault_rules("")
        self.reloads = 0
        self.lives = 0  # of certbrokerd and the bus
        self.expected_end = False
        self.past = []  # processes of brokers that have ended
        self.up, self.leaving, self.idle, self.gone = (threading.Event() for _ in range(4))
        self.supervisor = None
        self.files = self.front = self.back = self.watch = self.library = None

    # ---- the broker, and who starts it again

    def configured(self):
        """The configuration of now: each reload brings a grant, or takes it away."""
        self.configure(sources=self.source(module=self.fault_module(), sessions="4") + self.vault_source(),
                       grants=GRANT_ALL.format(me=ME) + (EXTRA_GRANT if self.reloads % 2 else ""),
                       broker=BROKER.format(log=self.logs))

    def begin(self):
        self.start_bus()
        self.init_token(pin=self.pin)
        self.configured()
        self.supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self.supervisor.start()
        self.wait_until_up()
        for name in ("hsm", "vault"):
            self.wait_source(name, "ready")

    def wait_until_up(self):
        wait_until(self.up.is_set, "certbrokerd is up", 30)

    def _supervise(self):
        """As the unit does: again, a second after it has ended. (What is started dies with the thread that did it.)"""
        while not self.leaving.wait(0.05):
            if self.daemon is not None and self.daemon.poll() is None:
                continue
            if self.daemon is not None:
                self._ended(self.daemon.returncode)
            self._start()
        self.idle.set()
        self.gone.wait()

    def _ended(self, status):
        self.report.event(f"certbrokerd has ended with {status}")
        self.lives += 1
        self.up.clear()
        if not self.expected_end and not self.disturbances.any():
            self.report.breaks(f"certbrokerd ended by itself, with {status}")
        if status not in (0, -signal.SIGKILL, 69, 70):
            self.report.breaks(f"certbrokerd ended with {status}")
        self.expected_end = False
        self.daemon = None
        self.leaving.wait(1)

    def _start(self):
        if self.leaving.is_set():
            return
        try:
            self.start(ready=None)
            self.up.set()
            self.report.event("certbrokerd is up")
        except AssertionError as error:
            self.report.event(f"certbrokerd did not start: {str(error)[:60]} … {str(error)[-300:]}")
            if not self.disturbances.any():
                self.report.breaks("certbrokerd did not start")
            if self.daemon.poll() is None:
                self.expected_end = True
                self.daemon.kill()
                self.daemon.wait()

    def end_broker(self, number):
        """A signal that ends it; it is started again by itself."""
        daemon = self.daemon
        if daemon is None or daemon.poll() is not None:
            return
        self.past += self.broker_pids()
        self.expected_end = True
        self.up.clear()
        self.report.count("restarts of the broker")
        daemon.send_signal(number)
        if number == signal.SIGTERM:
            try:
                status = daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.report.breaks("certbrokerd did not end within 20 s of a SIGTERM")
                return
            if status != 0:
                self.report.breaks(f"certbrokerd ended with {status} after a SIGTERM")

    def broker_pids(self):
        """(pid, when it began) of the broker, its starter and the sources' processes."""
        try:
            return [(pid, started(pid)) for pid in (self.daemon.pid, self.starter_pid(), *self.helper_pids())]
        except (OSError, ValueError, AttributeError):
            return []

    def source_pids(self):
        """Of those that run, by name: the token's has our module."""
        pids = {"hsm" if "p11fault" in read(pid, "maps") else "vault": pid for pid in self.helper_pids()}
        return pids if len(pids) == 2 else {}

    def stop_bus(self):
        self.lives += 1
        super().stop_bus()

    def pkcs11_tool(self, *arguments, **how):
        return super().pkcs11_tool(*arguments, pin=self.pin, **how)

    # ---- the gateway and the library

    def begin_gateway(self):
        """nginx with a key of the broker's, in front of one that asks for it; a watcher renews its files."""
        self.back_port, self.front_port = free_port(), None
        self.back = Nginx(self, "back", backend_server(self.files, self.back_port), foreign=False, workers=1)
        self.back.start(self.back_port)
        pid = self.folder / "front/pid"
        self.watch = Watch(self, "--exec", f"test ! -e {pid} || kill -HUP $(cat {pid})", backend="gate")
        wait_until(self.watch.key.exists, "the watcher writes its files", 30)
        self.front_port = free_port()
        self.front = Nginx(self, "front", proxy_server(self.files, self.front_port, self.back_port, self.watch.chain,
                                                       self.watch.key), workers=1)
        self.front.start(self.front_port)

    def begin_library(self):
        self.library = Client(self.environment(), self.bus_address)
        self.library_turn = threading.Lock()

    def leave(self, gently):
        """Ends everything; gently: the broker with a SIGTERM, which has to do."""
        self.leaving.set()
        try:
            if self.supervisor:
                self.idle.wait(30)
            if gently:
                self.stop()
        finally:
            self.close_all()
            self.gone.set()

    def close_all(self):
        for each in (self.front, self.back):
            if each:
                each.close()
        for each in (self.watch, self.library):
            if each:
                each.process.kill()
                each.process.wait()
        self.kill()
        self.stop_bus()
        self.vault.close()


def read(pid, name):
    return pathlib.Path(f"/proc/{pid}/{name}").read_text(errors="replace")


def stat_of(pid):
    """What /proc/PID/stat tells after the name: the state first."""
    return read(pid, "stat").rsplit(")", 1)[1].split()


def started(pid):
    return int(stat_of(pid)[19])


def is_alive(pid, when):
    try:
        fields = stat_of(pid)
        return int(fields[19]) == when and fields[0] != "Z"
    except OSError:
        return False
