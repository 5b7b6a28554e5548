# SPDX-License-Identifier: Apache-2.0
"""What a grant says of who asks and how often: unit, label, rate and burst, over real connections."""

import contextlib
import json
import os
import pathlib
import subprocess
import time

import dbus
import dbus.lowlevel
import pki
import pytest

from broker import BUILD, ERROR, GRANT_ALL, ME, NAME, PATIENCE, ROOT, SANITIZED, certificate_path, wait_until
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

class Units:
    """Makes cgroups, each with the name of a unit; where the kernel lets nobody, it says them by peer-facts."""

    def __init__(self, folder):
        self.made, self.told = [], folder / "cgroups"
        self.root = next((path for path in map(pathlib.Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified",
                                                              "/sys/fs/cgroup")) if self._is_ours(path)), None)
        self.facts = {}
        if not self.root:
            self.told.mkdir()
            self.facts = {"PEER_CGROUPS": str(self.told)}

    def _is_ours(self, path):
        """May a process be moved into a cgroup there, and is that what the kernel tells then?"""
        try:
            probe = self._make(path, "certbroker-test-probe.service")
            seen = subprocess.run([*self._enter(probe), "cat", "/proc/self/cgroup"], capture_output=True, text=True,
                                  check=True).stdout
            return "certbroker-test-probe.service" in seen
        except (OSError, subprocess.CalledProcessError):
            return False

    def _make(self, root, unit):
        group = root / f"certbroker-test-{os.getpid()}" / unit
        for each in (group.parent, group):
            with contextlib.suppress(FileExistsError):
                each.mkdir()
                self.made.insert(0, each)
        return group

    @staticmethod
    def _enter(group):
        return ["sh", "-c", f'echo $$ >"{group}/cgroup.procs" || exit 99; exec "$@"', "sh"]

    def enter(self, unit):
        """What is to stand before a command that is to run in it."""
        if self.root:
            return self._enter(self._make(self.root, unit))
        return ["sh", "-c", f'echo "0::/system.slice/{unit}" >"{self.told}/$$"; exec "$@"', "sh"]

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
          owner = {{ user = "{ME}"; allow = "manage"; certificate = "*"; backend = "*"; }};
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
