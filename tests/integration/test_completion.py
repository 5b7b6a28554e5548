# SPDX-License-Identifier: Apache-2.0
"""Completion in bash, as bash asks for it: commands, options, and ids and names of the running daemon."""

import pathlib
import subprocess

import pytest

from broker import CLI

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
    assert {"status", "certificate", "backend", "source", "policy", "audit", "backup", "metrics"} == set(nouns)
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


def test_no_daemon_no_wait(complete, stopped):
    """Nobody's shell hangs because a daemon is away."""
    assert complete("certificate show ") == []
    stopped.stop_bus()
    assert complete("certificate show ") == []
