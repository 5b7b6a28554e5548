# SPDX-License-Identifier: Apache-2.0
"""Answers and signals that say they are the bus's: believed only where the bus says the same."""

import pwd
import subprocess

import pytest

import forging
from broker import NAME, PEER, PYTHON, ROOT, die_with_parent
from test_channel import addresses, peer
from test_grants import get, sign, words


@pytest.fixture
def lied_to(stopped, root):
    """certbrokerd's bus is a liar's; everybody else's is the true one."""
    liar = forging.Liar(stopped.folder / "liar", stopped.bus_address)
    stopped.daemon_arguments = ["--bus", f"unix:path={stopped.folder}/liar"]
    stopped.start()
    # the liar passes no descriptors on
    stopped.import_new("client", connection=peer(addresses(stopped)[0]))
    stopped.liar = liar
    yield stopped
    liar.close()


def test_who_is_calling(lied_to):
    """Somebody else's answer says that the caller is root: he gets no more than he had."""
    def lie(serial, message):
        return forging.credentials(serial, ":1.0", 0) if b"GetConnectionCredentials" in message else b""
    lied_to.liar.lie = lie
    assert words(lied_to.as_user("nobody", sign("client"), get("client"))) == ["NotFound", "NotFound"]
    assert lied_to.liar.n_lies > 0
    # and he who is root goes on being root
    fresh = lied_to.connect()
    assert lied_to.certificate_properties("client", connection=fresh)["Id"] == "client"


def test_signals_of_somebody_else(lied_to):
    """Neither the broker's name nor a caller is gone because somebody says so."""
    caller = lied_to.connect()
    lied_to.call(ROOT, PEER, "Ping", connection=caller)
    name = caller.get_unique_name()

    def lie(serial, message):
        return forging.name_lost(NAME, ":1.0") + forging.owner_gone(name, ":1.0")
    lied_to.liar.lie = lie
    for _ in range(3):
        lied_to.sign("client", "ecdsa-sha256", bytes(32), connection=caller)
        lied_to.sign("client", "ecdsa-sha256", bytes(32), connection=lied_to.connect())
    assert lied_to.liar.n_lies > 0 and lied_to.daemon.poll() is None


def test_name_that_somebody_else_grants(stopped, root):
    """The answer to Hello and RequestName, likewise: the true one counts, and comes."""
    liar = forging.Liar(stopped.folder / "liar", stopped.bus_address)

    def lie(serial, message):
        if b"RequestName" in message:
            return forging.reply(serial, ":1.0", "u", b"\x03\0\0\0")  # another has it
        if b"Hello" in message:
            return forging.reply(serial, ":1.0", "s", forging.string(":1.0"))
        return b""
    liar.lie = lie
    stopped.daemon_arguments = ["--bus", f"unix:path={stopped.folder}/liar"]
    stopped.start(ready=None)
    assert liar.n_lies >= 2
    stopped.call(ROOT, PEER, "Ping")
    liar.close()


SQUATTER = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind("\\0" + sys.argv[1])
s.listen(8)
print("ready", flush=True)
heard = b""
s.settimeout(30)
while True:
    c, _ = s.accept()
    got = c.recv(4096)
    print("heard" if got else "nothing", flush=True)
    c.close()
"""


def test_bus_of_another_user(stopped, root):
    """Who runs the bus says who its callers are: nobody's bus is none, and is told nothing."""
    name = f"{stopped.folder}/squatted"
    squatter = subprocess.Popen(["setpriv", "--reuid=nobody", "--clear-groups", PYTHON, "-c", SQUATTER, name],
                                stdout=subprocess.PIPE, preexec_fn=die_with_parent)
    assert squatter.stdout.readline() == b"ready\n"
    stopped.daemon_arguments = ["--bus", f"unix:abstract={name}"]
    process = stopped.spawn()
    assert process.wait(10) == 69
    assert f"is run by uid {pwd.getpwnam('nobody').pw_uid}" in stopped.log_text()
    assert squatter.stdout.readline() == b"nothing\n"
    squatter.kill()
    squatter.communicate()
