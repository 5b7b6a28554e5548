# SPDX-License-Identifier: Apache-2.0
"""`certbroker audit`: every way to tamper with a log is found and named; what is shown is what was asked for."""

import gzip
import hashlib
import json
import os
import pty
import resource
import select
import shutil
import subprocess

import dbus
import pytest

from broker import CLI, GRANT_ALL, ME, PATIENCE, SANITIZED, certificate_path

SIGNATURES = 12


@pytest.fixture
def log(broker):
    """A log that certbrokerd wrote, with its store beside it, and no daemon; what makes a copy to spoil."""
    broker.import_new("client", "ec-p256")
    broker.create_backend("orders", "client")
    for _ in range(SIGNATURES):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.stop()
    return Copies(broker)


class Copies:
    def __init__(self, broker):
        self.broker, self.n = broker, 0
        self.lines = (broker.state / "audit.jsonl").read_bytes().splitlines(keepends=True)

    def verify(self, files, *options, with_store=True):
        """files: the lines of audit.jsonl, or of {suffix: lines}; what verify says, as --json has it."""
        self.n += 1
        folder = self.broker.folder / f"copy-{self.n}"
        folder.mkdir()
        if with_store:
            for path in self.broker.state.glob("certbroker.sqlite*"):
                shutil.copy(path, folder)
        for suffix, lines in (files if isinstance(files, dict) else {"": files}).items():
            (folder / f"audit.jsonl{suffix}").write_bytes(b"".join(lines))
        done = self.broker.cli("--json", "audit", "verify", "--file", str(folder / "audit.jsonl"), *options)
        assert done.returncode in (0, 1), done.stderr.decode()
        said = json.loads(done.stdout)
        assert said["ok"] == (done.returncode == 0) == (not said["findings"]), said
        if not said["ok"]:
            first = said["findings"][0]
            assert f"{first['file']}:{first['line']}".encode() in done.stderr, done.stderr
        plain = self.broker.cli("audit", "verify", "--file", str(folder / "audit.jsonl"), *options)
        assert plain.returncode == done.returncode
        if not said["ok"]:
            text = plain.stdout.decode().splitlines()[0]
            assert text.startswith(f"{first['file']}:{first['line']}: {first['fault']}: "), text
        return said

    def first(self, files, *options, **how):
        """Of what is found first: the file's name, the line, and what happened to it."""
        said = self.verify(files, *options, **how)
        assert not said["ok"], "it was not noticed"
        first = said["findings"][0]
        return first["file"].split("audit.jsonl")[-1], first["line"], first["fault"]


def flipped(line, at):
    return line[:at] + bytes([line[at] ^ 0x01]) + line[at + 1:]


def test_sums_of_refusals(broker, root):
    """They say whose, how many, of what and when; each of their users finds them, and the chain is whole."""
    ping = [certificate_path("client"), "org.certbroker1.Certificate", "Refresh", ""]
    broker.import_new("client")
    broker.as_crowd([300001, 300002, 300003], 200, ping)
    done = broker.cli("audit", "show", "--result", "NotFound", "--since", "1h")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.decode().splitlines() if " refusals " in line]
    records = broker.cli_json("audit", "show")
    [record] = [r for r in records if r["event"] == "refusals"]
    assert line.split() == [record["time"][:19] + "Z", str(record["seq"]), "uid", "300001", "refusals", "NotFound",
                            str(record["count"]), "of", "Refresh,", record["since"][:19] + "Z", "to",
                            record["until"][:19] + "Z,", "by", "3", "users", "up", "to", "uid", "300003"]
    assert record["count"] + len([r for r in records if r["event"] == "Refresh"]) == 600
    for uid, n in (("300002", 1), ("300003", 1), ("300004", 0), ("300000", 0), ("0", 0)):
        assert len([r for r in broker.cli_json("audit", "show", "--uid", uid) if r["event"] == "refusals"]) == n
    assert broker.cli_json("audit", "verify")["ok"]


@pytest.mark.parametrize("verb", [["status"], ["policy", "list"]], ids="-".join)
def test_a_reader_leaves_no_refusal(stopped, root, verb):
    """Each refusal is a record: the tool does not ask for what the caller will not get."""
    stopped.configure(grants=f"""
        everything = {{ user = "{ME}"; allow = [ "manage", "audit" ]; certificate = "*"; source = "*"; }};
        reader = {{ user = "www-data"; allow = "read"; certificate = "*"; }};""")
    broker = stopped.start()
    broker.import_new("client")
    as_reader = ["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups"]
    done = subprocess.run([*as_reader, str(CLI), "--bus", broker.bus_address, "--json", *verb],
                          env=broker.environment(), capture_output=True, check=False, timeout=30 * PATIENCE,
                          cwd="/")
    assert done.returncode == 0, done.stderr.decode()
    if verb == ["status"]:
        assert json.loads(done.stdout)["certificates"] == 1
        blind = subprocess.run([*as_reader, str(CLI), "--bus", broker.bus_address, "status", "--check"],
                               env=broker.environment(), capture_output=True, check=False, timeout=30 * PATIENCE,
                               cwd="/")
        assert blind.returncode == 4, "what is not told is not well"
    else:
        assert b"in force is not known" in done.stderr
    events = [json.loads(line) for line in (broker.state / "audit.jsonl").read_text().splitlines()]
    assert not [e for e in events if e["result"] != "ok" or e["event"] == "GetMetrics"]
    assert broker.cli("--json", *verb).returncode == 0
    assert '"event":"GetMetrics"' in (broker.state / "audit.jsonl").read_text(), "who is granted audit is told"
    if verb == ["status"]:
        assert broker.cli(*verb, "--check").returncode == 0, "nothing needs attention"


def test_a_whole_log(log):
    said = log.verify(log.lines)
    assert said["ok"] and said["records"] == len(log.lines) == said["last"]
    assert said["end-known-by"] == "certbrokerd's store"
    # a copy far from its store: whole, and nobody knows whether something is missing at its end
    alone = log.verify(log.lines, with_store=False)
    assert alone["ok"] and alone["end-known-by"] is None


def test_one_byte_in_each_field(log):
    """Whatever the field: that line is named, also the first and the last one."""
    for number in (1, 2, len(log.lines) // 2, len(log.lines) - 1, len(log.lines)):
        line = log.lines[number - 1]
        record = json.loads(line)
        for field in record:
            at = line.index(f'"{field}":'.encode()) + len(field) + 3
            at += line[at:at + 1] == b'"'
            lines = [*log.lines[:number - 1], flipped(line, at), *log.lines[number:]]
            assert log.first(lines) == ("", number, "edited"), (number, field)


def test_each_byte_of_a_line(log):
    """Also of its names, quotes and braces. Its newline: then it and the next are one line."""
    number = 5
    line = log.lines[number - 1]
    for at in range(0, len(line) - 1, 7):
        lines = [*log.lines[:number - 1], flipped(line, at), *log.lines[number:]]
        assert log.first(lines) == ("", number, "edited"), at
    lines = [*log.lines[:number - 1], flipped(line, len(line) - 1), *log.lines[number:]]
    assert log.first(lines) == ("", number, "edited")


def test_a_whole_record_rewritten(log):
    """Well-formed, with the right number and the right hash of the one before: the next one knows better."""
    for number in (1, 4, len(log.lines)):
        record = json.loads(log.lines[number - 1])
        record["uid"] = 4711
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        lines = [*log.lines[:number - 1], line, *log.lines[number:]]
        assert log.first(lines) == ("", number, "edited"), number


def test_the_whole_chain_rewritten(log):
    """From an edited record on every hash computed anew: only the store knows better."""
    lines, prev = log.lines[:3], hashlib.sha256(log.lines[2][:-1]).hexdigest()
    for line in log.lines[3:]:
        record = json.loads(line)
        record.update(prev=prev, uid=4711)
        text = json.dumps(record, separators=(",", ":")).encode()
        prev = hashlib.sha256(text).hexdigest()
        lines.append(text + b"\n")
    assert log.verify(lines, with_store=False)["ok"], "the chain itself is whole"
    assert log.first(lines)[2] == "edited"


def test_removed_lines(log):
    n = len(log.lines)
    assert log.first(log.lines[1:]) == ("", 1, "removed")
    assert log.first(log.lines[:6] + log.lines[7:]) == ("", 7, "removed")
    assert log.first(log.lines[:6] + log.lines[9:]) == ("", 7, "removed")
    said = log.verify(log.lines[:6] + log.lines[9:])
    assert "records 7 to 9" in said["findings"][0]["reason"] and len(said["findings"]) == 1
    assert log.first(log.lines[:-1]) == ("", n - 1, "cut")
    assert log.first(log.lines[:-5]) == ("", n - 5, "cut")
    assert log.first([])[2] == "cut"


def test_reordered_lines(log):
    lines = log.lines
    swapped = [*lines[:4], lines[5], lines[4], *lines[6:]]
    assert log.first(swapped) == ("", 5, "reordered")
    far = [*lines[:3], lines[9], *lines[4:9], lines[3], *lines[10:]]
    assert log.first(far) == ("", 4, "reordered")
    moved_down = [*lines[:3], *lines[4:9], lines[3], *lines[9:]]
    assert log.first(moved_down) == ("", 4, "reordered")
    moved_up = [*lines[:3], lines[8], *lines[3:8], *lines[9:]]
    assert log.first(moved_up) == ("", 4, "reordered")
    assert log.first([*lines[1:], lines[0]]) == ("", 1, "reordered")


def test_inserted_lines(log):
    lines = log.lines
    assert log.first([*lines[:5], lines[4], *lines[5:]]) == ("", 6, "duplicated")
    assert log.first([*lines[:5], lines[1], *lines[5:]]) == ("", 6, "inserted")
    assert log.first([*lines[:5], b"\n", *lines[5:]]) == ("", 6, "inserted")
    assert log.first([*lines[:5], b"{}\n", *lines[5:]]) == ("", 6, "inserted")
    assert log.first([*lines[:5], b"\0" * 3_000_000 + b"\n", *lines[5:]])[1:] == (6, "inserted")
    forged = json.loads(lines[5])
    forged["seq"], forged["prev"] = 6, hashlib.sha256(lines[4][:-1]).hexdigest()
    forged["uid"] = 4711
    text = json.dumps(forged, separators=(",", ":")).encode() + b"\n"
    assert log.first([*lines[:5], text, *lines[5:]])[1] == 6


def test_cut_within_a_line(log):
    n = len(log.lines)
    whole = b"".join(log.lines)
    assert log.first([whole[:-1]]) == ("", n, "cut")
    assert log.first([whole[:-30]]) == ("", n, "cut")
    in_front = len(b"".join(log.lines[:4])) + 20
    assert log.first([whole[:in_front]]) == ("", 5, "cut")


def rotated(lines):
    return {".2": lines[:5], ".1": lines[5:10], "": lines[10:]}


def test_rotated_files(log):
    said = log.verify(rotated(log.lines))
    assert said["ok"] and said["files"] == 3
    many = {f".{11 - i}": log.lines[i:i + 1] for i in range(11)} | {"": log.lines[11:]}
    assert log.verify(many)["ok"], "in order by number, not by name"


def test_rotated_files_spoiled(log):
    def spoil(**changes):
        files = rotated(log.lines)
        for suffix, change in changes.items():
            suffix = {"second": ".2", "first": ".1", "last": ""}[suffix]
            files[suffix] = change(files[suffix])
            if files[suffix] is None:
                del files[suffix]
        return files

    assert log.first(spoil(second=lambda _: None)) == (".1", 1, "removed")
    assert log.first(spoil(first=lambda _: None)) == ("", 1, "removed")
    assert log.first(spoil(first=lambda lines: lines[1:])) == (".1", 1, "removed")
    assert log.first(spoil(second=lambda lines: lines[:-1])) == (".1", 1, "removed")
    assert log.first(spoil(second=lambda lines: [*lines[:-1], lines[-1][:40]])) == (".2", 5, "cut")
    assert log.first(spoil(last=lambda _: []))[2] == "cut"
    assert log.first(spoil(first=lambda lines: [flipped(lines[0], 40), *lines[1:]])) == (".1", 1, "edited")
    files = rotated(log.lines)
    files[".1"], files[".2"] = files[".2"], files[".1"]
    assert log.first(files)[1:] == (1, "reordered")


def test_archived_files(log):
    """Whoever takes the oldest away on purpose says where the log begins now."""
    files = rotated(log.lines)
    del files[".2"]
    assert log.verify(files, "--first", "6")["ok"]
    assert log.first(files, "--first", "5") == (".1", 1, "removed")
    assert log.first(files) == (".1", 1, "removed")
    assert log.broker.cli("audit", "verify", "--first", "x").returncode == 2


def test_a_gap_is_reported(log):
    """certbrokerd notes that its log was changed while it was away; verify tells of it for ever."""
    path = log.broker.state / "audit.jsonl"
    path.write_bytes(b"".join(log.lines[:-3]))
    log.broker.start()
    log.broker.sign("client", "ecdsa-sha256", bytes(32))
    said = json.loads(log.broker.cli("--json", "audit", "verify").stdout)
    assert [(f["line"], f["fault"]) for f in said["findings"]] == [(len(log.lines) - 2, "gap")]
    assert "audit" in log.broker.cli("status").stdout.decode(), "status says it too"


def test_a_last_line_edited_while_nobody_looked(log):
    path = log.broker.state / "audit.jsonl"
    path.write_bytes(b"".join(log.lines[:-1]) + log.lines[-1].replace(b'"ok"', b'"OK"'))
    log.broker.start()
    said = json.loads(log.broker.cli("--json", "audit", "verify").stdout)
    assert [(f["line"], f["fault"]) for f in said["findings"]] == [
        (len(log.lines), "edited"), (len(log.lines) + 1, "gap")]


def test_a_torn_line(log):
    path = log.broker.state / "audit.jsonl"
    path.write_bytes(b"".join(log.lines) + b'{"time":"2026-')
    log.broker.start()
    said = json.loads(log.broker.cli("--json", "audit", "verify").stdout)
    assert [(f["line"], f["fault"]) for f in said["findings"]] == [
        (len(log.lines) + 1, "torn"), (len(log.lines) + 2, "gap")]


def test_while_the_daemon_writes(stopped):
    stopped.configure(broker='  audit-max-size = "32KiB";')
    broker = stopped.start()
    broker.import_new("client", "ec-p256")
    signer = subprocess.Popen(
        ["/usr/bin/python3", "-c", "import sys; sys.path.insert(0, sys.argv[1])\n"
         "import dbus, dbus.bus\nc = dbus.bus.BusConnection(sys.argv[2])\n"
         "while True: c.call_blocking('org.certbroker1', '/org/certbroker1/certificate/client',"
         " 'org.certbroker1.Certificate', 'Sign', 'tsay',"
         " (dbus.UInt64(0), 'ecdsa-sha256', dbus.ByteArray(bytes(32))))",
         os.path.dirname(__file__), broker.bus_address])
    try:
        for _ in range(40):
            done = broker.cli("audit", "verify")
            assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
            assert b"certbrokerd remembers" in done.stdout
    finally:
        signer.kill()
        signer.wait()


def test_a_running_daemon_knows_its_end(broker):
    """Cut, edited, lengthened or replaced under a daemon that runs: its own memory of the end counts."""
    broker.import_new("client", "ec-p256")
    for _ in range(5):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    path = broker.state / "audit.jsonl"
    assert broker.cli("audit", "verify").returncode == 0
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)

    def verify():
        done = broker.cli("--json", "audit", "verify")
        assert done.returncode == 1, done.stdout
        return json.loads(done.stdout)["findings"][0] if done.stdout else done.stderr.decode()

    path.write_bytes(b"".join(lines[:-1]) + lines[-1].replace(b'"ok"', b'"OK"'))
    assert verify()["line"] == len(lines) and verify()["fault"] == "edited"
    broker.kill()
    path.write_bytes(path.read_bytes().replace(b'"OK"', b'"ok"'))  # as the daemon wrote it, and what came after it
    broker.start()
    record = json.loads(whole.splitlines()[-1])
    now = path.read_bytes()
    record["seq"] += 1
    record["prev"] = hashlib.sha256(now.splitlines()[-1]).hexdigest()
    record["seq"] = json.loads(now.splitlines()[-1])["seq"] + 1
    with path.open("ab") as file:
        file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
    assert verify()["line"] == len(now.splitlines()) + 1
    path.unlink()
    path.write_bytes(now)
    assert verify()["fault"] == "removed", "another file in its place, without the last records"


def show(broker, *arguments):
    return broker.cli_json("audit", "show", *arguments)


def test_show(broker, refused):
    broker.import_new("client", "ec-p256")
    broker.import_new("other", "ec-p256")
    broker.sign("other", "ecdsa-sha256", bytes(32))
    refused("NotSupported", broker.sign, "client", "rsa-pss-sha256", bytes(32))
    events = [r["event"] for r in show(broker)]
    assert events[:2] == ["ImportCertificate", "ImportCertificate"] and "Sign" in events
    assert [r["event"] for r in show(broker, "--certificate", "other")] == ["ImportCertificate", "Sign"]
    assert [r["result"] for r in show(broker, "--result", "NotSupported")] == ["NotSupported"]
    assert [r["result"] for r in show(broker, "--certificate", "client", "--result", "ok")] == ["ok"]
    assert show(broker, "--uid", str(os.getuid())) and not show(broker, "--uid", "4711")
    assert show(broker, "--since", "1h") and not show(broker, "--since", "2099-01-01")
    assert show(broker, "--since", "2020-01-01T00:00:00Z", "--certificate", "other")
    text = broker.cli("audit", "show").stdout.decode()
    assert "certificate/client" in text and "NotSupported" in text and "by everything" in text
    refused("NotFound", broker.sign, "1_2.odd-id", "ecdsa-sha256", bytes(32))
    assert " certificate/1_2.odd-id" in broker.cli("audit", "show", "--result", "NotFound").stdout.decode()
    for arguments in (("--since", "soon"), ("--uid", "root"), ("--certificate", "")):
        assert broker.cli("audit", "show", *arguments).returncode == 2
    broker.stop()
    assert [r["event"] for r in show(broker, "--config", str(broker.config), "--certificate", "other")] == [
        "ImportCertificate", "Sign"], "without a daemon, the configuration tells where it is"


def test_show_escapes_what_is_in_the_log(log):
    path = log.broker.folder / "evil.jsonl"
    record = json.loads(log.lines[0])
    for field in ("time", "event", "object", "algorithm", "grant", "result"):
        path.write_text(json.dumps({**record, field: "\x1b[2J\u202e"}, ensure_ascii=False) + "\n")
        for options in ((), ("--json",)):
            done = log.broker.cli(*options, "audit", "show", "--file", str(path))
            assert done.returncode == 0 and done.stdout.isascii() and b"\x1b" not in done.stdout, field


def test_who_may_not_look(stopped):
    stopped.configure(grants=f'  x = {{ user = "{ME}"; allow = "manage"; certificate = "*"; }};\n')
    stopped.start(ready=None)
    assert stopped.cli("audit", "verify").returncode == 4
    assert stopped.cli("audit", "show").returncode == 4
    assert stopped.cli("audit", "verify", "--file", "/nonexistent").returncode == 3


def write_long_log(path, n_bytes):
    """As certbrokerd writes it, in bulk."""
    prev, seq, written = "0" * 64, 0, 0
    with path.open("wb", buffering=1 << 20) as file:
        while written < n_bytes:
            seq += 1
            line = (f'{{"time":"2026-11-23T14:00:00.000000Z","seq":{seq},"event":"Sign","uid":33,"pid":4711,'
                    f'"unit":"nginx.service","object":"/org/certbroker1/certificate/client","generation":1,'
                    f'"algorithm":"ecdsa-sha256","grant":"orders-gateway","result":"ok","prev":"{prev}"}}').encode()
            prev = hashlib.sha256(line).hexdigest()
            written += file.write(line + b"\n")
    return seq


def test_a_long_log_takes_little_memory(stopped):
    """64 MiB of it in at most 40 MiB of address space beyond what the program has anyway; with a progress line."""
    path = stopped.folder / "long.jsonl"
    n = write_long_log(path, (8 if SANITIZED else 80) << 20)
    limit = None if SANITIZED else lambda: resource.setrlimit(resource.RLIMIT_DATA, (40 << 20, 40 << 20))
    command = [str(CLI), "--bus", stopped.bus_address, "--json", "audit", "verify", "--file", str(path)]
    master, slave = pty.openpty()
    process = subprocess.Popen(command, env=stopped.environment(), stdout=subprocess.PIPE, stderr=slave,
                               preexec_fn=limit)
    os.close(slave)
    out = process.communicate(timeout=60 * PATIENCE)[0]
    progress = os.read(master, 65536) if select.select([master], [], [], 0)[0] else b""
    os.close(master)
    said = json.loads(out)
    assert process.returncode == 0 and said["ok"] and said["records"] == n
    assert SANITIZED or b"%" in progress
    print(f"{said['bytes'] / said['seconds'] / 1e6:.0f} MB/s")


assert dbus and GRANT_ALL


def test_files_of_any_name(log):
    """As logrotate names them: the chain tells which belong to the log, and in which order. What only looks like one does not."""
    files = rotated(log.lines)
    said = log.verify({"-20270102": files[".2"], "-20270103.old": files[".1"], "": files[""]})
    assert said["ok"] and said["files"] == 3 and said["compressed"] == 0
    said = log.verify({".1": files[".2"], "-20270103": files[".1"], "": files[""]})
    assert said["ok"] and said["files"] == 3, "one that certbrokerd has renamed among others"
    said = log.verify({"-20270102": files[".2"], "-20270102.copy": files[".2"], ".1": files[".1"], "": files[""]})
    assert said["ok"] and said["files"] == 3, "a copy is not read twice"
    said = log.verify({"-20270102": files[".2"], "-20270103": files[".1"] + files[""], "": []})
    assert said["ok"] and said["files"] == 3, "an empty one, just begun"
    changed = [*files[".2"][:-1], flipped(files[".2"][-1], 40)]
    assert log.first({"-20270102": changed, ".1": files[".1"], "": files[""]}) == ("-20270102", 5, "edited")
    changed = [*files[".2"][:2], flipped(files[".2"][2], 40), *files[".2"][3:]]
    assert log.first({"-20270102": changed, ".1": files[".1"], "": files[""]}) == ("-20270102", 3, "edited")
    assert log.first({"-20270102": files[".2"], "": files[""]}) == ("", 1, "removed")


def test_files_that_are_compressed(log, folder):
    """They are not read, and that is said, with what to do about it."""
    files = rotated(log.lines)
    place = folder / "packed"
    place.mkdir()
    (place / "audit.jsonl").write_bytes(b"".join(files[""]))
    (place / "audit.jsonl.1").write_bytes(b"".join(files[".1"]))
    (place / "audit.jsonl-20270102.gz").write_bytes(gzip.compress(b"".join(files[".2"])))
    arguments = ("audit", "verify", "--file", str(place / "audit.jsonl"))
    done = log.broker.cli(*arguments)
    assert done.returncode == 1 and b"audit.jsonl-20270102.gz is compressed and was not read: unpack it" in done.stderr
    assert json.loads(log.broker.cli("--json", *arguments).stdout)["compressed"] == 1
    subprocess.run(["gunzip", place / "audit.jsonl-20270102.gz"], check=True)
    done = log.broker.cli(*arguments)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
