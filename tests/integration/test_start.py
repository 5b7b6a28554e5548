# SPDX-License-Identifier: Apache-2.0
"""Nothing that another user can make keeps certbrokerd from starting."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess


from broker import PYTHON, ROOT, PEER, die_with_parent, wait_until
from test_channel import addresses, peer

NOBODY = pwd.getpwnam("nobody")


@contextlib.contextmanager
def as_nobody(code, *arguments):
    """Runs Python as nobody until the block ends; the code says `ready` when it has done what it does."""
    process = subprocess.Popen(["setpriv", "--reuid=nobody", "--clear-groups", PYTHON, "-c", code,
                                *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               preexec_fn=die_with_parent)
    assert process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.communicate()


ABSTRACT = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind("\\0" + sys.argv[1])
s.listen(1)
print("ready", flush=True)
sys.stdin.read()
"""


def test_abstract_address_that_is_taken(stopped, root):
    """By a squatter, before the start: the channel is the path alone, and says so; three starts in a row."""
    with as_nobody(ABSTRACT, stopped.runtime / "channel"):
        for _ in range(3):
            stopped.start(ready=None)
            assert addresses(stopped) == [f"unix:path={stopped.runtime}/channel"]
            peer(addresses(stopped)[0]).call_blocking(None, ROOT, PEER, "Ping", "", ())
            stopped.stop()
        assert "abstract" in stopped.log_text() and "chroot" in stopped.log_text()
        stopped.start(ready=None)
        channel = peer(addresses(stopped)[0])
        assert stopped.get(ROOT, "Manager", "ChannelAddress", connection=channel) == addresses(stopped)[0]


def test_abstract_address_that_comes_free(stopped, root):
    """It is taken then, and clients are told."""
    from conftest import Signals
    with as_nobody(ABSTRACT, stopped.runtime / "channel"):
        stopped.start(ready=None)
        told = Signals(stopped)
        assert len(addresses(stopped)) == 1
    wait_until(lambda: len(addresses(stopped)) == 2, "both addresses", 40)
    [changed] = told.wait("PropertiesChanged", ROOT)
    assert changed[3][1]["ChannelAddress"] == ";".join(addresses(stopped))
    peer(addresses(stopped)[1]).call_blocking(None, ROOT, PEER, "Ping", "", ())


def make_file(path):
    path.write_text("in the way")


def make_folder(path):
    path.mkdir()


def make_full_folder(path):
    path.mkdir()
    (path / "something").write_text("of nobody's")


def make_fifo(path):
    os.mkfifo(path)


def make_link(path):
    path.symlink_to("/etc/passwd")


def make_dangling_link(path):
    path.symlink_to(path.parent / "nowhere" / "x")


def make_dead_socket(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


OBSTACLES = (make_file, make_folder, make_full_folder, make_fifo, make_link, make_dangling_link, make_dead_socket)


def test_what_lies_in_the_way(stopped, root):
    """Of nobody's, made while the directories were open to all: the socket, and the files that lock."""
    passwd = pathlib.Path("/etc/passwd").read_bytes()
    for make in OBSTACLES:
        for folder, name in ((stopped.runtime, "channel"), (stopped.runtime, "channel.lock"),
                             (stopped.state, "broker.lock"), (stopped.state, "lock")):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder / name)
            os.chown(folder / name, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
        stopped.start(ready=None)
        peer(addresses(stopped)[0]).call_blocking(None, ROOT, PEER, "Ping", "", ())
        stopped.stop()
    assert pathlib.Path("/etc/passwd").read_bytes() == passwd


FLOCK = """
import fcntl, os, sys
fds = []
for name in sys.argv[1:]:
    fds.append(os.open(name, os.O_RDONLY))
    fcntl.flock(fds[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
print("ready", flush=True)
sys.stdin.read()
"""


def test_directories_that_others_lock(stopped, root):
    """Who may enter a directory may lock it, and goes on holding that when it is closed to him."""
    for folder in (stopped.state, stopped.runtime):
        folder.chmod(0o755)
    for name in (stopped.runtime / "channel.lock", stopped.state / "broker.lock", stopped.state / "lock"):
        name.touch(mode=0o644)
        os.chown(name, NOBODY.pw_uid, NOBODY.pw_gid)
    with as_nobody(FLOCK, stopped.state, stopped.runtime, stopped.runtime / "channel.lock",
                   stopped.state / "broker.lock", stopped.state / "lock"):
        stopped.start(ready=None)
        stopped.call(ROOT, PEER, "Ping")
        stopped.stop()


def test_one_broker_to_a_directory(stopped):
    """What another user holds does not count; another certbrokerd does."""
    stopped.start(ready=None)
    other = stopped.folder / "other"
    other.mkdir()
    text = stopped.config.read_text()
    for old, new in ((str(stopped.state), str(other)), (str(stopped.runtime), str(other))):
        stopped.config.write_text(text.replace(old, new))
        process = stopped.spawn()
        assert process.wait(10) == 69, stopped.log_text()
    assert "another certbrokerd has the directory" in stopped.log_text()
    stopped.config.write_text(text)
    stopped.call(ROOT, PEER, "Ping")
