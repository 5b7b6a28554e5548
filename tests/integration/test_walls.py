# SPDX-License-Identifier: Apache-2.0
"""What a source's process can do once a vendor's module in it has been taken over (p11hostile.c tries), what certbrokerd
itself can do, and whose end is whose."""

import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from broker import HELPER, PIN, PYTHON, SOFTHSM, wait_until

# What works, and has to: what a module lives on.
NEEDED = {"own-source", "own-tokens", "own-pin", "elsewhere", "unix", "kill-itself", "own-limit"}
# What only Landlock keeps away, and what only newer kernels' Landlock does.
FILES = {"write-audit", "read-audit", "truncate-audit", "rename-audit", "link-audit", "write-store", "make-state",
         "list-state", "other-source", "remove-channel", "other-pin", "list-credentials"}
ABSTRACT = {"connect-abstract"}
FAMILIES = {"inet", "inet6", "inet-upper", "packet", "alg", "vsock", "unknown-family"}


def landlock():
    """The version of the kernel's Landlock; 0: it has none."""
    return max(0, ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)))


# Takes system calls away from a program, as kernels and containers do that do not have them.
WITHOUT = """
import ctypes, os, sys
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
filter = ctypes.c_void_p(lib.seccomp_init(0x7fff0000))
for name in sys.argv[1].split(","):
    assert lib.seccomp_rule_add(filter, 0x50000 | 38, lib.seccomp_syscall_resolve_name(name.encode()), 0) == 0
assert lib.seccomp_load(filter) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def taken(stopped):
    """A broker with the source `hsm`, whose module is hostile, and another; tokens and state as the unit has them."""
    credentials = stopped.folder / "credentials"
    credentials.mkdir(mode=0o700)
    for name in ("hsm-pin", "other-pin"):
        (credentials / name).touch(0o400)
        (credentials / name).write_text(PIN)
    stopped.state.chmod(0o700)
    tokens = stopped.state / "tokens"
    tokens.mkdir()
    stopped.softhsm_conf.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    stopped.init_token("test")
    stopped.init_token("second")
    stopped.extra_environment.update(
        CREDENTIALS_DIRECTORY=str(credentials), P11HOSTILE_MODULE=SOFTHSM, P11HOSTILE_STATE=str(stopped.state),
        P11HOSTILE_RUNTIME=str(stopped.runtime), P11HOSTILE_AUDIT=f"{stopped.state}/audit.jsonl",
        P11HOSTILE_CREDENTIALS=str(credentials), P11HOSTILE_OTHER_PIN=f"{credentials}/other-pin",
        P11HOSTILE_OWN_PIN=f"{credentials}/hsm-pin", P11HOSTILE_ABSTRACT=f"{stopped.folder}/abstract")
    hostile = {"module": stopped.fault_module("p11hostile"), "pin-file": '"hsm-pin"'}
    stopped.configure(sources=stopped.source(**hostile) + stopped.source(
        "other", "pkcs11:token=second", **{"pin-file": '"other-pin"'}))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{stopped.folder}/abstract")
        listener.listen()
        yield stopped


def attack(broker):
    """Has the hostile module sign; what came of each of its tries."""
    broker.start()
    broker.wait_source("other", "ready")
    broker.import_new("victim", source="other")
    cert = broker.import_new("client")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    wait_until(lambda: "attacks are over" in broker.log_text(), "the attacks")
    broker.sign("victim", "ecdsa-sha256", bytes(32))
    assert cert
    return dict(re.findall(r"^attack (\S+): (\S+)$", broker.log_text(), re.MULTILINE))


def expect(results, open_for_it):
    """What worked is what has to, and this; what did not was refused by the walls, not by chance."""
    assert {name for name, result in results.items() if result == "done"} == NEEDED | open_for_it, results
    for name, result in results.items():
        if name in FILES:
            assert result in ("EACCES", "EXDEV", "done"), (name, result)
        elif name in FAMILIES:
            assert result in ("EAFNOSUPPORT", "done"), (name, result)
        elif name not in NEEDED | open_for_it:
            assert result == ("ENOSYS" if name == "clone3" else "EPERM"), (name, result)


def test_a_module_that_was_taken_over(taken):
    """It reaches neither the audit log, the store and other sources' secrets, nor other processes, nor a network."""
    results = attack(taken)
    version = landlock()
    warned = "the kernel has no Landlock" in taken.log_text()
    assert warned == (version == 0), "what is not kept away is said"
    expect(results, set() if version >= 6 else ABSTRACT if version else FILES | ABSTRACT)
    assert (taken.state / "audit.jsonl").exists() and (taken.runtime / "channel").exists()
    taken.restart()
    assert taken.list_ids() == ["client", "victim"]


def test_without_landlock(taken):
    """An older kernel: it is said, the source serves, and the rest of the walls stands."""
    taken.daemon_command = [PYTHON, "-c", WITHOUT, "landlock_create_ruleset"]
    results = attack(taken)
    assert "the kernel has no Landlock" in taken.log_text()
    # a hostile module has removed the channel's socket and renamed the log by now
    expect(results, FILES | ABSTRACT)


def test_without_filters(taken):
    """A container that has no seccomp to give: it is said, and the source serves."""
    taken.daemon_command = [PYTHON, "-c", WITHOUT, "seccomp,landlock_create_ruleset"]
    results = attack(taken)
    assert "this process is not kept from system calls" in taken.log_text()
    assert "certbrokerd is not kept from system calls" in taken.log_text()
    assert NEEDED | {"inet", "fork", "pidfd"} <= {name for name, result in results.items() if result == "done"}


def test_network_only_where_it_is_said(taken):
    """A token in the network needs `network = true`."""
    text = taken.config.read_text()
    taken.config.write_text(text.replace('module = "' + str(taken.folder), 'network = true;\n    module = "' + str(taken.folder)))
    results = attack(taken)
    assert {name for name in FAMILIES if results[name] == "done"} == {"inet", "inet6", "inet-upper"} | (
        {"vsock"} if results["vsock"] == "done" else set())


def is_gone(pid):
    try:
        state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def descriptors(pid):
    """The number of each, and what it is; without inodes."""
    return {int(link.name): re.sub(r"\d+", "N", os.readlink(link)) for link in pathlib.Path(f"/proc/{pid}/fd").iterdir()}


def test_certbrokerd_is_walled_in(broker):
    """It has put up a filter that the starter has not (what it refuses: test-filter.c), and starts nothing itself."""
    own, starter = status_of(broker.daemon.pid), status_of(broker.starter_pid())
    assert own["Seccomp"] == "2"
    assert int(own["Seccomp_filters"]) == int(starter["Seccomp_filters"]) + 1
    assert own["NoNewPrivs"] == starter["NoNewPrivs"] == "1"


def test_the_starter_has_nothing_of_anybodys(broker):
    """No descriptor but its own, whatever certbrokerd has open when a source is started; and so the source."""
    starter = broker.starter_pid()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(broker.runtime / "channel"))
        [pid] = broker.helper_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: broker.helper_pids() not in ([], [pid]), "another process")
        assert len(descriptors(broker.daemon.pid)) > 10
        broker.wait_source("hsm", "ready")  # while it is started its socket is the starter's, too
        own = descriptors(starter)
        assert own[0] == "/dev/null"
        assert sorted(what for fd, what in own.items() if fd > 2) == ["anon_inode:[signalfd]", "socket:[N]"]
    assert pathlib.Path(f"/proc/{starter}/comm").read_text() == "broker-starter\n"
    assert pathlib.Path(f"/proc/{starter}/cmdline").read_bytes().rstrip(b"\0") == b"certbrokerd: starter"


def test_a_source_that_was_killed_is_started_again(broker):
    """What it died of is told."""
    broker.import_new("client")
    [pid] = broker.helper_pids()
    starter = broker.starter_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "its process was killed by signal 9 (KILL)" in broker.log_text(), "its end")
    broker.wait_source("hsm", "ready")
    assert broker.helper_pids() != [pid] and broker.starter_pid() == starter
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_without_its_starter_certbrokerd_ends(broker):
    """It says why, with the status for which it is started anew; nothing is left."""
    pids = broker.helper_pids()
    os.kill(broker.starter_pid(), signal.SIGKILL)
    assert broker.daemon.wait(20) == 70
    broker.daemon = None
    assert "the process that starts the sources' has ended" in broker.log_text()
    wait_until(lambda: all(is_gone(pid) for pid in pids), "the end of the sources", 5)
    broker.start()


def test_the_starter_minds_no_signal_but_the_last(broker):
    """What goes to all of a unit or terminal is for certbrokerd alone."""
    starter = broker.starter_pid()
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"):
        os.kill(starter, getattr(signal, name))
    [pid] = broker.helper_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: broker.helper_pids() not in ([], [pid]), "another process")
    broker.wait_source("hsm", "ready")
    assert broker.starter_pid() == starter


def test_a_starter_that_hangs_holds_up_nothing(broker):
    """Signatures go on; at the end certbrokerd does not wait for it for long, and takes it along."""
    broker.import_new("client")
    starter, pids = broker.starter_pid(), broker.helper_pids()
    os.kill(starter, signal.SIGSTOP)
    broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.stop()
    wait_until(lambda: all(is_gone(pid) for pid in [starter, *pids]), "the end of all", 5)


def test_a_source_ends_with_its_broker(broker):
    """Also one that does not listen any more; and the starter between them."""
    [pid] = broker.helper_pids()
    starter = broker.starter_pid()
    os.kill(pid, signal.SIGSTOP)  # it sees no end of its socket
    broker.kill()
    wait_until(lambda: is_gone(starter), "the end of the starter", 5)
    wait_until(lambda: is_gone(pid), "the end of the source", 5)


def test_a_source_needs_its_starter(stopped):
    """Whose parent is not who started it, for that one has ended already, ends at once."""
    def run(parent):
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            with ours:
                ours.shutdown(socket.SHUT_WR)  # it has nothing to do
                return subprocess.run(["sh", "-c", f"{HELPER} --fd {its.fileno()} --parent {parent}; exit $?"],
                                      pass_fds=[its.fileno()], check=False, timeout=20,
                                      env=stopped.environment()).returncode
    assert run(os.getpid()) == 69
    assert run("$$") == 0
