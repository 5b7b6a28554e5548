# SPDX-License-Identifier: Apache-2.0
"""Where the command line's files go: into new files, whatever others have put there, or to its own descriptors."""

import fcntl
import os
import pathlib
import pty
import pwd
import shutil
import stat
import subprocess
import termios

import pytest

from broker import CLI, PATIENCE, PYTHON, die_with_parent, wait_until

STRANGER = "games"
TOP = pathlib.Path(__file__).resolve().parents[2]

# Plants what it is told, and says, when a line comes, what it could read of it: PLANTER FOLDER VICTIM
PLANTER = """
import os, socket, stat, sys
folder, victim = sys.argv[1:]
os.umask(0)
at = lambda name: os.path.join(folder, name)
os.mkfifo(at("fifo"), 0o666)
os.mkfifo(at("hidden-fifo"), 0o666)
os.symlink("hidden-fifo", at("link-to-fifo"))
os.symlink(victim, at("link-to-victim"))
os.symlink(at("not-there"), at("link-to-nothing"))
os.symlink(at("link-to-itself"), at("link-to-itself"))
open(at("file"), "w").write("")
server = socket.socket(socket.AF_UNIX)
server.bind(at("socket"))
server.listen(8)
server.setblocking(False)
held = {name: os.open(at(name), os.O_RDONLY | os.O_NONBLOCK) for name in ("fifo", "hidden-fifo", "file")}
print("planted", flush=True)
sys.stdin.readline()
def read(fd):
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""
got = {name: read(fd) for name, fd in held.items()}
try:
    server.accept()
    got["socket"] = b"connected"
except BlockingIOError:
    pass
got["not-there"] = b"made" if os.path.exists(at("not-there")) else b""
print({name: data for name, data in got.items() if data}, flush=True)
"""
PLANTS = ["fifo", "link-to-fifo", "link-to-victim", "link-to-nothing", "link-to-itself", "file", "socket"]


@pytest.fixture
def files(broker, root):
    """A broker with an exportable certificate, and a folder that everybody may write into, as /tmp."""
    broker.import_new("client", "rsa-2048", extractable=True)
    broker.create_backend("orders", "client")
    broker.configure(grants="""
      everything = { user = "root"; allow = [ "manage", "use", "export" ]; certificate = "*"; backend = "*"; };
    """)
    broker.manager("Reload")
    broker.shared = broker.folder / "shared"
    broker.shared.mkdir()
    broker.shared.chmod(0o1777)
    (broker.folder / "empty").write_bytes(b"")
    (broker.folder / "victim").write_text("of root")
    return broker


def commands(broker):
    """Each with what its file begins with, and its mode."""
    return {
        "export": (("certificate", "export", "client", "--format", "pem", "--passphrase-file", broker.folder / "empty"),
                   b"-----BEGIN ", 0o600),
        "request": (("certificate", "request", "client", "--subject", "CN=x"), b"-----BEGIN CERTIFICATE REQUEST", 0o644),
        "chain": (("certificate", "chain", "client"), b"-----BEGIN CERTIFICATE-", 0o644),
        "key": (("certificate", "key", "client"), b"Reference to the private key", 0o640),
        "sign": (("certificate", "sign", "client", "--algorithm", "rsa-pkcs1-sha256", "--in", broker.folder / "empty"),
                 b"", 0o644),
        "backup": (("backup", "--state-directory", broker.state), b"SQLite format 3", 0o600),
    }


def run(broker, *arguments, status=0, command=(), **how):
    done = subprocess.run([*command, str(CLI), "--bus", broker.bus_address, *[str(a) for a in arguments]],
                          env=broker.environment(), capture_output=True, check=False, timeout=30 * PATIENCE, **how)
    assert done.returncode == status, (arguments, done)
    return done


class Plants:
    def __init__(self, broker, name):
        self.folder = broker.shared / name
        self.folder.mkdir()
        self.folder.chmod(0o1777)
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={STRANGER}", "--clear-groups", PYTHON, "-c", PLANTER, str(self.folder),
             str(broker.folder / "victim")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert self.process.stdout.readline() == b"planted\n"

    def harvest(self):
        out, _ = self.process.communicate(b"\n", timeout=20)
        return out


def check_made(path, begin, mode):
    st = os.lstat(path)
    assert stat.S_ISREG(st.st_mode) and st.st_uid == 0 and stat.S_IMODE(st.st_mode) == mode, (path, st)
    assert path.read_bytes().startswith(begin) and st.st_size > 100, path


def test_nothing_goes_where_another_has_planted(files):
    """A FIFO, a socket, a link, a file of his: replaced, and he reads nothing of what root writes."""
    for name, (command, begin, mode) in commands(files).items():
        plants = Plants(files, name)
        for plant in PLANTS:
            target = plants.folder / plant
            run(files, *command, *([target] if name == "backup" else ["-o", target]))
            check_made(target, begin, mode)
        assert plants.harvest() == b"{}\n", name
        assert (files.folder / "victim").read_text() == "of root", name
        left = {p.name for p in plants.folder.iterdir()} - set(PLANTS) - {"hidden-fifo"}
        assert not left, left


def test_watch_writes_where_another_has_planted(files):
    """The files of `backend watch` are made anew as well."""
    plants = Plants(files, "watch")
    for names in (("fifo", "link-to-victim", "link-to-fifo"), ("socket", "file", "link-to-nothing")):
        chain, key, conf = [plants.folder / name for name in names]
        process = subprocess.Popen(
            [str(CLI), "--bus", files.bus_address, "backend", "watch", "orders", "--chain", chain, "--key", key, "--conf",
             conf, "--for", "nginx"], env=files.environment(), stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        assert b"written" in process.stdout.readline()
        process.terminate()
        assert process.wait(10 * PATIENCE) == 0
        check_made(chain, b"-----BEGIN CERTIFICATE", 0o644)
        check_made(key, b"Reference", 0o644)
        check_made(conf, b"# Written", 0o644)
    assert plants.harvest() == b"{}\n"
    assert (files.folder / "victim").read_text() == "of root"


OWN = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stdout", "//dev//stdout"]


def test_own_descriptors(files):
    """Standard output by any of its names, and what a shell opens for >( )."""
    chain = run(files, "certificate", "chain", "client").stdout
    assert chain.startswith(b"-----BEGIN CERTIFICATE")
    for name in OWN:
        assert run(files, "certificate", "chain", "client", "-o", name).stdout == chain, name
    assert run(files, "certificate", "chain", "client", "-o", "stdout", cwd="/dev").stdout == chain
    assert run(files, "certificate", "chain", "client", "-o", "/dev/stderr").stderr == chain
    # of export nothing but what is exported
    exported = run(files, *commands(files)["export"][0], "-o", "/dev/stdout").stdout
    assert exported.startswith(b"-----BEGIN ") and exported.endswith(b"-----\n") and b"PRIVATE KEY" in exported
    run(files, *commands(files)["export"][0], "-o", "-", status=2)

    out = files.folder / "out"
    line = f"{CLI} --bus '{files.bus_address}' certificate chain client -o"
    for redirected in (f"{line} >(cat >{out})", f"{line} /dev/fd/7 7>{out}", f"echo before >{out}; {line} /dev/stdout >>{out}"):
        out.unlink(missing_ok=True)
        subprocess.run(["bash", "-c", redirected], env=files.environment(), check=True)
        expected = b"before\n" + chain if "before" in redirected else chain
        wait_until(lambda e=expected: out.exists() and out.read_bytes() == e, redirected, 5)
    assert stat.S_ISLNK(os.lstat("/dev/stdout").st_mode)


def test_no_descriptor_of_its_own(files):
    """A number that was not handed over is none, though the program has opened something under it."""
    for fd in range(3, 20):
        done = run(files, *commands(files)["export"][0], "-o", f"/dev/fd/{fd}", status=1)
        assert b"Bad file descriptor" in done.stderr
    # nor does what is opened take the place of a closed standard stream
    line = f"{CLI} --bus '{files.bus_address}' certificate chain client"
    for redirected in (f"{line} >&-", f"{line} -o /dev/stdout >&-", f"{line} <&- >&-"):
        done = subprocess.run(["bash", "-c", redirected], env=files.environment(), capture_output=True, check=False)
        assert done.returncode == 1 and b"cannot be written" in done.stderr, done
    files.sign("client", "rsa-pkcs1-sha256", bytes(32))


def test_devices(files):
    """The null device and one's own terminal are written to; no device is replaced, or any other written to."""
    export = commands(files)["export"][0]
    run(files, *export, "-o", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    full, block = files.folder / "full", files.folder / "block"
    os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    os.mknod(block, stat.S_IFBLK | 0o666, os.makedev(7, 200))
    for target in (full, block):
        for command in (*[c for name, (c, _, _) in commands(files).items() if name != "backup"],):
            assert b"device" in run(files, *command, "-o", target, status=1).stderr
        assert b"device" in run(files, "backup", "--state-directory", files.state, target, status=1).stderr
        assert not stat.S_ISREG(os.lstat(target).st_mode)
    assert b"device" in run(files, "backup", "--state-directory", files.state, "/dev/stdout", status=1).stderr
    run(files, *export, "-o", files.shared, status=1)
    run(files, *export, "-o", f"{files.shared}/", status=1)
    assert list(files.shared.iterdir()) == []


def on_terminal(broker, slave, *command):
    def take_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return subprocess.run([str(CLI), "--bus", broker.bus_address, *[str(c) for c in command]], env=broker.environment(),
                          stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=take_terminal, check=False)


def test_terminals(files):
    """One's own, by its name or as /dev/tty; somebody else's is a device like any other."""
    master, slave = pty.openpty()
    _, other = pty.openpty()
    chain = run(files, "certificate", "chain", "client").stdout
    for name in ("/dev/tty", os.ttyname(slave)):
        done = on_terminal(files, slave, "certificate", "chain", "client", "-o", name)
        assert done.returncode == 0, done
        shown = b""
        while len(shown.replace(b"\r\n", b"\n")) < len(chain):
            shown += os.read(master, 65536)
        assert shown.replace(b"\r\n", b"\n") == chain
    done = on_terminal(files, slave, "certificate", "chain", "client", "-o", os.ttyname(other))
    assert done.returncode == 1 and b"device" in done.stderr


def test_long_names(files):
    """As long as a file's name may be."""
    target = files.folder / ("x" * 255)
    run(files, "certificate", "chain", "client", "-o", target)
    check_made(target, b"-----BEGIN", 0o644)


@pytest.mark.parametrize("plant", ["link", "folder"])
def test_quickstart_in_a_folder_of_others(folder, root, plant):
    """Below a closed folder it works in /var/tmp, under a name that anybody may take first: and would end the processes
    of his list, remove what his link leads to, and run what he puts there."""
    private, shared, victim = folder / "private", folder / "var-tmp", folder / "victim"
    for path in private, shared, victim, victim / "demo":
        path.mkdir()
    private.chmod(0o700)
    shared.chmod(0o1777)
    shutil.copy(TOP / "quickstart", private)
    name = shared / "certbroker-quickstart"
    if plant == "link":
        name.symlink_to(victim)
    else:
        (name / "demo").mkdir(parents=True)
    uid = pwd.getpwnam(STRANGER).pw_uid
    os.chown(name, uid, uid, follow_symlinks=False)
    script = 'mount --bind "$1" /var/tmp && exec "$2" --stop'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", shared, private / "quickstart"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "/var/tmp/certbroker-quickstart is not a folder that root alone" in done.stderr, done
    assert (victim / "demo").exists() and (name.is_symlink() or (name / "demo").exists())
    name.unlink() if plant == "link" else shutil.rmtree(name)
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", shared, private / "quickstart"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
