# SPDX-License-Identifier: Apache-2.0
"""What other users of the host can cost certbrokerd, and what stays kept for whom."""

import contextlib
import functools
import grp
import os
import pwd
import re
import signal
import sqlite3
import subprocess
import time

import dbus.lowlevel
import pytest

import crowds
import many
from broker import BUS_CONFIG, GRANT_ALL, INTROSPECTABLE, ME, NAME, PEER, ROOT, SANITIZED, certificate_path, memfd, wait_until
from crowds import INTROSPECT, PINGS, bus_of, one_by_one, resident, signatures, socket_of
from test_grants import words
from test_metrics import value

PING = [ROOT, PEER, "Ping", ""]
GRANTS = GRANT_ALL.format(me=ME) + """
  web = { user = "www-data"; allow = "use"; certificate = "client"; backend = "*"; };
  mail = { group = "mail"; allow = "read"; certificate = "client"; };
  games = { user = "games"; allow = "manage"; certificate = "own-*"; backend = "own-*"; source = "*"; };
"""
SUBORDINATE = 100000  # a login's own uids, 65,536 of them


@pytest.fixture
def house(stopped, root):
    stopped.configure(grants=GRANTS)
    return stopped


def test_a_search_among_thousands_goes_on(house):
    """Thousands have one subject, more than one turn looks at: who may read one of them finds it, and who may read
    many is told so."""
    house.start()
    house.import_new("client")
    house.import_new("own-0")
    many.copy_certificate(house, "own-0", [f"own-{i}" for i in range(1, 1500)])
    call = [ROOT, "org.certbroker1.Manager", "GetCertificate", "s", "subject=CN=client.example"]
    [found] = house.as_user("www-data", call)
    assert found == {"value": certificate_path("client")}
    [found] = house.as_user("games", call)
    assert found["error"].endswith("InvalidArgument") and "more than 8 certificates" in found["message"]
    [found] = house.as_user("nobody", call)
    assert found["error"].endswith("NotFound")


# memory

def test_memory_of_512_connections(house):
    """Of one uid, that do not read, or do not finish what they send: less than 64 MiB, and it comes back."""
    house.start()
    house.import_new("client")
    where = socket_of(house)
    before = resident(house)
    for user, words_of in (("nobody", INTROSPECT), ("www-data", INTROSPECT), ("www-data", ("unfinished", 70000)),
                           ("nobody", ("unfinished", 2000000))):
        with crowds.crowds((where, user, 256, *words_of), (where, user, 256, "unfinished", 70000)):
            most = 0
            for _ in range(10):
                most = max(most, resident(house))
                time.sleep(0.05)
        assert SANITIZED or most - before < 64 * 1024, (user, words_of, most, before)
    # a sanitizer keeps what is freed
    wait_until(lambda: SANITIZED or resident(house) - before < 8 * 1024, "memory is given back")
    assert house.sign("client", "ecdsa-sha256", bytes(32))


# time

def ratios(where, *crowd):
    """How many times the median and the 99th percentile of root's signatures are what they are alone: the best of
    three, for a test machine has other things to do as well."""
    best = None
    for _ in range(3):
        alone = signatures(where, n=300)
        with crowds.crowds(crowd):
            time.sleep(0.2)
            beside = signatures(where, n=300)
        assert alone[3] == 0 and beside[3] == 0
        now = (beside[0] / alone[0], beside[1] / alone[1])
        best = min(best or now, now)
        if best[0] <= 4 and best[1] <= 10:
            break
    return best


@pytest.mark.parametrize("user", ["nobody", "www-data"])
def test_a_flood_does_not_slow_others(house, user):
    """200 connections of another uid that call without a pause, with and without a grant."""
    house.start()
    house.import_new("client")
    median, last = ratios(socket_of(house), socket_of(house), user, 200, *PINGS)
    assert median <= 4 and last <= 25, (median, last)


def test_changes_do_not_slow_others(house):
    """A manager changes what is his own, and has 480 connections that are told of it."""
    house.start()
    for id in ("client", "own-1"):
        house.import_new(id)
    median, last = ratios(socket_of(house), socket_of(house), "games", 480, "toggle", certificate_path("own-1"))
    assert median <= 4 and last <= 25, (median, last)


def add_backends(broker, n, certificate, prefix):
    broker.stop()
    with contextlib.closing(sqlite3.connect(broker.state / "certbroker.sqlite")) as database, database:
        database.executemany("INSERT INTO backend VALUES (?, 'https://localhost/', ?, 1, 1, '', ?, 0)",
                             [(f"{prefix}{i:05}", certificate, "x" * 500) for i in range(n)])
    broker.start()


LISTS = {
    "objects": ("flood", ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
    "introspection": ("flood", f"{ROOT}/backend", INTROSPECTABLE, "Introspect"),
}


@pytest.mark.parametrize("what", LISTS)
def test_lists_do_not_slow_others(house, what):
    """Somebody has thousands of objects listed, again and again."""
    house.start()
    for id in ("client", "own-1"):
        house.import_new(id)
    add_backends(house, 8192, "own-1", "own-")
    median, last = ratios(socket_of(house), socket_of(house), "games", 2, *LISTS[what])
    assert median <= 4 and last <= 25, (median, last)


# places

def fill(where, n=8, gid=None):
    return crowds.crowds(*[(where, f"{SUBORDINATE + i}" + (f":{gid}" if gid else ""), 512, "idle") for i in range(n)])


def test_places_are_kept(house):
    """Eight of a login's subordinate uids take all they can: whom a grant names still gets in, and root."""
    house.start()
    house.import_new("client")
    with fill(socket_of(house)) as there:
        assert sum(crowd.n for crowd in there) <= 1024
        assert words(house.as_user("www-data", PING, address=f"p2p:unix:path={house.runtime}/channel")) == ["ok"]
        assert words(house.as_user("mail", PING, address=f"p2p:unix:path={house.runtime}/channel")) == ["ok"]
        assert one_by_one(socket_of(house), 0, 1, "ping")[3] == 0
        # and it is told: in the metrics, by `status`, and in the log, once
        refused = value(house, "certbroker_limit_reached_total", limit="connections", standing="stranger")
        assert refused >= 8 * 512 - 1024
        uid = value(house, "certbroker_limit_reached_uid", limit="connections", standing="stranger")
        assert SUBORDINATE <= uid < SUBORDINATE + 8
        items = [item for item in house.cli_json("status")["attention"] if item["object"] == "limit"]
        assert len(items) == 1
        assert re.match(rf"connections: reached {int(refused)} times since .*, last by uid {int(uid)} \(no grant",
                        items[0]["reason"])
        assert house.log_text().count("has reached its limit of connections") == 1
    assert value(house, "certbroker_limit_used", limit="connections", standing="named") == 0


def test_places_are_kept_from_groups(house):
    """A group's grant is for as many uids as its members can make: by name is more, and root."""
    gid = grp.getgrnam("mail").gr_gid
    house.start()
    with fill(socket_of(house), gid=gid):
        assert words(house.as_user("www-data", PING, address=f"p2p:unix:path={house.runtime}/channel")) == ["ok"]
        assert one_by_one(socket_of(house), 0, 1, "ping")[3] == 0


def test_places_are_kept_for_who_runs_it(house):
    """Who is not root, and named by no grant."""
    proxy = pwd.getpwnam("proxy")
    for path in (house.state, house.runtime):
        os.chown(path, proxy.pw_uid, proxy.pw_gid)
    house.configure(sources="", grants="")
    house.spawn = functools.partial(
        house.spawn, command=("setpriv", f"--reuid={proxy.pw_uid}", f"--regid={proxy.pw_gid}", "--clear-groups"))
    house.daemon = house.spawn()
    wait_until(lambda: "ready" in house.log_text(), "certbrokerd")
    with fill(socket_of(house)):
        assert one_by_one(socket_of(house), "proxy", 1, "ping")[3] == 0
        assert one_by_one(socket_of(house), 0, 1, "ping")[3] == 0
        with pytest.raises(subprocess.CalledProcessError):
            one_by_one(socket_of(house), "games", 1, "ping")


def test_standing_follows_the_grants(house):
    """Who gets a grant, or loses it, stands differently from then on, with what he has."""
    house.configure(grants=GRANT_ALL.format(me=ME))
    house.start()
    with crowds.crowds((socket_of(house), "www-data", 20, "idle")):
        used = functools.partial(value, house, "certbroker_limit_used", limit="connections")
        assert (used(standing="stranger"), used(standing="named")) == (20, 0)
        house.configure(grants=GRANTS)
        house.manager("Reload")
        assert (used(standing="stranger"), used(standing="named")) == (0, 20)
        house.configure(grants=GRANT_ALL.format(me=ME))
        house.manager("Reload")
        assert (used(standing="stranger"), used(standing="named")) == (20, 0)
    wait_until(lambda: used(standing="stranger") == 0, "they are gone")


# descriptors

@pytest.mark.parametrize("n", [2, 4])
def test_descriptors_of_others(house, n):
    """Pinned by unfinished messages, as many as a method takes and more: root's imports still have theirs."""
    house.spawn = functools.partial(house.spawn, command=("prlimit", "--nofile=1024:1024"))
    house.start()
    with crowds.crowds(*[(socket_of(house), user, 512, "descriptors", n) for user in ("nobody", "www-data", "mail")]):
        for i in range(4):
            house.import_new(f"client-{i}")


@pytest.mark.parametrize("where", [socket_of, bus_of])
def test_descriptors_that_nobody_reads(house, where):
    """The kernel counts them on us: one who does not read his has few, and all others go on."""
    house.configure(grants=GRANTS + """
      watch = { user = "games"; allow = "audit"; };
    """)
    house.start()
    used = functools.partial(value, house, "certbroker_limit_used", limit="unread descriptors", standing="named")
    with crowds.crowds((where(house), "games", 20, "unread", ROOT, "org.certbroker1.Manager", "OpenAudit")):
        wait_until(lambda: value(house, "certbroker_limit_reached_total", limit="unread descriptors",
                                 standing="named") > 0, "the limit")
        assert used() == 8
        house.import_new("client")
        for _ in range(20):
            fd, _, _ = house.manager("OpenAudit")
            os.close(fd.take())
    wait_until(lambda: used() == 0, "they are gone")
    for _ in range(20):
        assert words(house.as_user("games", [ROOT, "org.certbroker1.Manager", "OpenAudit", ""])) == ["ok"]


# the bus

def test_newcomers_with_descriptors(house):
    """Many first calls at once, before the bus has said of any of them who it is: none is refused for that."""
    house.start()
    connections = [house.connect() for _ in range(40)]
    pendings = []
    house.daemon.send_signal(signal.SIGSTOP)
    bundle, passphrase = memfd(b"no bundle"), memfd(b"")
    try:
        for connection in connections:
            message = dbus.lowlevel.MethodCallMessage(NAME, ROOT, "org.certbroker1.Manager", "ImportCertificate")
            message.append("x", "hsm", dbus.types.UnixFd(bundle), dbus.types.UnixFd(passphrase),
                           dbus.Dictionary({}, signature="sv"), signature="sshha{sv}")
            pendings.append(connection.send_message_with_reply(message, lambda reply: None, 30))
            connection.flush()
    finally:
        house.daemon.send_signal(signal.SIGCONT)
        os.close(bundle)
        os.close(passphrase)
    names = set()
    for connection, pending in zip(connections, pendings):
        pending.block()
        names.add(house.get(ROOT, "Manager", "Version", connection=connection) and "answered")
    assert names == {"answered"}
    assert value(house, "certbroker_requests_total", operation="ImportCertificate", source="", outcome="BadBundle") + \
        value_or_zero(house, "LimitExceeded") == 40
    assert value_or_zero(house, "LimitExceeded") == 0


def value_or_zero(broker, outcome):
    try:
        return value(broker, "certbroker_requests_total", operation="ImportCertificate", source="", outcome=outcome)
    except KeyError:
        return 0


def start_with_bus(house, of_bus):
    """With a bus that has this in its configuration as well."""
    house.stop_bus()
    config = BUS_CONFIG.replace("</busconfig>", of_bus + "</busconfig>")
    house.start_bus(config=config.format(folder=house.folder))
    return house.start()


def patience(n):
    """So much of what we sent may be unread, and the bus reads us no more. It is 127 MiB else."""
    return f'<limit name="max_incoming_bytes">{n}</limit>'


def pings(house, n):
    for _ in range(n):
        house.call(ROOT, PEER, "Ping", connection=house.connect())


def reached(house, standing):
    return value(house, "certbroker_limit_reached_total", limit="bytes on the bus", standing=standing)


def offer_unread(connection, n):
    """Calls whose answers stay in the bus. What is sent is with the bus when this returns; a few answers may be read."""
    for _ in range(n):
        connection.send_message(dbus.lowlevel.MethodCallMessage(NAME, ROOT, INTROSPECTABLE, "Introspect"))
    connection.flush()


def test_strangers_who_do_not_read_on_the_bus(house):
    """They are left without answers before the bus has had enough of us: nobody else notices."""
    start_with_bus(house, patience(16000000))
    with crowds.crowds((bus_of(house), "nobody", 20, *INTROSPECT)):
        wait_until(lambda: reached(house, "stranger") > 0, "the limit of strangers", 30)
        pings(house, 20)
    assert "message bus is lost" not in house.log_text()


def test_who_does_not_read_on_the_bus_costs_only_himself(house):
    """Somebody with a grant: the bus has of him what he may have, and the others are answered."""
    start_with_bus(house, patience(64000000))
    with crowds.crowds((bus_of(house), "www-data", 20, *INTROSPECT)):
        wait_until(lambda: reached(house, "named") > 0, "the limit of one client", 60)
        pings(house, 20)
        most = 32 * 1024 * 1024
        used = value(house, "certbroker_limit_used", limit="bytes on the bus", standing="named")
        assert most / 2 < used <= most
    assert "message bus is lost" not in house.log_text()
    wait_until(lambda: value(house, "certbroker_limit_used", limit="bytes on the bus", standing="named") == 0,
               "what he had is given back with his connections")


def test_who_reads_on_the_bus_is_refused_nothing(house):
    """Far more than may be unread."""
    house.start()
    n = 48 * 1024 * 1024 // len(house.call(ROOT, INTROSPECTABLE, "Introspect"))
    assert one_by_one(bus_of(house), "www-data", n, "ask", *INTROSPECT[1:])[3] == 0
    assert reached(house, "named") == 0


def test_a_bus_that_does_not_tell(house):
    """What its clients have not read: it is said once, and all are answered."""
    start_with_bus(house, """<policy context="mandatory">
        <deny send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Debug.Stats"/></policy>""")
    for _ in range(100):
        assert house.call(ROOT, INTROSPECTABLE, "Introspect")
    assert house.log_text().count("does not answer org.freedesktop.DBus.Debug.Stats") == 1
    assert value(house, "certbroker_limit_used", limit="bytes on the bus", standing="owner") == 0


def test_a_bus_that_is_stuck(house):
    """It has had enough of us, and keeps our name: it is left, joined anew, and answers; the channel does all the while."""
    start_with_bus(house, patience(1000000))
    house.import_new("client")
    before = resident(house)
    unread = house.connect()
    offer_unread(unread, 1000)

    def is_left():
        assert signatures(socket_of(house), n=20)[3] == 0
        return "the message bus is lost (it takes no answers)" in house.log_text()

    wait_until(is_left, "the stuck bus is left", 20)
    wait_until(lambda: house.log_text().count("certbrokerd: ready") == 2, "the bus is joined anew", 20)
    pings(house, 20)
    assert SANITIZED or resident(house) - before < 64 * 1024
    assert house.log_text().count("message bus is lost (it takes no answers)") == 1
    unread.close()


def test_a_bus_that_is_stopped(house):
    """To leave it would not make it faster: what waits for it is there when it goes on, and the channel does meanwhile."""
    house.start()
    house.import_new("client")
    connection = house.connect()
    offer_unread(connection, 1000)
    house.bus_daemon.send_signal(signal.SIGSTOP)
    try:
        end = time.monotonic() + 4
        while time.monotonic() < end:
            assert signatures(socket_of(house), n=20)[3] == 0
    finally:
        house.bus_daemon.send_signal(signal.SIGCONT)
    house.call(ROOT, PEER, "Ping", connection=connection)  # behind the others' answers
    pings(house, 5)
    assert "message bus is lost" not in house.log_text()
    connection.close()


# the log

def test_refusals_do_not_fill_the_log(house):
    """Whatever others try, and however often: a line a kind, and none for each."""
    house.start(ready=None)
    before = len(house.log_text().splitlines())
    with crowds.crowds((socket_of(house), "nobody", 600, *INTROSPECT),
                       (socket_of(house), "nobody", 100, "flood", certificate_path("x"), "a.b", "C"),
                       (socket_of(house), "nobody", 1, "connects")):
        time.sleep(1)
    assert len(house.log_text().splitlines()) - before <= 10, house.log_text()
