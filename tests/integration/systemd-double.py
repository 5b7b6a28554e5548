#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""systemctl, systemd-creds and journalctl for tests of `certbroker setup`, by the name that it is called by.

It knows certbrokerd.service, of which it runs a real certbrokerd, and runs the unit of a trial without its walls. What it
is told is in $DOUBLE/calls, a line each, and the last trial's unit in $DOUBLE/trial. $DOUBLE/faults has, a line each, what fails: the words of a call, or "credentials".
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

DOUBLE = pathlib.Path(os.environ["DOUBLE"])
UNITS = pathlib.Path("/etc/systemd/system")
PID = DOUBLE / "pid"
TRIAL = pathlib.Path("/run/systemd/system/certbroker-setup.service")
RESULT = DOUBLE / "result"


def is_faulty(call):
    faults = DOUBLE / "faults"
    return faults.exists() and call in faults.read_text().splitlines()


def settings(text):
    """What a unit's text says, each with all of its values; an empty one takes back those before."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "[")):
            found.setdefault(name, []).append(value)
            if not value:
                found[name] = []
    return found


def drop_ins():
    return sorted(UNITS.glob("certbrokerd.service.d/*.conf"))


def environment(unit):
    """A unit's: and its credentials, in a folder, as systemd gives them."""
    folder = DOUBLE / "credentials"
    given = dict(os.environ, RUNTIME_DIRECTORY=str(DOUBLE / "runtime"))
    for value in unit.get("Environment", []):
        given.update([value.split("=", 1)])
    for value in unit.get("LoadCredential", []) + unit.get("LoadCredentialEncrypted", []):
        if is_faulty("credentials"):
            return None
        name, path = value.split(":", 1)
        folder.mkdir(mode=0o700, exist_ok=True)
        data = pathlib.Path(path).read_bytes().removeprefix(b"sealed:")
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(data)
        given["CREDENTIALS_DIRECTORY"] = str(folder)
    return given


def stop():
    if PID.exists():
        pid = int(PID.read_text())
        PID.unlink()
        os.kill(pid, signal.SIGTERM)
        while pathlib.Path(f"/proc/{pid}").exists() and "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2]:
            time.sleep(0.02)


def start():
    log = DOUBLE / "log"
    text = "\n".join(path.read_text() for path in drop_ins())
    with log.open("w") as to:
        daemon = subprocess.Popen([os.environ["DOUBLE_DAEMON"], "--bus", os.environ["DOUBLE_BUS"]], start_new_session=True,
                                  env=environment(settings(text)), stdin=subprocess.DEVNULL, stdout=to, stderr=to)
    PID.write_text(str(daemon.pid))
    while not re.search("certbrokerd: ready$", log.read_text(), re.MULTILINE):
        if daemon.poll() is not None:
            PID.unlink()
            return 1
        time.sleep(0.02)
    return 0


def run_trial():
    (DOUBLE / "trial").write_text(TRIAL.read_text())
    unit = settings(TRIAL.read_text())
    given = environment(unit)
    status = 243
    if given is not None:
        command = unit["ExecStart"][-1].replace("%%", "%").replace("$$", "$")
        command = [os.path.expandvars(word).replace("${CREDENTIALS_DIRECTORY}", given.get("CREDENTIALS_DIRECTORY", ""))
                   for word in shlex.split(command)]
        with open(unit["StandardOutput"][-1].removeprefix("file:"), "w") as out, \
                open(unit["StandardError"][-1].removeprefix("file:"), "w") as err:
            status = subprocess.run(command, env=given, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                    check=False).returncode
    RESULT.write_text(str(status))
    return 1 if status else 0


def show(unit):
    known = {"certbrokerd.service": DOUBLE / "certbrokerd.service", "certbroker-setup.service": TRIAL,
             "nginx.service": DOUBLE / "nginx.service"}.get(unit)
    print(f"FragmentPath={known or ''}\nLoadState={'loaded' if known and known.exists() else 'not-found'}")
    if unit == "certbrokerd.service":
        given = settings("\n".join(path.read_text() for path in drop_ins())).get("Environment", [])
        print(f"DropInPaths={' '.join(map(str, drop_ins()))}\nEnvironment={' '.join(given)}\nUser=root\nGroup=root")
        print(f"ActiveState={'active' if PID.exists() else 'inactive'}")
    if unit == "certbroker-setup.service" and RESULT.exists():
        print(f"ExecMainStatus={RESULT.read_text()}")
    return 0


def systemctl(words):
    call = " ".join(words)
    if words[0] == "show":
        return show(words[-1])
    with (DOUBLE / "calls").open("a") as calls:
        calls.write(call + "\n")
    if is_faulty(call):
        print(f"{call}: it fails as it was told to", file=sys.stderr)
        return 1
    if call == "start certbroker-setup.service":
        return run_trial()
    if words[1:] == ["certbrokerd.service"]:
        if words[0] == "reload":
            os.kill(int(PID.read_text()), signal.SIGHUP)
            return 0
        stop()
        return 0 if words[0] == "stop" else start()
    return 0


def main():
    name = pathlib.Path(sys.argv[0]).name
    if name == "systemctl":
        return systemctl(sys.argv[1:])
    if name == "systemd-creds":
        if is_faulty("systemd-creds"):
            return 1
        sys.stdout.write("sealed:" + sys.stdin.read())
    return 0


if __name__ == "__main__":
    sys.exit(main())
