# SPDX-License-Identifier: Apache-2.0
"""Completion in bash, as bash asks for it: commands, options, and ids and names of the running daemon."""

import contextlib
import pathlib
import socket
import subprocess
import threading

import pytest

from broker import CLI, ROOT

FILE = pathlib.Path(__file__).parents[2] / "client/cli/certbroker.bash"

ASK = """
PATH=$CLI_DIRECTORY:$PATH
source "$FILE"
spec=$(complete -p certbroker) || exit 1
function=${spec##*-F }; function=${function%% *}
COMP_LINE=$LINE COMP_POINT=${#LINE} COMP_TYPE=9 COMP_KEY=9
"$function" certbroker
((${#COMPREPLY[@]})) && printf '%s\\n' "${COMPREPLY[@]}"
true
"""


@pytest.fixture
def complete(stopped):
    def ask(line, bus=True):
        line = f"certbroker {f'--bus {stopped.bus_address} ' if bus else ''}{line}"
        done = subprocess.run(
            ["bash", "--norc", "-c", ASK],
            env=stopped.environment(LINE=line, FILE=FILE, CLI_DIRECTORY=CLI.parent), capture_output=True, text=True,
            check=False, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout.split()

    return ask


def test_commands_and_options(complete):
    """Without a daemon too; all that is in the help, and nothing else."""
    nouns = complete("", bus=False)
    assert {"status", "certificate", "backend", "source", "policy", "audit", "backup", "restore", "metrics",
            "doctor", "setup"} == set(nouns)
    assert complete("cert") == ["certificate"]
    assert complete("certificate ro") == ["rollback"]
    assert {"list", "check", "watch", "create"} <= set(complete("backend "))
    assert complete("--json backend wa") == ["watch"]
    assert complete("backend watch x --ch") == ["--chain"]
    assert set(complete("audit verify --f")) == {"--file", "--first"}
    assert "--source" in complete("certificate import x y --")
    assert complete("--b", bus=False) == ["--bus"]
    assert complete("nonsense ") == [] and complete("certificate nonsense ") == []


def test_values(complete):
    assert complete("backend watch x --for ha") == ["haproxy"]
    assert complete("backend watch x --for=ng") == ["nginx"]
    assert "ec-p521" in complete("certificate generate x --type ")
    assert complete("certificate sign x --algorithm ecdsa-sha3") == ["ecdsa-sha384"]
    assert complete("--bus s", bus=False) == ["system", "session"]
    assert "decrypt" in complete("policy check ")
    # a file's name is bash's own to complete
    assert complete("certificate import x ") == [] and complete("backend watch x --chain ") == []


def test_ids_and_names_of_the_running_daemon(stopped, complete):
    stopped.start()
    for id in ("orders-a", "orders-b", "other"):
        stopped.import_new(id)
    stopped.create_backend("api", "other")
    assert complete("certificate show orders") == ["orders-a", "orders-b"]
    assert set(complete("certificate delete ")) == {"orders-a", "orders-b", "other"}
    assert complete("backend check ") == ["api"]
    assert complete("backend create x --certificate ot") == ["other"]
    assert complete("backend set api --server-name ") == [], "that is no backend's name"
    assert complete("source show ") == ["hsm"]
    assert complete("certificate import x y --source=h") == ["hsm"]
    assert complete("certificate rollback other ") == ["1"]
    assert complete("policy check --user root use certificate/oth") == ["certificate/other"]
    assert complete("policy check --user root use back") == ["backend/api"]


@contextlib.contextmanager
def overheard(path, target):
    """A socket at `path` that hands on to `target`; gives what clients have sent through it."""
    sent = bytearray()

    def hand_on(source, sink, copy):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                copy += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client, daemon = listener.accept()[0], socket.socket(socket.AF_UNIX)
                daemon.connect(target)
                for arguments in ((client, daemon, sent), (daemon, client, bytearray())):
                    threading.Thread(target=hand_on, args=arguments, daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=accept, daemon=True).start()
        yield sent
        listener.shutdown(socket.SHUT_RDWR)


def test_one_question_however_many_there_are(stopped, complete):
    """Not one for each of them: whoever presses TAB does not wait for all."""
    stopped.start()
    stopped.import_new("client")
    backends = ["0-b", "a.b", "a_b", "b-0"]
    for name in backends:
        stopped.create_backend(name, "client")
    channel = str(stopped.get(ROOT, "Manager", "ChannelAddress")).split(";")[0].removeprefix("unix:path=").split(",")[0]
    (stopped.folder / "overheard").mkdir()
    path = stopped.folder / "overheard/channel"
    with overheard(path, channel) as sent:
        for line, names in (("backend check ", backends), ("certificate show ", ["client"]), ("source show ", ["hsm"])):
            del sent[:]
            assert complete(f"--bus unix:path={path} {line}", bus=False) == names
            assert sent.count(b"Introspect\0") == 1, "the one question"
            assert sent.count(b"org.freedesktop.DBus.Properties") == sent.count(b"ListCertificates") == 0


def test_no_daemon_no_wait(complete, stopped):
    """Nobody's shell hangs because a daemon is away."""
    assert complete("certificate show ") == []
    stopped.stop_bus()
    assert complete("certificate show ") == []
