# SPDX-License-Identifier: Apache-2.0
"""Who would pass for another: root of his own namespace, who is gone before he is asked after, who reopens what he was given."""

import json
import os
import shutil
import subprocess

import pytest

from broker import GRANT_ALL, HERE, ME, PATIENCE, PYTHON, certificate_path, die_with_parent
from test_channel import path_of

DISABLE = """
import dbus.bus, dbus.lowlevel, sys
message = dbus.lowlevel.MethodCallMessage("org.certbroker1", sys.argv[2], "org.certbroker1.Certificate", "SetEnabled")
message.append(False, signature="b")
for _ in range(int(sys.argv[3])):
    connection = dbus.bus.BusConnection(sys.argv[1])
    connection.send_message(message)
    connection.flush()
    connection.close()
"""
NAMESPACE = """
import os, random, re, socket, sys
sys.path.insert(0, ".")
from rawfuzz import header
print(os.getuid())
for claim in (" 30", ""):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    s.connect(sys.argv[1])
    s.sendall(b"\\0AUTH EXTERNAL" + claim.encode() + b"\\r\\n")
    answer = s.recv(4096)
    if answer.startswith(b"DATA"):
        s.sendall(b"DATA\\r\\n")
        answer = s.recv(4096)
    print(answer.split()[0].decode())
fields = [(1, "o", sys.argv[2]), (2, "s", "org.freedesktop.DBus.Introspectable"), (3, "s", "Introspect")]
message = bytearray(header(random.Random(1), "<", 1, fields, 0))
message[2] = 0  # an answer is wanted
s.sendall(b"BEGIN\\r\\n" + message)
print(re.search(rb"org.certbroker1.Error.(\\w+)", s.recv(4096))[1].decode())
"""
REOPEN = """
import dbus.bus, os, sys
connection = dbus.bus.BusConnection(sys.argv[1])
fd, seq, _ = connection.call_blocking("org.certbroker1", "/org/certbroker1", "org.certbroker1.Manager", "OpenAudit", "", ())
fd = fd.take()
for flags in (os.O_RDWR, os.O_WRONLY | os.O_APPEND, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY):
    try:
        os.open(f"/proc/self/fd/{fd}", flags)
        print("opened", flags)
    except PermissionError:
        pass
for change in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 0), lambda: os.fchmod(fd, 0o666)):
    try:
        change()
        print("changed")
    except OSError:
        pass
print(len(os.read(fd, 1 << 20).splitlines()) - int(seq))
"""


@pytest.fixture
def house(stopped, root):
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
      watch = { user = "games"; allow = "audit"; };
    """)
    stopped.start()
    stopped.import_new("client")
    return stopped


def run_as(broker, user, script, *arguments):
    done = subprocess.run(["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", PYTHON, "-c", script,
                           broker.bus_address, *arguments], cwd="/", capture_output=True, text=True, check=False, timeout=60 * PATIENCE,
                          preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_root_of_a_user_namespace_is_not_root(house):
    """Its word for uid 0 is refused; without a word it is who the kernel says, which is its own user outside."""
    shutil.copy(HERE / "rawfuzz.py", house.folder / "rawfuzz.py")
    (house.folder / "rawfuzz.py").chmod(0o644)
    done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "unshare", "--user",
                           "--map-root-user", PYTHON, "-B", "-c", NAMESPACE, path_of(house), certificate_path("client")],
                          cwd=house.folder, capture_output=True, text=True, check=False, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "REJECTED", "OK", "NotFound"]


def test_who_is_gone_before_the_bus_tells_is_nobody(house):
    """The bus knows nothing of a connection that has ended: that is a refusal, and not a caller without a uid."""
    files = len(os.listdir(f"/proc/{house.daemon.pid}/fd"))
    run_as(house, "nobody", DISABLE, certificate_path("client"), "300")
    assert house.certificate_properties("client")["State"] == "active"
    records = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    assert [r for r in records if r["event"] == "SetEnabled" and r["result"] == "ok"] == []
    assert len(os.listdir(f"/proc/{house.daemon.pid}/fd")) <= files + 2


def test_a_handed_out_log_is_for_reading_alone(house):
    """Neither changed through the descriptor, nor opened again through /proc."""
    assert run_as(house, "games", REOPEN) == "0\n"
