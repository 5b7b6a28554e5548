# SPDX-License-Identifier: Apache-2.0
"""The audit log under the real logrotate, with the rules that ship and with those that people have."""
import grp
import json
import os
import pwd
import subprocess

import pytest

from broker import BUILD


def rotate(broker, rules):
    rules_file, state = broker.folder / "rules", broker.folder / "logrotate.state"
    rules_file.write_text(rules)
    rules_file.chmod(0o644)
    done = subprocess.run(["logrotate", "--force", "--verbose", "--state", state, rules_file], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def shipped(broker):
    """With this broker's folder and user in place of the installed one's."""
    text = (BUILD / "policy/examples/logrotate").read_text()
    path = next(line.split()[0] for line in text.splitlines() if line.endswith("{"))
    me, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return text.replace(path, str(broker.state / "audit.jsonl")).replace("su certbroker certbroker", f"su {me} {group}")


def sign(broker):
    broker.sign("client", "ecdsa-sha256", bytes(32))


def assert_whole(broker, n_files):
    done = broker.cli("--json", "audit", "verify")
    said = json.loads(done.stdout)
    assert said["ok"] and said["files"] == n_files, said
    assert "audit log" not in {entry["object"] for entry in broker.cli_json("status")["attention"]}


def test_rules_that_ship(broker):
    """Day after day, over a restart and beside our own rotation: one chain, nothing taken for a loss."""
    broker.import_new("client")
    rules = shipped(broker)
    for day in range(1, 4):
        rotate(broker, rules.replace("dateext", f"dateext\n    dateformat -2027010{day}"))
        sign(broker)
        assert_whole(broker, day + 1)
    names = sorted(path.name for path in broker.state.glob("audit.jsonl*"))
    assert names == ["audit.jsonl", "audit.jsonl-20270101", "audit.jsonl-20270102", "audit.jsonl-20270103"]
    rotate(broker, rules.replace("dateext", "dateext\n    dateformat -20270104"))
    broker.restart()
    assert_whole(broker, 5)
    broker.stop()
    broker.configure(broker='  audit-max-size = "1KiB";')
    broker.start()
    for _ in range(8):
        sign(broker)
    assert (broker.state / "audit.jsonl.1").exists()
    done = broker.cli("audit", "verify")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("options", ["rotate 9\nnocompress", "rotate 9\nnocompress\ncreate 0600",
                                     "rotate 9\nnocompress\ndateext\nextension .jsonl"],
                         ids=["numbers", "create", "extension"])
def test_rules_of_others(broker, options):
    broker.import_new("client")
    rules = f"{broker.state}/audit.jsonl {{\n{options}\n}}\n"
    for n in range(2, 4):
        rotate(broker, rules if n == 2 else rules.replace("dateext", "dateext\ndateformat -20270102"))
        sign(broker)
        assert_whole(broker, n)
    broker.restart()
    assert_whole(broker, 3)


def test_rules_that_lose_something(broker):
    """A compressed file is told by name, and all is well when it is unpacked."""
    broker.import_new("client")
    rotate(broker, f"{broker.state}/audit.jsonl {{\nrotate 9\ncompress\ndateext\n}}\n")
    sign(broker)
    packed = next(broker.state.glob("audit.jsonl-*.gz"))
    done = broker.cli("audit", "verify")
    assert done.returncode == 1 and f"{packed} is compressed and was not read".encode() in done.stderr
    assert "compressed" in {e["object"]: e["reason"] for e in broker.cli_json("status")["attention"]}["audit log"]
    subprocess.run(["gunzip", packed], check=True)
    broker.manager("Reload")
    assert broker.cli("audit", "verify").returncode == 0
