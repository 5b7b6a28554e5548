# SPDX-License-Identifier: Apache-2.0
"""`certbroker setup`, with doubles of systemd's tools (systemd-double.py), in a mount namespace with an /etc of its own.

What needs systemd itself (the unit's walls, credentials, gateways' units) is tested on a host by tests/host/setup.sh.
"""

import contextlib
import json
import os
import pty
import subprocess

import pytest

from broker import CLI, DAEMON, PATIENCE, PIN, SOFTHSM, die_with_parent
from hosted import hosted

@pytest.fixture
def host(stopped, root):
    with hosted(stopped) as host:
        yield host


def test_one_source_alone(stopped):
    """`certbrokerd --check-source`: what becomes of it is said, and nothing else of certbrokerd runs."""

    def check(name, status, state=None, says=""):
        done = subprocess.run([DAEMON, "--config", stopped.config, "--check-source", name], env=stopped.environment(),
                              capture_output=True, timeout=60 * PATIENCE, check=False)
        assert done.returncode == status, (done.stdout, done.stderr)
        if state:
            said = json.loads(done.stdout)
            assert (said["name"], said["state"]) == (name, state) and says in said["text"]

    check("hsm", 0, "ready")
    check("nowhere", 64)
    stopped.pin_file.write_text("99999\n")
    check("hsm", 69, "locked", "the token refuses the PIN")
    stopped.configure(sources=stopped.source(uri="pkcs11:token=nowhere"))
    check("hsm", 69, "unavailable")
    stopped.config.write_text("source = 7;\n")
    check("hsm", 78)
    assert list(stopped.state.iterdir()) == [stopped.state / "source-hsm"]  # no store, no log


def test_a_new_token(host):
    """From nothing: its secret, its files, tried, in force, signed; and no second time over what is there."""
    host.run("source", "hsm", "--kind", "softhsm", says="has signed")
    conf = (host.etc / "conf.d/hsm.conf").read_text()
    assert 'uri = "pkcs11:token=hsm"' in conf and 'pin-file = "hsm-pin"' in conf
    assert "LoadCredentialEncrypted=hsm-pin:" in (host.units / "certbrokerd.service.d/source-hsm.conf").read_text()
    assert "slots.mechanisms = ALL" in (host.etc / "softhsm2.conf").read_text()
    assert [path.stat().st_mode & 0o777 for path in (host.etc / "secrets").iterdir()] == [0o600]
    assert "start certbrokerd.service" in host.calls()

    before = host.made()
    host.run("source", "hsm", "--kind", "softhsm", status=1, says="--replace")
    assert host.made() == before
    # Another beside it: in the same folder of tokens, without a second softhsm2.conf.
    host.run("--json", "source", "two", "--kind", "softhsm", "--no-trial")
    assert len([path for path in (host.state / "tokens").iterdir() if path.is_dir()]) == 2
    assert sorted(path.name for path in (host.units / "certbrokerd.service.d").iterdir()) == [
        "softhsm.conf", "source-hsm.conf", "source-two.conf"]


def test_how_the_secret_is_kept(host):
    """As good as systemd can: encrypted, else as a credential, else by its path; PINs of others' likewise."""
    host.fault("systemd-creds")
    host.run("source", "a", "--kind", "softhsm", "--no-trial")
    assert "LoadCredential=a-pin:" in (host.units / "certbrokerd.service.d/source-a.conf").read_text()
    assert (host.etc / "secrets/a-pin").stat().st_mode & 0o777 == 0o600
    host.fault("credentials")
    (host.units / "certbrokerd.service.d/source-a.conf").unlink()
    host.run("source", "b", "--kind", "softhsm", "--no-trial")
    assert not (host.units / "certbrokerd.service.d/source-b.conf").exists()
    assert 'pin-file = "/usr/local/etc/certbroker/secrets/b-pin"' in (host.etc / "conf.d/b.conf").read_text()
    assert not (host.etc / "secrets/b-pin.cred").exists()


@pytest.mark.parametrize("call", ["start certbroker-setup.service", "daemon-reload", "start certbrokerd.service"])
def test_a_step_that_fails(host, call):
    """Nothing of it is left, and it is said which step it was and what was put back."""
    before = host.made()
    host.fault(call)
    host.run("source", "hsm", "--kind", "softhsm", status=1, says="Not done, at this step: ")
    assert host.made() == before
    assert list(host.state.glob("tokens*")) == [] and list(host.state.glob("source-*")) == []


def test_a_full_disk(host):
    """What was made before is gone; what could not be written is named."""
    conf = host.etc / "conf.d"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=755", "tmpfs", conf], check=True)
    try:
        (conf / "other.conf").write_text("# what is there\n")
        before = host.made()
        host.run("source", "hsm", "--kind", "softhsm", status=1, says="hsm.conf cannot be written: No space left")
        assert host.made() == before
    finally:
        subprocess.run(["umount", conf], check=True)


@pytest.fixture
def token(host):
    """A host whose certbrokerd knows the broker's token by an administrator's own drop-in; and the options that name it."""
    drop_in = host.units / "certbrokerd.service.d/site.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nEnvironment=SOFTHSM2_CONF={host.broker.softhsm_conf}\n")
    return ("source", "hsm", "--kind", "pkcs11", "--module", SOFTHSM, "--pin-file")


def test_a_token_that_cannot_be(host, token):
    """Not there, its settings or its PIN wrong, or none: nothing is left of it."""
    before = host.made()
    host.run(*token, host.broker.pin_file, "--token", "nowhere", status=3, says="There are: test.")
    host.run(*token, host.broker.pin_file, "--token", "test", "--set", "sessions=1000", status=1,
             says="/conf.d/hsm.conf:7: 'sessions' must be")
    host.run(*token, host.broker.pin_file, "--token", "test", "--set", "sessions=1;", status=2, says="KEY=VALUE")
    host.run(*token, "-", "--token", "test", status=6, says="the token refuses the PIN", input=b"999999\n")
    host.run(*token, "-", "--token", "test", status=1, says="empty", input=b"\n")
    assert host.made() == before


def test_a_token_that_is_there(host, token):
    """Its key signs. In its own place again, with another setting; and what fails there puts back what was."""
    host.run(*token, "-", "--token", "test", says="has signed", input=PIN.encode())
    host.run(*token, host.broker.pin_file, "--token", "test", "--set", "sessions=2", "--replace", "--no-trial")
    assert "sessions = 2;" in (host.etc / "conf.d/hsm.conf").read_text()
    # Kept in another way now: nothing is left of the way before.
    host.fault("credentials")
    host.run(*token, host.broker.pin_file, "--token", "test", "--set", "sessions=2", "--replace", "--no-trial")
    assert [path.name for path in (host.etc / "secrets").iterdir()] == ["hsm-pin"]
    assert not (host.units / "certbrokerd.service.d/source-hsm.conf").exists()
    assert not list(host.etc.rglob("*.before")) and PIN not in (host.etc / "conf.d/hsm.conf").read_text()
    host.fault("")
    before = host.made()
    host.fault("restart certbrokerd.service")
    host.run(*token, host.broker.pin_file, "--token", "test", "--replace", status=1, says="NOT undone")
    assert host.made() == before


def test_a_trial_calls_nobody(host, token):
    """What an administrator wants to be told of certbrokerd's failures is not of a trial's: no later file resets that."""
    (host.units / "certbrokerd.service.d/page.conf").write_text(
        "[Unit]\nOnFailure = page@%n.service \\\n  log@%n.service\n PartOf=site.target\nAfter=site.target\n")
    host.run(*token, "-", "--token", "test", status=6, says="the token refuses the PIN", input=b"999999\n")
    trial = (host.double / "trial").read_text()
    assert "site.target" in trial and "page@" not in trial and "log@" not in trial and "PartOf" not in trial


def test_a_link_in_place_of_the_tokens(host):
    """The state directory is another user's: root neither lists, makes nor removes anything where a link of his leads."""
    elsewhere = host.double / "elsewhere"
    elsewhere.mkdir()
    (host.state / "tokens").symlink_to(elsewhere)
    host.run("source", "hsm", "--kind", "softhsm", status=1, says="tokens cannot be read")
    assert (host.state / "tokens").is_symlink() and not list(elsewhere.iterdir())


def test_a_module_that_crashes(host):
    module = host.broker.folder / "crash.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", module],
                   input=b"#include <stdlib.h>\nunsigned long C_GetFunctionList(void *l) { abort(); }\n", check=True)
    before = host.made()
    host.run("source", "x", "--kind", "pkcs11", "--module", module, "--token", "x", "--pin-file", host.broker.pin_file,
             status=3, says="ends its process")
    host.run("source", "x", "--kind", "softhsm", "--module", module, status=1, says="ends its process")
    assert host.made() == before


def test_what_is_missing(host):
    """Without a terminal: which option says it, and 2. And who or what cannot be set up at all."""
    before = host.made()
    host.run("source", "hsm", status=2, says="--kind is missing")
    host.run("source", "hsm", "--kind", "tape", status=2, says="--kind is")
    host.run("source", "7", "--kind", "softhsm", status=2, says="A source's name")
    host.run("source", "hsm", "--kind", "pkcs11", status=2, says="--token is missing")
    host.run("source", "hsm", "--kind", "azure-key-vault", status=2, says="--uri is missing")
    host.run("source", "hsm", "--kind", "azure-key-vault", "--uri", "https://v.example", "--auth", "client-secret",
             status=2, says="--tenant-id is missing")
    host.run("source", "hsm", "--kind", "softhsm", "--module", "/nonexistent", "--token", "x" * 33, status=2, says="32 bytes")
    host.run("gateway", "sendmail", status=2, says="The gateways are")
    host.run("gateway", "nginx", status=3, says="systemd knows no unit")
    host.run("gateway", "nginx", "--dry-run", "--unit", "certbrokerd.service", says="Environment=OPENSSL_CONF=")
    planned = json.loads(host.run("--json", "source", "hsm", "--kind", "softhsm", "--dry-run"))
    assert [file["path"].rsplit("/", 1)[1] for file in planned["files"]] == [
        "hsm.conf", "hsm-pin", "source-hsm.conf", "softhsm.conf", "softhsm2.conf"]
    assert host.made() == before
    (host.double / "certbrokerd.service").unlink()
    host.run("source", "hsm", "--kind", "softhsm", status=3, says="systemd knows no certbrokerd.service")
    (host.double / "run/systemd/system").rmdir()
    done = subprocess.run([CLI, "setup", "source", "hsm", "--kind", "softhsm"], env=host.environment(),
                          preexec_fn=lambda: os.setuid(65534), capture_output=True, check=False)
    assert done.returncode == 4 and b"as root" in done.stderr


def converse(host, arguments, answers):
    """At a terminal: each answer is typed when its question has come. What was said, and the exit status."""
    pid, terminal = pty.fork()
    if pid == 0:
        die_with_parent()
        os.execvpe("unshare", [str(word) for word in host.command("setup", *arguments)], host.environment())
    said = ""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 4096):
            said += data.decode(errors="replace")
            while answers and answers[0][0] in said:
                question, answer = answers.pop(0)
                said = said.split(question, 1)[1]
                os.write(terminal, answer.encode())
    os.close(terminal)
    return said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_asked_at_a_terminal(host, token):
    """The kind, and whether to go on; what is asked is what the options have not said. A PIN is not shown."""
    before = host.made()
    said, status = converse(host, ("source", "hsm"), [("Which", "1\n"), ("into force", "n\n")])
    assert status == 1 and "Nothing was changed" in said and host.made() == before
    said, status = converse(host, ("source", "hsm", "--module", SOFTHSM), [
        ("Which", "pkcs11\n"), ("Which token?", ""), ("Which", "test\n"), ("PIN of the token:", PIN + "\n"),
        ("into force", "\n")])
    assert status == 0 and "has signed" in said and PIN not in said


def test_interrupted(host):
    """The step under way is the last, and all is undone; also after one that was undone and done in another way."""
    host.fault("credentials")
    host.run("source", "one", "--kind", "softhsm", "--no-trial")
    before = host.made()
    pid, terminal = pty.fork()
    if pid == 0:
        die_with_parent()
        os.execvpe("unshare", [str(word) for word in host.command("setup", "source", "hsm", "--kind", "softhsm", "--yes")],
                   host.environment())
    said = b""
    with contextlib.suppress(OSError):
        while data := os.read(terminal, 4096):
            said += data
            if b"- a new token" in said and b"^C" not in said:
                os.write(terminal, b"\x03")
                said += b"^C"
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1 and b"interrupted by a signal" in said
    assert host.made() == before
