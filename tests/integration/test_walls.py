# SPDX-License-Identifier: Apache-2.0
"""What a source's process can do once a vendor's module in it has been taken over: p11hostile.c tries."""

import ctypes
import os
import re
import socket
import subprocess

import pytest

from broker import PIN, PYTHON, SOFTHSM, wait_until

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
    assert "seccomp cannot be set up" in taken.log_text()
    assert NEEDED | {"inet", "fork", "pidfd"} <= {name for name, result in results.items() if result == "done"}


def test_network_only_where_it_is_said(taken):
    """A token in the network needs `network = true`."""
    text = taken.config.read_text()
    taken.config.write_text(text.replace('module = "' + str(taken.folder), 'network = true;\n    module = "' + str(taken.folder)))
    results = attack(taken)
    assert {name for name in FAMILIES if results[name] == "done"} == {"inet", "inet6", "inet-upper"} | (
        {"vsock"} if results["vsock"] == "done" else set())


def test_a_source_ends_with_its_broker(broker):
    """Also one that does not listen any more."""
    [pid] = broker.helper_pids()
    os.kill(pid, 19)  # SIGSTOP: it sees no end of its socket
    broker.kill()

    def is_gone():
        try:
            state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state in "ZX"

    wait_until(is_gone, "the end of the source", 5)


def test_a_source_needs_its_broker(stopped):
    """Started by somebody else's child it ends at once: who made the socket is not its parent."""
    from broker import HELPER
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, its:
        done = subprocess.run(["sh", "-c", f"{HELPER} --fd {its.fileno()}; exit $?"], pass_fds=[its.fileno()],
                              check=False, timeout=20, env=stopped.environment())
    assert done.returncode == 69
