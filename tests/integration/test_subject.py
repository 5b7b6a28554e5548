# SPDX-License-Identifier: Apache-2.0
"""What a grant says of who asks and how often: unit, label, rate and burst, over real connections."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time

import dbus
import dbus.lowlevel
import pki
import pytest

from broker import BUILD, ERROR, GRANT_ALL, ME, NAME, PATIENCE, PYTHON, ROOT, SANITIZED, certificate_path, wait_until
from test_grants import get, sign, words

LABEL = "system_u:system_r:httpd_t:s0"
UNIT = "certbroker-test-gateway.service"


def peer_facts(**files):
    preload = [os.environ["CERTBROKER_PRELOAD"]] if SANITIZED else []
    return {"LD_PRELOAD": ":".join([*preload, str(BUILD / "tests/integration/peer-facts.so")]), **files}


@pytest.fixture
def house(stopped, root):
    """The certificate `orders`, and further grants; PEER_* for who is to be told them."""

    def start(grants, **facts):
        stopped.configure(grants=GRANT_ALL.format(me=ME) + grants)
        if facts:
            stopped.extra_environment = peer_facts(**facts)
        stopped.start()
        stopped.extra_environment = {}
        stopped.import_new("orders", "ec-p256")
        return stopped

    return start


def ways(broker):
    """The bus, and the private channel."""
    channel = str(broker.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
    return broker.bus_address, f"p2p:{channel}"


# unit

def unit_of(command):
    """The unit of a process that is begun so, as libsystemd has it: another that asks than the daemon."""
    ask = ("import ctypes; unit = ctypes.c_char_p(); ctypes.CDLL('libsystemd.so.0').sd_pid_get_unit(0, "
           "ctypes.byref(unit)); print((unit.value or b'').decode())")
    return subprocess.run([*command, PYTHON, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


class Units:
    """Makes cgroups as systemd does; where the kernel lets nobody, it says them by peer-facts."""

    def __init__(self, folder):
        self.made, self.told = [], folder / "cgroups"
        self.slice = f"certbrokertest{os.getpid()}.slice"
        self.root = next((path for path in map(pathlib.Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup",
                                                              "/sys/fs/cgroup/systemd")) if self._is_ours(path)), None)
        self.facts = {}
        if not self.root:
            self.told.mkdir()
            (self.told / "1").write_text("0::/init.scope\n")
            self.facts = {"PEER_CGROUPS": str(self.told)}

    def _is_ours(self, path):
        """May a process be moved into a cgroup there, and is that where systemd looks?"""
        try:
            return unit_of(self._enter(self._make(path, "certbroker-test-probe.service"))) == \
                "certbroker-test-probe.service"
        except (OSError, subprocess.CalledProcessError):
            return False

    def _make(self, root, path):
        group = root / self.slice
        for part in ("", *path.split("/")):
            group = group / part
            with contextlib.suppress(FileExistsError):
                group.mkdir()
                self.made.insert(0, group)
        return group

    @staticmethod
    def _enter(group):
        return ["sh", "-c", f'echo $$ >"{group}/cgroup.procs" || exit 99; exec "$@"', "sh"]

    def enter(self, path):
        """What is to stand before a command that is to run there: in a unit, or further below."""
        if self.root:
            return self._enter(self._make(self.root, path))
        return ["sh", "-c", f'echo "0::/{self.slice}/{path}" >"{self.told}/$$"; exec "$@"', "sh"]

    def delegate(self, path, user):
        """As `enter`, where the user has made what is below its first part, as systemd lets a user's manager."""
        unit, _, below = path.partition("/")
        if not self.root:
            return self.enter(path)
        group = self._make(self.root, unit)
        for each in (group, group / "cgroup.procs"):
            shutil.chown(each, user, user)
        steps = "; ".join(f'mkdir -p "{group}/{"/".join(below.split("/")[:n + 1])}"' for n in range(below.count("/") + 1))
        made = subprocess.run([*self._enter(group), "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "sh",
                               "-c", f'{steps}; echo $$ >"{group}/{below}/cgroup.procs"'], check=False)
        assert made.returncode == 0, "a user could not move itself within what is delegated to it"
        for n in range(below.count("/") + 1):
            self.made.insert(0, group / "/".join(below.split("/")[:n + 1]))
        return self._enter(group / below)

    def close(self):
        for group in self.made:
            wait_until(lambda g=group: not (g / "cgroup.procs").read_text(), "nobody is left in the cgroup")
            group.rmdir()


@pytest.fixture
def units(folder):
    units = Units(folder)
    yield units
    units.close()


def test_unit(house, units):
    """It narrows a grant to a unit's processes, and grants nothing by itself."""
    house = house(f"""
      gateway = {{ user = "www-data"; unit = "{UNIT}"; allow = "use"; certificate = "*"; }};""", **units.facts)
    calls = sign("orders"), get("orders")
    for address in ways(house):
        assert words(house.as_user("www-data", *calls, address=address)) == ["NotFound"] * 2
        inside = units.enter(UNIT)
        assert words(house.as_user("www-data", *calls, address=address, before=inside)) == ["ok"] * 2
        other = units.enter("certbroker-test-other.service")
        assert words(house.as_user("www-data", *calls, address=address, before=other)) == ["NotFound"] * 2
        assert words(house.as_user("nobody", *calls, address=address, before=inside)) == ["NotFound"] * 2
    records = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    assert {record["unit"] for record in records if record["grant"] == "gateway"} == {UNIT}


# path of a cgroup below a slice: the unit that it is of; sd_pid_get_unit(3) tells which
CGROUPS = {
    "nginx.service": "nginx.service",
    "nginx.service/worker": "nginx.service",
    "nginx.service/other.service": "nginx.service",
    "certbrokertest-inner.slice/at@1.service": "at@1.service",
    "session-7.scope": "session-7.scope",
    "session-7.scope/nginx.service": "session-7.scope",
    "user@33.service/app.slice/nginx.service": "user@33.service",
    "user@33.service/session.slice/app-x.slice/nginx.service/sub": "user@33.service",
    "_cpu.service": "cpu.service",  # a controller's name is escaped
    "container/nginx.service": None,
    "nginx.service.d/nginx.service": None,
}


def test_unit_is_the_first_that_is_no_slice(house, units):
    house = house("", **units.facts)
    for path, unit in CGROUPS.items():
        before = units.enter(path)
        assert not units.root or unit_of(before) == (unit or "")
        for address in ways(house):
            assert words(house.as_user(ME, sign("orders"), address=address, before=before)) == ["ok"]
            record = json.loads((house.state / "audit.jsonl").read_text().splitlines()[-1])
            assert (record["event"], record["unit"]) == ("Sign", unit), path


@pytest.mark.parametrize("below", ["nginx.service", "app.slice/nginx.service", "nginx.service/nginx.service"])
def test_no_user_makes_himself_a_unit(house, units, below):
    """What is delegated to a user's manager holds units of any name: they are none of the system's."""
    house = house("""
      gateway = { user = "www-data"; unit = "nginx.service"; allow = "use"; certificate = "*"; };
      manager = { user = "www-data"; unit = "user@33.service"; allow = "read"; certificate = "orders"; };""",
                  **units.facts)
    inside, own = units.enter("nginx.service"), units.delegate(f"user@33.service/{below}", "www-data")
    for address in ways(house):
        assert words(house.as_user("www-data", sign("orders"), address=address, before=inside)) == ["ok"]
        assert words(house.as_user("www-data", sign("orders"), address=address, before=own)) == ["AccessDenied"]
        assert words(house.as_user("www-data", get("orders"), address=address, before=own)) == ["ok"]
    records = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    denied = [record for record in records if record["result"] == "AccessDenied"]
    assert denied and {record["unit"] for record in denied} == {"user@33.service"}


# label

def test_label(house, stopped, folder):
    """A security label narrows a grant likewise; no label is none that fits."""
    told = folder / "label"
    told.write_text(LABEL)
    told.chmod(0o644)
    stopped.stop_bus()
    stopped.start_bus(environment=peer_facts(PEER_LABEL=str(told)))
    house = house(f"""
      gateway = {{ user = "www-data"; label = "{LABEL}"; allow = "use"; certificate = "*"; }};""", PEER_LABEL=str(told))
    calls = sign("orders"), get("orders")
    for address in ways(house):
        assert words(house.as_user("www-data", *calls, address=address)) == ["ok"] * 2
        assert words(house.as_user("nobody", *calls, address=address)) == ["NotFound"] * 2
        for other in (LABEL + ":c1", LABEL[:-1], ""):
            told.write_text(other)
            assert words(house.as_user("www-data", *calls, address=address)) == ["NotFound"] * 2, other
        told.write_text(LABEL)


# rate

def uses(broker, n, *methods):
    """n uses at once, of the methods in turn: how many were answered, the errors' (name, message), and seconds."""
    digest = dbus.ByteArray(bytes(32))
    arguments = {"Sign": ("tsay", dbus.UInt64(0), "ecdsa-sha256", digest),
                 "SignTls": ("tssay", dbus.UInt64(0), "ecdsa-sha256", "client", digest)}
    began, connection, pending, replies = time.monotonic(), broker.connect(), [], []
    for i in range(n):
        method = methods[i % len(methods)]
        signature, *values = arguments[method]
        message = dbus.lowlevel.MethodCallMessage(NAME, certificate_path("orders"), "org.certbroker1.Certificate",
                                                  method)
        message.append(*values, signature=signature)
        pending.append(connection.send_message_with_reply(message, replies.append, 60 * PATIENCE))
    for call in pending:
        call.block()
    errors = [(reply.get_error_name(), str(reply.get_args_list()[0])) for reply in replies
              if reply.get_type() == dbus.lowlevel.MESSAGE_TYPE_ERROR]
    return n - len(errors), errors, time.monotonic() - began


@pytest.fixture
def limited(stopped):
    """The certificate `orders`, which its owner may use by these grants alone."""

    def start(grants):
        stopped.configure(grants=f"""
          owner = {{ user = "{ME}"; allow = "manage"; certificate = "*"; backend = "*"; source = "*"; }};
          {grants}""")
        stopped.start()
        stopped.import_new("orders", "ec-p256")
        return stopped

    return start


def test_rate_and_burst(limited):
    """So many at once, then as fast as the rate is; all kinds of use pay, and reading does not."""
    broker = limited(f"""slow = {{ user = "{ME}"; allow = "use"; certificate = "*"; rate = "1/s"; burst = 6; }};""")
    answered, errors, seconds = uses(broker, 40, "Sign", "SignTls")
    assert 6 <= answered <= 6 + seconds + 1
    assert errors and {name for name, _ in errors} == {ERROR + "RateLimited"}
    for _, message in errors:
        assert message.startswith("grant 'slow' allows 1 uses a second; try again in "), message
        assert 1 <= int(message.split("try again in ")[1].split(" ms")[0]) <= 1001, message
    assert broker.certificate_properties("orders")["Id"] == "orders"
    wait_until(lambda: uses(broker, 1, "Sign")[0] == 1, "a second later one more is allowed")
    records = [json.loads(line) for line in (broker.state / "audit.jsonl").read_text().splitlines()]
    assert "RateLimited" in {record["result"] for record in records if record["event"] == "SignTls"}


def test_several_grants_pay(limited):
    """Where one is used up the next that allows it pays."""
    broker = limited("".join(f"""
      {name} = {{ user = "{ME}"; allow = "use"; certificate = "{ids}"; rate = "1/s"; burst = {burst}; }};"""
                             for name, ids, burst in (("first", "orders", 3), ("second", "*", 4), ("other", "x-*", 50))))
    answered, errors, seconds = uses(broker, 40, "Sign")
    assert 7 <= answered <= 7 + 2 * (seconds + 1)
    assert {name for name, _ in errors} == {ERROR + "RateLimited"}
    records = [json.loads(line) for line in (broker.state / "audit.jsonl").read_text().splitlines()]
    paid = [record["grant"] for record in records if record["event"] == "Sign" and record["result"] == "ok"]
    assert paid.count("first") >= 3 and paid.count("second") >= 4 and len(paid) == answered


def test_each_user_has_a_rate_of_its_own(house):
    """One grant for a group: what one of its users has used up the other still has."""
    house = house("""
      crowd = { group = "nogroup"; allow = "use"; certificate = "*"; rate = "1/s"; burst = 2; };""")
    hungry = words(house.as_user("nobody", *[sign("orders")] * 60))
    assert hungry[:2] == ["ok"] * 2
    assert words(house.as_user("daemon", *[sign("orders")] * 2, group="nogroup")) == ["ok"] * 2
    assert set(hungry) <= {"ok", "RateLimited"}
