# SPDX-License-Identifier: Apache-2.0
"""A gateway that starts at a bad moment: who is busy for a while is waited for, and a bus that is stuck is gone around."""

import contextlib
import signal
import socket
import subprocess
import time

import pytest

from broker import MODULES, PATIENCE, ROOT, die_with_parent


@pytest.fixture
def key(broker):
    broker.import_new("client")
    (broker.folder / "key.pem").write_bytes(broker.cli("certificate", "key", "client").stdout)
    (broker.folder / "message").write_bytes(b"to be signed\n")
    return broker


def start(broker, bus, before=(), **environment):
    return subprocess.Popen(
        [*before, "openssl", "dgst", "-sha256", "-sign", broker.folder / "key.pem", "-out", broker.folder / "signature",
         broker.folder / "message"], env={**broker.foreign_environment(OPENSSL_MODULES=MODULES, **environment),
                                          "CERTBROKER_BUS": bus},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent)


def expect_success(program):
    output, _ = program.communicate(timeout=20 * PATIENCE)
    assert program.returncode == 0, output


@contextlib.contextmanager
def standing_still(process):
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("who, way", [("daemon", "bus"), ("daemon", "channel"), ("bus_daemon", "bus")])
def test_a_second_is_waited_for(key, who, way):
    """Of the broker or the bus: a first connection has as long as an answer has."""
    bus = str(key.get(ROOT, "Manager", "ChannelAddress")) if way == "channel" else key.bus_address
    with standing_still(getattr(key, who)):
        program = start(key, bus)
        time.sleep(1)
        assert program.poll() is None, program.stdout.read()
    expect_success(program)


def fill_queue(path):
    """Until the socket's queue has no room for anybody: those who are in it."""
    there = []
    while True:
        there.append(socket.socket(socket.AF_UNIX))
        there[-1].setblocking(False)
        try:
            there[-1].connect(path)
        except BlockingIOError:
            return there


def test_a_full_queue_is_waited_for(key):
    path = str(key.runtime / "channel")
    with standing_still(key.daemon):
        there = fill_queue(path)
        program = start(key, f"unix:path={path}")
        time.sleep(1)
        assert program.poll() is None, program.stdout.read()
        for connection in there:
            connection.close()  # they stay in the queue until somebody looks
    expect_success(program)


def usual_channel(broker):
    """Before a command: the broker's runtime directory is at its usual place, where only this command sees it."""
    return ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && mkdir /run/certbroker && '
            f'mount --bind {broker.runtime} /run/certbroker && exec "$@"', "sh")


def test_a_system_bus_that_is_stuck(key, root):
    with standing_still(key.bus_daemon):
        expect_success(start(key, "system", before=usual_channel(key), DBUS_SYSTEM_BUS_ADDRESS=key.bus_address))


def test_a_broker_that_is_busy_behind_a_system_bus(key, root):
    """With a channel at its usual place, and without."""
    with standing_still(key.daemon):
        programs = [start(key, "system", before=before, DBUS_SYSTEM_BUS_ADDRESS=key.bus_address)
                    for before in (usual_channel(key), ())]
        time.sleep(1)
        assert [program.poll() for program in programs] == [None, None]
    for program in programs:
        expect_success(program)


def test_a_broker_that_is_started_again(key, root):
    """By its unit, which keeps the runtime directory for as long: who asks meanwhile waits. Of one that was stopped it is gone."""
    def program():
        return start(key, "system", before=usual_channel(key), DBUS_SYSTEM_BUS_ADDRESS=key.bus_address)

    key.kill()
    waiting = program()
    time.sleep(1)
    assert waiting.poll() is None, waiting.stdout.read()
    key.start()
    expect_success(waiting)

    key.kill()
    (key.runtime / "channel.lock").unlink()
    output, _ = program().communicate(timeout=20 * PATIENCE)
    assert "not running" in output, output
