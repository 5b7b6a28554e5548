# SPDX-License-Identifier: Apache-2.0
"""Nothing that another user can make keeps certbrokerd from starting."""

import contextlib
import ctypes
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess


from broker import NAME, PATIENCE, PYTHON, ROOT, PEER, die_with_parent, wait_until
from test_apart import grown
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


def test_a_start_that_fails_says_why(stopped):
    """Whatever it is that there was no descriptor for: an error with a reason in it, and never a line without one."""
    ends = 0
    for files in range(4, 64):
        stopped.log.unlink(missing_ok=True)
        process = stopped.spawn(command=["prlimit", f"--nofile={files}"])
        wait_until(lambda: process.poll() is not None or "ready" in stopped.log_text(), "an end or a beginning")
        if process.poll() is None:
            process.terminate()
            process.wait(10)
            break
        ends += 1
        assert process.returncode in (69, 70, 78), (files, process.returncode)
        assert re.search(r"error: .*[Tt]oo many|error: .*unable to open|error: .*busy", stopped.log_text()), \
            (files, stopped.log_text())
    assert ends > 5 and process.returncode == 0


# ptrace(2), of one thread
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())


def test_watchdog_is_fed_by_the_loop(stopped, root):
    """By it alone: systemd hears nothing while it stands, though every other thread goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        def fed():
            with contextlib.suppress(socket.timeout):
                while b"WATCHDOG=1" not in notify.recv(4096):
                    pass
                return True
            return False

        notify.bind(str(stopped.folder / "watchdog"))
        notify.settimeout(0.1)
        stopped.daemon = stopped.spawn(env=stopped.environment(
            NOTIFY_SOCKET=stopped.folder / "watchdog", WATCHDOG_USEC=1000000))
        wait_until(lambda: stopped.connection.name_has_owner(NAME), "the name")
        stopped.manager("Reload")  # it has a record: what writes that is a thread
        assert len(os.listdir(f"/proc/{stopped.daemon.pid}/task")) > 1
        ptrace(SEIZE, stopped.daemon.pid)  # of the threads only the first, which is the loop's
        ptrace(INTERRUPT, stopped.daemon.pid)
        os.waitpid(stopped.daemon.pid, 0x40000000)  # __WALL
        while fed():
            pass
        notify.settimeout(2)  # twice what systemd would wait for
        assert not fed()
        ptrace(DETACH, stopped.daemon.pid)
        wait_until(fed, "it is fed again")


def test_a_long_start_says_that_it_goes_on(stopped):
    """systemd waits for it as long as it loads certificates; and READY=1 comes when all of them can be had."""
    stopped.start()
    grown(stopped, 600, 1, 0)
    stopped.stop()
    path, said = stopped.folder / "told", []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(20 * PATIENCE)
        stopped.daemon = stopped.spawn(env=stopped.environment(NOTIFY_SOCKET=path))
        while b"READY=1" not in said:
            said.append(notify.recv(4096))
    assert said == [b"EXTEND_TIMEOUT_USEC=30000000"] * 3 + [b"READY=1"]
    assert len(stopped.manager("ListCertificates", "su", "", 1000, connection=stopped.connect())) == 600
