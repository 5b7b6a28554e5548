# SPDX-License-Identifier: Apache-2.0
"""A Debian 12 with systemd as its first process, in namespaces of its own: no virtual machine; it boots in seconds. What it
cannot show: credentials of systemd, AppArmor, memory limits, devices."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
NAMESPACES = ("unshare", "--mount", "--pid", "--cgroup", "--net", "--uts", "--ipc", "--fork", "--kill-child")
ENVIRONMENT = ("env", "-i", "HOME=/root", "LANG=C.UTF-8",
               "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "bash", "-c")


def cgroup2():
    """Where control groups of version 2 are, or None."""
    for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(place)
    return None


def why_not(system):
    """What a machine is missing that this needs; None: nothing."""
    if os.geteuid() != 0:
        return "it needs root"
    if not cgroup2():
        return "no cgroup2 is mounted"
    if not (system / ".complete").exists():
        return f"there is no {system}; `tests/host/prepare {system}` makes it"
    if system.stat().st_uid != 0 or system.stat().st_mode & 0o022:
        return f"others may write to {system}"
    try:
        with tempfile.TemporaryDirectory(prefix="certbroker-host.", dir="/var/tmp") as place:
            for name in ("upper", "work", "root"):
                (pathlib.Path(place) / name).mkdir()
            options = f"lowerdir={system},upperdir={place}/upper,workdir={place}/work"
            done = subprocess.run([*NAMESPACES, "sh", "-c", 'mount -t proc proc /proc && mount -t overlay overlay -o "$1" '
                                   '"$2" && umount "$2"', "sh", options, f"{place}/root"],
                                  capture_output=True, text=True, timeout=30, check=False)
            group = cgroup2() / f"certbroker-host.probe.{os.getpid()}"
            group.mkdir()
            group.rmdir()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return f"no namespaces: {done.stderr.strip()}" if done.returncode else None


class Failed(Exception):
    pass


def until(condition, what, seconds=60.0):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


class Machine:
    def __init__(self, system):
        self.system = system
        self.changes = pathlib.Path(tempfile.mkdtemp(prefix="certbroker-host.", dir="/var/tmp"))
        self.changes.chmod(0o755)
        self.upper = self.changes / "upper"
        self.upper.mkdir()
        self.group = cgroup2() / self.changes.name
        self.process = self.pid = None
        self.console = self.changes / "console"

    def boot(self):
        self.group.mkdir(exist_ok=True)
        with self.console.open("ab") as console:
            self.process = subprocess.Popen([*NAMESPACES, HERE / "boot", self.system, self.changes, self.group],
                                            stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.pid = until(self._first_process, "systemd has started")

    def _first_process(self):
        """systemd, as it is seen from here, when it answers."""
        if self.process.poll() is not None:
            raise Failed(f"the machine has ended: {self.console_text()}")
        with contextlib.suppress(OSError, ValueError):
            pid = int(pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text())
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            if name == "systemd" and pathlib.Path(f"/proc/{pid}/root/run/systemd/private").exists():
                return pid
        return None

    def wait_booted(self):
        """Whatever has failed: some cases have something fail."""
        return self.run("systemctl is-system-running --wait", check=False).stdout.strip()

    def seconds_since_boot(self):
        """Since its first process was started."""
        ticks = int(pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")

    def arguments(self, command):
        return ["nsenter", "-t", str(self.pid), "-a", *ENVIRONMENT, command]

    def start(self, command):
        return subprocess.Popen(self.arguments(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def run(self, command, check=True, stdin=None):
        done = subprocess.run(self.arguments(command), input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise Failed(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def get(self, command):
        return self.run(command).stdout.strip()

    def write(self, path, text, mode=0o644):
        """Into the running system, or into one that is to boot."""
        if self.pid:
            self.run(f"install -D -m {mode:o} /dev/stdin {path}", stdin=text)
            return
        place = self.upper / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)

    def halt(self):
        """As a person would."""
        os.kill(self.pid, signal.SIGRTMIN + 4)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.end()

    def reboot(self):
        self.halt()
        self.boot()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = self.pid = None

    def remove(self):
        self.end()
        with contextlib.suppress(Failed):
            until(self._remove_groups, "its processes are gone", 10)
        shutil.rmtree(self.changes, ignore_errors=True)

    def _remove_groups(self):
        """A group can be removed when the last process of it has been reaped."""
        try:
            for folder, _, _ in os.walk(self.group, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True

    def console_text(self):
        return self.console.read_text(encoding="utf-8", errors="replace")[-3000:]
