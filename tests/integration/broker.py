# SPDX-License-Identifier: Apache-2.0
"""A private message bus, a SoftHSM token and certbrokerd, in a folder of their own.

Where the programs are comes from the environment (CERTBROKER_BUILD), as tests/integration/meson.build sets it.
Nothing here retries a call that failed: a test sees what a client would.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time

import dbus
import dbus.bus
import dbus.connection
import dbus.lowlevel

import pki

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("CERTBROKER_BUILD", HERE.parents[1] / "build")).resolve()
DAEMON = BUILD / "daemon/broker/certbrokerd"
HELPER = BUILD / "daemon/source/certbroker-source"
CLI = BUILD / "client/cli/certbroker"
MODULES = BUILD / "client/provider"
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
PYTHON = "/usr/bin/python3"

NAME = "org.certbroker1"
ROOT = "/org/certbroker1"
ERROR = "org.certbroker1.Error."
PROPERTIES = "org.freedesktop.DBus.Properties"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PEER = "org.freedesktop.DBus.Peer"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"

ME = pwd.getpwuid(os.getuid()).pw_name
SANITIZED = os.environ.get("CERTBROKER_SANITIZED") == "1"
# Debug builds with sanitizers take longer over everything.
PATIENCE = 4 if SANITIZED else 1

PIN = "1234"

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_completed_connections">4000</limit>
  <limit name="max_connections_per_user">4000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""

GRANT_ALL = """
  everything = {{
    user = "{me}";
    allow = [ "manage", "use", "audit" ];
    certificate = [ "*" ];
    backend = [ "*" ];
    source = [ "*" ];
  }};
"""


class Failure(Exception):
    """A call's error: the name without the prefix where it is one of ours, and the message."""

    def __init__(self, error):
        full = error.get_dbus_name() or ""
        self.full_name = full
        self.name = full[len(ERROR):] if full.startswith(ERROR) else full
        self.message = error.get_dbus_message() or ""
        super().__init__(f"{self.name}: {self.message}")


def die_with_parent():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def label(text):
    """The last label of an object's path, escaped as sd_bus_path_encode(3) does."""
    if not text:
        return "_"
    out = ""
    for i, byte in enumerate(text.encode()):
        char = chr(byte)
        plain = char.isascii() and (char.isalpha() or (char.isdigit() and i > 0))
        out += char if plain else f"_{byte:02x}"
    return out


def certificate_path(id):
    return f"{ROOT}/certificate/{label(id)}"


def backend_path(name):
    return f"{ROOT}/backend/{label(name)}"


def source_path(name):
    return f"{ROOT}/source/{label(name)}"


def memfd(data):
    fd = os.memfd_create("test")
    os.write(fd, data) if len(data) < 1 << 20 else write_all(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def children(pid):
    """The processes that this one has started."""
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition, what, timeout=10.0):
    """Polls until condition() is true, and returns what it returned."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out: {what}")
        time.sleep(0.02)


class Broker:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.chmod(0o755)
        self.etc = self.folder / "etc"
        self.state = self.folder / "state"
        self.runtime = self.folder / "run"
        self.sanitizer = self.folder / "sanitizer"
        for directory in (self.etc, self.state, self.runtime, self.sanitizer):
            directory.mkdir()
        self.sanitizer.chmod(0o1777)
        self.config = self.etc / "certbroker.conf"
        self.log = self.folder / "certbrokerd.log"
        self.daemon = None
        self.bus_daemon = None
        self.bus_address = None
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(mode=0o700)
        # What a module is told and tells: a source can open what comes to be in a folder that was there before it, but
        # not what comes to be on the way to the broker's state.
        self.faults = self.folder / "faults"
        self.faults.mkdir()
        self.calls = self.faults / "calls"  # of p11fault's functions, in their order
        self.softhsm_conf = self.folder / "softhsm2.conf"
        self.softhsm_conf.write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.pin_file = self.secret("hsm-pin", PIN + "\n")
        self.daemon_arguments = []
        self.daemon_command = []  # what stands before it
        self.extra_environment = {}
        self._connection = None

    # surroundings

    def fault_module(self, name="p11fault"):
        """p11fault or another of ours, for `module`: in our own folder, for a build's need not be root's."""
        path = self.folder / f"{name}.so"
        if not path.exists():
            shutil.copy(BUILD / f"tests/integration/{name}.so", path)
        return f'"{path}"'

    def fault_rules(self, text):
        """What p11fault does wrong from here on, in the words of p11fault.c; for the first time before the start."""
        rules = self.faults / "rules"
        rules.write_text(text)
        self.extra_environment.update(P11FAULT_MODULE=SOFTHSM, P11FAULT_RULES=str(rules), P11FAULT_LOG=str(self.calls))

    def secret(self, name, text):
        """A file in etc/ that nobody else can read; its path."""
        path = self.etc / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path

    def environment(self, **more):
        env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "SOFTHSM2_CONF": str(self.softhsm_conf),
        }
        if SANITIZED:
            leaks = os.environ.get("CERTBROKER_LEAKS", "0")
            env["ASAN_OPTIONS"] = (f"log_path={self.sanitizer}/asan:detect_leaks={leaks}:"
                                   "abort_on_error=1:detect_stack_use_after_return=0")
            env["UBSAN_OPTIONS"] = f"log_path={self.sanitizer}/ubsan:print_stacktrace=1:halt_on_error=1"
            env["LSAN_OPTIONS"] = f"suppressions={HERE}/lsan.supp:print_suppressions=0"
        env.update(self.extra_environment)
        env.update({k: str(v) for k, v in more.items()})
        return env

    def foreign_environment(self, **more):
        """For programs that are not ours and load our provider: a sanitizer's runtime must come first."""
        env = self.environment(CERTBROKER_BUS=self.bus_address, OPENSSL_CONF=self.openssl_conf(), **more)
        if SANITIZED:
            env["LD_PRELOAD"] = f"{os.environ['CERTBROKER_PRELOAD']}:{os.environ['CERTBROKER_EARLY']}"
            env["ASAN_OPTIONS"] = env["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")
        return env

    def openssl_conf(self):
        path = self.folder / "openssl.cnf"
        if not path.exists():
            path.write_text(
                "openssl_conf = init\n[init]\nproviders = providers\n[providers]\n"
                "default = default_section\ncertbroker = certbroker_section\n"
                "[default_section]\nactivate = 1\n"
                f"[certbroker_section]\nmodule = {MODULES}/certbroker.so\nactivate = 1\n")
        return path

    def start_bus(self, config=None, environment=None):
        path = self.folder / "bus.conf"
        path.write_text(config or BUS_CONFIG.format(folder=self.folder))
        read, write = os.pipe()
        self.bus_daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={path}", "--nofork", "--nopidfile", f"--print-address={write}"],
            pass_fds=[write], env={"PATH": os.environ["PATH"], **(environment or {})}, preexec_fn=die_with_parent)
        os.close(write)
        with os.fdopen(read) as f:
            # without its guid: another bus at the same path is as good
            self.bus_address = f.readline().strip().split(",")[0]
        assert self.bus_address, "dbus-daemon did not start"

    def stop_bus(self):
        if self.bus_daemon:
            self.bus_daemon.kill()
            self.bus_daemon.wait()
            self.bus_daemon = None

    def init_token(self, token="test", pin=PIN):
        """token: a str, or bytes that need not be UTF-8."""
        subprocess.run(["softhsm2-util", "--init-token", "--free", "--label", token, "--pin", pin,
                        "--so-pin", "12345678"], check=True, env=self.environment(),
                       stdout=subprocess.DEVNULL)

    def pkcs11_tool(self, *arguments, pin=PIN, token="test", check=True, stderr=subprocess.STDOUT):
        """pkcs11-tool on the token, as a judge that knows nothing of the broker; its output."""
        command = ["pkcs11-tool", "--module", SOFTHSM, "--token-label", token, "--login", "--pin", pin]
        env = self.environment()
        env.pop("LD_PRELOAD", None)  # what a test puts between our programs and their surroundings
        done = subprocess.run(command + list(arguments), env=env, stdout=subprocess.PIPE, stderr=stderr,
                              text=True, errors="replace", check=False)
        assert not check or done.returncode == 0, done.stdout
        return done.stdout

    def token_objects(self, kind=None, token="test"):
        """What is in the token: a list of dicts, of pkcs11-tool's listing."""
        objects = []
        for line in self.pkcs11_tool("--list-objects", token=token, stderr=subprocess.DEVNULL).splitlines():
            if line.startswith(" ") and objects and ":" in line:
                field, value = [part.strip() for part in line.split(":", 1)]
                if value != "<empty>":
                    objects[-1][field] = value
            elif re.search(" [Oo]bject", line):
                objects.append({"kind": re.split(" [Oo]bject", line)[0], "type": line.split(";")[-1].strip()})
        return [o for o in objects if kind is None or o["kind"].startswith(kind)]

    # configuration

    def source(self, name="hsm", uri="pkcs11:token=test", **settings):
        settings = {"driver": '"pkcs11"', "uri": f'"{uri}"', "module": f'"{SOFTHSM}"',
                    "pin-file": f'"{self.pin_file}"', "sessions": "2", **settings}
        body = "".join(f"    {k} = {v};\n" for k, v in settings.items() if v is not None)
        return f"  {name} = {{\n{body}  }};\n"

    def configure(self, sources=None, grants=None, broker="", head=""):
        if sources is None:
            sources = self.source()
        if grants is None:
            grants = GRANT_ALL.format(me=ME)
        self.config.write_text(
            f"{head}broker = {{\n  state-directory = \"{self.state}\";\n"
            f"  runtime-directory = \"{self.runtime}\";\n{broker}\n}};\n"
            f"source = {{\n{sources}}};\n" f"grant = {{\n{grants}}};\n")

    # the daemon

    def spawn(self, *arguments, env=None, command=()):
        command = [*(command or self.daemon_command), str(DAEMON), "--config", str(self.config), "--bus", self.bus_address,
                   *self.daemon_arguments, *arguments]
        with open(self.log, "ab") as log:
            return subprocess.Popen(command, env=env or self.environment(), stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, preexec_fn=die_with_parent)

    def start(self, ready="hsm"):
        """Starts certbrokerd, waits for its READY=1, and then for a source to be ready (None: for none)."""
        path = self.folder / "notify"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(path))
            notify.settimeout(0.1)
            self.daemon = self.spawn(env=self.environment(NOTIFY_SOCKET=path))
            end = time.monotonic() + 10 * PATIENCE
            while True:
                with contextlib.suppress(socket.timeout):
                    if b"READY=1" in notify.recv(4096).split(b"\n"):
                        break
                assert self.daemon.poll() is None, f"certbrokerd ended: {self.log_text()}"
                assert time.monotonic() < end, f"no READY=1: {self.log_text()}"
        self._connection = None
        if ready:
            self.wait_source(ready, "ready")
        return self

    def stop(self):
        """SIGTERM; asserts that it ends as the contract says, in time."""
        if not self.daemon:
            return
        self.daemon.send_signal(signal.SIGTERM)
        try:
            status = self.daemon.wait(8 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("certbrokerd did not end within its 5 s") from None
        self.daemon = None
        assert status == 0, f"certbrokerd ended with {status}: {self.log_text()}{self.sanitizer_text()}"

    def kill(self):
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def restart(self, ready="hsm"):
        self.stop()
        self.start(ready)

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def starter_pid(self):
        """The process that starts those of the sources: certbrokerd's only child."""
        [pid] = children(self.daemon.pid)
        return pid

    def helper_pids(self):
        """The processes of the sources: the starter's children."""
        return children(self.starter_pid())

    def sanitizer_text(self):
        return "".join(p.read_text(errors="replace") for p in sorted(self.sanitizer.iterdir()))

    def close(self):
        """Ends everything; whatever a sanitizer found fails the test."""
        try:
            self.stop()
        finally:
            self.kill()
            self.stop_bus()
        assert not self.sanitizer_text(), self.sanitizer_text()

    # calls

    def connect(self, mainloop=None):
        return dbus.bus.BusConnection(self.bus_address, mainloop=mainloop)

    @property
    def connection(self):
        if self._connection is None:
            self._connection = self.connect()
        return self._connection

    def call(self, path, interface, method, signature="", *arguments, connection=None, timeout=20.0):
        connection = connection or self.connection
        destination = NAME if isinstance(connection, dbus.bus.BusConnection) else None
        try:
            return connection.call_blocking(destination, path, interface, method, signature, arguments,
                                            timeout=timeout * PATIENCE)
        except dbus.exceptions.DBusException as error:
            raise Failure(error) from None

    def manager(self, method, signature="", *arguments, **how):
        return self.call(ROOT, "org.certbroker1.Manager", method, signature, *arguments, **how)

    def certificate(self, id, method, signature="", *arguments, **how):
        return self.call(certificate_path(id), "org.certbroker1.Certificate", method, signature, *arguments, **how)

    def backend(self, name, method, signature="", *arguments, **how):
        return self.call(backend_path(name), "org.certbroker1.Backend", method, signature, *arguments, **how)

    def source_call(self, name, method, signature="", *arguments, **how):
        return self.call(source_path(name), "org.certbroker1.Source", method, signature, *arguments, **how)

    def get(self, path, interface, name, **how):
        return self.call(path, PROPERTIES, "Get", "ss", f"org.certbroker1.{interface}", name, **how)

    def get_all(self, path, interface, **how):
        return self.call(path, PROPERTIES, "GetAll", "s", f"org.certbroker1.{interface}", **how)

    def set(self, path, interface, name, value, **how):
        return self.call(path, PROPERTIES, "Set", "ssv", f"org.certbroker1.{interface}", name, value, **how)

    def certificate_properties(self, id, **how):
        return self.get_all(certificate_path(id), "Certificate", **how)

    def backend_properties(self, name, **how):
        return self.get_all(backend_path(name), "Backend", **how)

    def source_properties(self, name="hsm", **how):
        return self.get_all(source_path(name), "Source", **how)

    def wait_source(self, name, state):
        def reached():
            # A source is read by whoever has a grant that covers it: a test without one passes ready=None.
            return self.source_properties(name)["State"] == state
        try:
            return wait_until(reached, f"source {name} {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}; {dict(self.source_properties(name))}; {self.log_text()}") from None

    def chain(self, id, **how):
        return [bytes(c) for c in self.get(certificate_path(id), "Certificate", "Chain", **how)]

    # things that many tests do

    def import_fds(self, id, bundle_fd, passphrase_fd, source="hsm", connection=None, timeout=20.0, **options):
        values = dbus.Dictionary({k: dbus.Boolean(v) for k, v in options.items()}, signature="sv")
        return self.manager("ImportCertificate", "sshha{sv}", id, source, dbus.types.UnixFd(bundle_fd),
                            dbus.types.UnixFd(passphrase_fd), values, connection=connection, timeout=timeout)

    def import_bundle(self, id, bundle, passphrase=b"", source="hsm", **how):
        bundle_fd, passphrase_fd = memfd(bundle), memfd(passphrase)
        try:
            return self.import_fds(id, bundle_fd, passphrase_fd, source, **how)
        finally:
            os.close(bundle_fd)
            os.close(passphrase_fd)

    def import_new(self, id="client", key_type="ec-p256", common_name="client.example", issuer=None, sans=(),
                   **how):
        """Makes a certificate with a key of its own type, imports both; the certificate."""
        cert = pki.certificate(pki.key(key_type), common_name, issuer=issuer, sans=sans)
        chain = (issuer.certificate,) if issuer else ()
        self.import_bundle(id, pki.p12(pki.key(key_type), cert, chain), b"secret", **how)
        return cert

    def sign(self, id, algorithm, data, generation=0, **how):
        return bytes(self.certificate(id, "Sign", "tsay", dbus.UInt64(generation), algorithm, dbus.ByteArray(data),
                                      **how))

    def create_backend(self, name, certificate, url="https://localhost:8443/", **settings):
        values = dbus.Dictionary({"Url": url, "Certificate": certificate, **settings}, signature="sv")
        return self.manager("CreateBackend", "sa{sv}", name, values)

    def delete_certificate(self, id, connection=None, **options):
        values = dbus.Dictionary({k.replace("_", "-"): dbus.Boolean(v) for k, v in options.items()},
                                 signature="sv")
        return self.certificate(id, "Delete", "a{sv}", values, connection=connection)

    def list_ids(self):
        return [str(row["Id"]) for row in self.manager("ListCertificates", "su", "", dbus.UInt32(1000))]

    def cli(self, *arguments, input=None, **env):
        return subprocess.run([str(CLI), "--bus", self.bus_address, *arguments], env=self.environment(**env),
                              input=input, capture_output=True, check=False, timeout=30 * PATIENCE)

    def cli_json(self, *arguments, **how):
        done = self.cli("--json", *arguments, **how)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def as_crowd(self, uids, n, call):
        """The same call n times by each of these users, on the channel: how many answers, by error name (crowd.py)."""
        channel = str(self.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
        done = subprocess.run([PYTHON, "-B", str(HERE / "crowd.py"), channel, str(n), json.dumps(call), *map(str, uids)],
                              env=self.environment(), capture_output=True, check=False, timeout=100 * PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def as_user(self, user, *calls, address=None, group=None, before=()):
        """Makes calls as another user of this host (root is needed for that): caller.py tells what they are.

        group: another than the user's own; before: what stands before the command.
        """
        script = self.folder / "caller.py"
        if not script.exists():
            shutil.copy(HERE / "caller.py", script)
            script.chmod(0o644)
        group = group or pwd.getpwnam(user).pw_gid
        done = subprocess.run(
            [*before, "setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", PYTHON, str(script),
             address or self.bus_address, json.dumps(calls)],
            env=self.environment(), cwd="/", capture_output=True, check=False, timeout=60 * PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)
