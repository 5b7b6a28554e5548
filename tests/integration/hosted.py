# SPDX-License-Identifier: Apache-2.0
"""A host as `certbroker setup` sees it: doubles of systemd's tools, in a mount namespace with an /etc of its own."""

import contextlib
import os
import pathlib
import shutil
import subprocess

import pytest

from broker import CLI, DAEMON, HERE, PATIENCE

MOUNTS = """
mount --bind "$1/run" /run && mount --bind "$1/units" /etc/systemd/system && mount --rbind "$1/prefix" /usr/local/etc &&
shift && exec "$@"
"""


class Host:
    """A host as setup sees it: its /etc below `folder`, and systemd's tools before all others in PATH."""

    def __init__(self, broker):
        self.broker = broker
        self.double = broker.folder / "host"
        self.etc = self.double / "prefix/certbroker"
        self.units = self.double / "units"
        for folder in (self.etc / "conf.d", self.units, self.double / "bin", self.double / "run/systemd/system"):
            folder.mkdir(parents=True)
        (self.double / "certbrokerd.service").write_text("[Service]\nExecStart=certbrokerd\n")
        for name in ("systemctl", "systemd-creds", "journalctl"):
            shutil.copy(HERE / "systemd-double.py", self.double / "bin" / name)
            (self.double / "bin" / name).chmod(0o755)
        (self.etc / "certbroker.conf").write_text(
            f'broker = {{ state-directory = "{self.state}"; runtime-directory = "{broker.runtime}"; }};\n'
            'grant = { root = { user = "root"; allow = [ "manage", "audit" ]; certificate = [ "*" ]; source = [ "*" ]; }; };\n')
        self.state.mkdir(mode=0o700)

    @property
    def state(self):
        return self.double / "state"

    def command(self, *arguments):
        return ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", self.double, CLI, "--bus", self.broker.bus_address,
                *map(str, arguments)]

    def environment(self):
        env = self.broker.environment(DOUBLE=self.double, DOUBLE_DAEMON=DAEMON, DOUBLE_BUS=self.broker.bus_address)
        del env["SOFTHSM2_CONF"]
        env["PATH"] = f"{self.double}/bin:{env['PATH']}"
        return env

    def run(self, *arguments, status=0, says="", input=None):
        done = subprocess.run(self.command("setup", *arguments), input=input, env=self.environment(), capture_output=True,
                              timeout=180 * PATIENCE, check=False)
        said = done.stderr.decode() + done.stdout.decode()
        assert done.returncode == status and says in said, (arguments, done.returncode, said)
        return done.stdout.decode()

    def fault(self, *calls):
        (self.double / "faults").write_text("".join(call + "\n" for call in calls))

    def calls(self):
        return (self.double / "calls").read_text().splitlines()

    def made(self):
        """All that it could leave, with its mode and text; what a token writes in itself at a log-in left out."""
        found = {}
        for folder in (self.double / "prefix", self.units, self.state / "tokens", self.double / "run"):
            for path in sorted(folder.rglob("*")):
                # and the lock, and the notes of mount(8)
                if path.name not in ("generation", "token.lock", "certbroker-setup.lock", "mount"):
                    found[str(path)] = (path.lstat().st_mode, path.read_text(errors="replace") if path.is_file() else "")
        return found

    def stop(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.double / "pid").read_text()), 15)


@contextlib.contextmanager
def hosted(broker):
    for folder in ("/etc/systemd/system", "/usr/local/etc"):
        if not pathlib.Path(folder).is_dir():
            pytest.fail(f"{folder} is not there")
    host = Host(broker)
    try:
        yield host
    finally:
        host.stop()
