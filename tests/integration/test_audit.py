# SPDX-License-Identifier: Apache-2.0
"""The audit log: what is recorded, that the chain holds, and what happens when it cannot be written."""
import hashlib
import json
import os
import pwd
import resource
import time

import dbus
import dbus.lowlevel
import pytest

from broker import ERROR, Failure, GRANT_ALL, ME, NAME, ROOT, backend_path, certificate_path, wait_until


def lines_of(path):
    return path.read_bytes().splitlines()


def records_of(broker):
    return [json.loads(line) for line in lines_of(broker.state / "audit.jsonl")]


def assert_chain(lines):
    prev = "0" * 64
    for seq, line in enumerate(lines, 1):
        record = json.loads(line)
        assert (record["seq"], record["prev"]) == (seq, prev)
        prev = hashlib.sha256(line).hexdigest()


def last(broker):
    return records_of(broker)[-1]


def test_each_outcome_is_in_the_file_before_its_answer(broker, refused):
    broker.import_new("client", "rsa-2048")
    assert last(broker)["event"] == "ImportCertificate"
    assert last(broker)["object"] == "/org/certbroker1/certificate/client"
    assert last(broker)["result"] == "ok" and last(broker)["generation"] == 1
    assert not {"force", "certificate"} & last(broker).keys()
    broker.sign("client", "rsa-pss-sha256", bytes(32))
    record = last(broker)
    assert record["event"] == "Sign" and record["algorithm"] == "rsa-pss-sha256" and record["generation"] == 1
    assert record["uid"] == os.getuid() and record["pid"] == os.getpid() and record["grant"]
    assert record["time"].endswith("Z")
    refused("NotSupported", broker.sign, "client", "ecdsa-sha256", bytes(32))
    assert last(broker)["result"] == "NotSupported"
    refused("NotFound", broker.sign, "nobody", "ecdsa-sha256", bytes(32))
    assert last(broker)["result"] == "NotFound"
    broker.create_backend("orders", "client")
    assert last(broker)["event"] == "CreateBackend"
    broker.backend("orders", "GetCredential")
    assert last(broker)["event"] == "GetCredential" and last(broker)["object"] == backend_path("orders")
    assert last(broker)["certificate"] == "client" and last(broker)["generation"] == 1
    broker.set(backend_path("orders"), "Backend", "ValidateChain", False)
    assert last(broker)["event"] == "Set" and last(broker)["object"] == backend_path("orders")
    assert_chain(lines_of(broker.state / "audit.jsonl"))


def test_what_makes_a_generation_says_which(broker, refused):
    broker.import_new("client", "ec-p256", sans=["a.example", "b.example"])
    refused("InvalidArgument", broker.import_new, "client", "ec-p256", sans=["a.example"], replace=True)
    assert "force" not in last(broker)
    broker.import_new("client", "ec-p256", sans=["a.example"], replace=True, force=True)
    record = last(broker)
    assert (record["event"], record["generation"], record["force"]) == ("ImportCertificate", 2, True)
    broker.manager("GenerateKey", "sssa{sv}", "client", "hsm", "ec-p256", {"replace": True})
    assert last(broker)["event"] == "GenerateKey" and last(broker)["generation"] == 3


def test_nothing_secret_and_no_input_is_recorded(broker):
    broker.import_new("client", "ec-p256")
    digest = os.urandom(32)
    signature = broker.sign("client", "ecdsa-sha256", digest)
    text = (broker.state / "audit.jsonl").read_bytes()
    assert digest.hex().encode() not in text.lower() and bytes(signature).hex().encode() not in text.lower()
    assert b"secret" not in text


def test_reading_is_not_recorded(broker):
    broker.import_new("client")
    n = len(records_of(broker))
    broker.certificate_properties("client")
    broker.list_ids()
    assert len(records_of(broker)) == n


def test_refused_reading_is_recorded(broker, root):
    """Whether there is such an object or not: the log is no place to learn that, nor is the time that it takes."""
    broker.import_new("client")
    before = len(records_of(broker))
    get = ["org.freedesktop.DBus.Properties", "Get", "ss", "org.certbroker1.Certificate", "Subject"]
    broker.as_user("nobody", [certificate_path("client"), *get], [certificate_path("nothing-there"), *get])
    records = records_of(broker)[before:]
    assert [(r["event"], r["object"], r["result"]) for r in records] == [
        ("Get", certificate_path(id), "NotFound") for id in ("client", "nothing-there")]
    assert records[0]["uid"] == pwd.getpwnam("nobody").pw_uid and not records[0]["grant"]


# what fails too often is summed up

NOBODY = pwd.getpwnam("nobody").pw_uid
SUBUIDS = 200000  # as /etc/subuid gives them; these lie in one block of 65,536
SIGN = [certificate_path("client"), "org.certbroker1.Certificate", "Sign", "tsay", 1, "ecdsa-sha256", {"hex": "00" * 32}]
NOT_GRANTED = {
    "Sign": SIGN,
    "Get": [certificate_path("client"), "org.freedesktop.DBus.Properties", "Get", "ss", "org.certbroker1.Certificate",
            "Subject"],
    # what nobody may, and what is refused before it is decided on
    "Set": [ROOT, "org.freedesktop.DBus.Properties", "Set", "ssv", "org.certbroker1.Manager", "Version", "1"],
    "GenerateKey": [ROOT, "org.certbroker1.Manager", "GenerateKey", "sssa{sv}", "x", "hsm", "ec" * 2500, {}],
}


def open_audit(broker):
    """Whoever reads the log brings about that it is complete."""
    fd, *_ = broker.manager("OpenAudit")
    os.close(fd.take())


def sums_of(records):
    return [r for r in records if r["event"] == "refusals"]


@pytest.mark.parametrize("event", NOT_GRANTED)
def test_who_is_refused_all_the_time_does_not_fill_the_disk(broker, root, event):
    """The first are recorded one by one, of the others how many; those of others and what is allowed are not cut."""
    broker.import_new("client")
    before = len(records_of(broker))
    n, n_all = (10, 100) if event == "GenerateKey" else (300, 600)  # a command line holds n
    for _ in range(n_all // n):
        broker.as_user("nobody", *[NOT_GRANTED[event]] * n)
    broker.as_user("www-data", SIGN)
    broker.sign("client", "ecdsa-sha256", bytes(32))
    open_audit(broker)
    records = records_of(broker)[before:]
    single = [r for r in records if r["uid"] == NOBODY and r["event"] == event]
    sums = sums_of(records)  # more than one where it took more than ten seconds
    assert 10 <= len(single) <= 11 and single == records[:len(single)]
    assert {(s["uid"], s["users"], s["refused"], s["result"]) for s in sums} == {(NOBODY, 1, event, single[0]["result"])}
    assert sum(s["count"] for s in sums) == n_all - len(single)
    for sum_ in sums:
        assert single[0]["time"] <= sum_["since"] <= sum_["until"] <= sum_["time"]
    assert [(r["event"], r["result"]) for r in records[len(single):] if r not in sums] == [
        ("Sign", "NotFound"), ("Sign", "ok"), ("OpenAudit", "ok")]
    assert records[-2] == sums[-1] and records[-1]["event"] == "OpenAudit"
    n_counted = sum(float(line.split()[-1]) for line in str(broker.manager("GetMetrics")).splitlines()
                    if "requests_total" in line and f'operation="{event}"' in line and 'outcome="ok"' not in line)
    assert n_counted == n_all + (event == "Sign")
    assert f"\ncertbroker_audit_summed_total {n_all - len(single)}\n" in str(broker.manager("GetMetrics"))
    assert_chain(lines_of(broker.state / "audit.jsonl"))


def test_a_crowd_hides_nobody_and_fills_no_disk(stopped, root):
    """A login's subordinate users are one neighbour; a user of the host, and one with a grant, are seen among them."""
    stopped.configure(grants=GRANT_ALL.format(me=ME) + """
      gateway = { user = "www-data"; allow = "read"; certificate = "client"; };""")
    broker = stopped.start()
    broker.import_new("client")
    before, size = len(records_of(broker)), (broker.state / "audit.jsonl").stat().st_size
    crowd, began = [SUBUIDS + i * 100 for i in range(60)], time.monotonic()
    assert broker.as_crowd(crowd, 100, SIGN) == {ERROR + "NotFound": 6000}
    assert broker.as_crowd([1001], 3, SIGN) == {ERROR + "NotFound": 3}
    assert broker.as_crowd([pwd.getpwnam("www-data").pw_uid], 300, SIGN) == {ERROR + "AccessDenied": 300}
    assert broker.as_crowd(crowd[:2], 100, NOT_GRANTED["Get"]) == {ERROR + "NotFound": 200}

    wait_until(lambda: len(sums_of(records_of(broker))) >= 2, "the sums are told by themselves", 14)
    took = time.monotonic() - began
    records = records_of(broker)[before:]
    sums, single = sums_of(records), [r for r in records if r["event"] in ("Sign", "Get")]
    of_crowd = [r for r in single if r["uid"] >= SUBUIDS]
    assert 100 <= len(of_crowd) <= 100 + took / 20 + 1
    assert len([r for r in single if r["uid"] == 1001]) == 3
    assert len([r for r in single if r["uid"] == pwd.getpwnam("www-data").pw_uid]) == 300
    assert sum(s["count"] for s in sums) + len(of_crowd) == 6200
    assert [(s["refused"], s["users"], s["uid"], s["uid-last"]) for s in sums] == [
        ("Sign", 60, crowd[0], crowd[-1]), ("Get", 2, crowd[0], crowd[1])]
    assert (broker.state / "audit.jsonl").stat().st_size - size < 500 * len(records)
    assert_chain(lines_of(broker.state / "audit.jsonl"))


def test_who_has_a_grant_does_not_fill_the_disk_either(broker):
    """What it is allowed is recorded each time; what comes to nothing as well, up to 10,000 of a kind at once."""
    broker.import_new("client")
    before, connection, pending = len(records_of(broker)), broker.connect(), []
    for i in range(10500):
        message = dbus.lowlevel.MethodCallMessage(NAME, certificate_path("client"), "org.certbroker1.Certificate", "Sign")
        message.append(dbus.UInt64(0), "ecdsa-sha256", dbus.ByteArray(b"no digest"), signature="tsay")
        pending.append(connection.send_message_with_reply(message, lambda reply: None, 60))
        if len(pending) >= 50:
            pending.pop(0).block()
    for call in pending:
        call.block()
    refused = broker.as_user(ME, [certificate_path("client"), "org.certbroker1.Certificate", "Retire", "t", 7])
    assert refused[0]["error"] == ERROR + "NotFound"
    broker.stop()  # which tells them too
    records = records_of(broker)[before:]
    [sum_], single = sums_of(records), [r for r in records if r["event"] == "Sign"]
    assert 10000 <= len(single) < 10010 and single[-1]["result"] == "InvalidArgument"
    assert sum_["count"] + len(single) == 10500 and sum_["uid"] == os.getuid()
    assert [(r["generation"], r["result"]) for r in records if r["event"] == "Retire"] == [(7, "NotFound")]


def test_a_refusal_says_what_was_asked_for(broker, root):
    broker.import_new("client")
    before = len(records_of(broker))
    sign, retire = SIGN[:3], [*SIGN[:2], "Retire", "t"]
    digest = {"hex": "00" * 32}
    broker.as_user("nobody", [*sign, "tsay", 3, "rsa-pss-sha512", digest], [*sign, "tsay", 0, "md5" * 30 + "\u202e", digest],
                   [*retire, 2], [*SIGN[:2], "SignTls", "tssay", 1, "ecdsa-sha256", "client", digest],
                   [*SIGN[:2], "Decrypt", "tsay", 4, "rsa-oaep-sha1\n", digest])
    asked = [(r["event"], r["generation"], r["algorithm"], r["result"]) for r in records_of(broker)[before:]]
    assert asked == [("Sign", 3, "rsa-pss-sha512", "NotFound"), ("Sign", 0, "md5" * 8 + "…", "NotFound"),
                     ("Retire", 2, None, "NotFound"), ("SignTls", 1, "ecdsa-sha256", "NotFound"),
                     ("Decrypt", 4, "rsa-oaep-sha1\\x0a", "NotFound")]


def test_a_record_has_no_hidden_character(broker, root):
    broker.import_new("client")
    before = len(records_of(broker))
    hidden = "\x1b\x7f\u009b\u00ad\u061c\u200b\u200d\u200e\u202e\u2028\u2066\u2060\ufe0f\ufeff\ufff9\U000e0041"
    texts = [hidden[i:i + 4] for i in range(0, len(hidden), 4)]  # few: further refusals are summed up
    broker.as_user("nobody", *[[*SIGN[:3], "tsay", 0, f"x{text}y", {"hex": "00" * 32}] for text in texts])
    assert [r["algorithm"] for r in records_of(broker)[before:]] == [
        "x" + "".join(f"\\x{byte:02x}" for byte in text.encode()) + "y" for text in texts]
    assert not set(hidden) & set((broker.state / "audit.jsonl").read_text())


def test_the_chain_goes_on_after_a_kill(broker):
    broker.import_new("client", "ec-p256")
    for _ in range(3):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.kill()
    broker.start()
    broker.sign("client", "ecdsa-sha256", bytes(32))
    lines = lines_of(broker.state / "audit.jsonl")
    assert_chain(lines)
    assert not [line for line in lines if json.loads(line)["event"] == "gap"]


def test_a_cut_log_gets_a_gap_and_goes_on(broker):
    broker.import_new("client", "ec-p256")
    for _ in range(5):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.stop()
    path = broker.state / "audit.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines_of(path)[:2]))
    broker.start()
    broker.sign("client", "ecdsa-sha256", bytes(32))
    events = [record["event"] for record in records_of(broker)]
    assert events[2] == "gap" and events[-1] == "Sign"
    assert records_of(broker)[2]["result"] == "Failed"


def test_a_generation_that_is_none(broker, refused):
    broker.import_new("client")
    refused("NotFound", broker.certificate, "client", "Retire", "t", dbus.UInt64(2**64 - 1))
    assert last(broker)["generation"] == 2**63 - 1


def test_open_audit(broker, refused):
    broker.import_new("client", "ec-p256")
    fd, seq, head = broker.manager("OpenAudit", "")
    with os.fdopen(fd.take(), "rb") as file:
        lines = file.read().splitlines()
        with pytest.raises(OSError):
            os.write(file.fileno(), b"x")
    # its own record is the last one
    assert int(seq) == len(lines)
    assert hashlib.sha256(lines[-1]).hexdigest() == str(head)
    assert json.loads(lines[-1])["event"] == "OpenAudit"


@pytest.fixture
def full_disk(stopped):
    """A daemon whose log ends at 4 KiB: the kernel refuses to let it grow, as a full disk does."""
    def start(failure, sync="100ms"):
        stopped.configure(broker=f'  audit-failure = "{failure}";\n  audit-sync = "{sync}";')
        stopped.start()
        stopped.import_new("client", "ec-p256")
        resource.prlimit(stopped.daemon.pid, resource.RLIMIT_FSIZE,
                         ((stopped.state / "audit.jsonl").stat().st_size + 700, resource.RLIM_INFINITY))
        return stopped
    return start


def sign_until_refused(broker, n=20):
    for _ in range(n):
        try:
            broker.sign("client", "ecdsa-sha256", bytes(32))
        except Failure as error:
            return error
    return None


@pytest.mark.parametrize("sync", ["100ms", "always"])
def test_a_log_that_cannot_be_written_refuses(full_disk, refused, sync):
    broker = full_disk("refuse", sync)
    error = sign_until_refused(broker)
    assert error and error.name == "Failed" and "audit" in error.message
    refused("Failed", broker.certificate, "client", "SetEnabled", "b", False)
    assert broker.certificate_properties("client")["State"] == "active", "nothing is done that is not recorded"
    resource.prlimit(broker.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    broker.sign("client", "ecdsa-sha256", bytes(32))
    assert_chain(lines_of(broker.state / "audit.jsonl"))


def test_nothing_is_done_that_could_not_be_recorded(broker, refused):
    """Also where the store could be written: it is asked for before anything is done."""
    broker.import_new("client")
    log, aside = broker.state / "audit.jsonl", broker.state / "aside"
    log.rename(aside)
    log.mkdir()
    message = refused("Failed", broker.sign, "client", "ecdsa-sha256", bytes(32))
    refused("Failed", broker.certificate, "client", "SetEnabled", "b", False)
    refused("Failed", broker.create_backend, "orders", "client")
    refused("Failed", broker.import_new, "another")
    assert "move away what is in its place" in message and "disk" not in message, message
    log.rmdir()
    aside.rename(log)
    broker.restart()
    assert broker.list_ids() == ["client"] and broker.certificate_properties("client")["State"] == "active"
    broker.create_backend("orders", "client")
    assert_chain(lines_of(log))


def test_how_it_is_is_told_without_a_log(full_disk, refused):
    """Just while nothing can be recorded it is asked what is wrong."""
    broker = full_disk("refuse")
    assert sign_until_refused(broker).name == "Failed"
    assert "\ncertbroker_audit_healthy 0\n" in str(broker.manager("GetMetrics"))
    assert b"\ncertbroker_audit_healthy 0\n" in broker.cli("metrics").stdout
    first = broker.cli_json("status")["attention"][0]
    assert first["object"] == "audit log" and "cannot be written" in first["reason"]
    assert broker.cli("status").returncode == 0
    assert broker.cli("status", "--check").returncode == 1
    assert broker.manager("CheckAccess", "a{sv}so", {"uid": dbus.UInt32(0)}, "manage",
                          certificate_path("client"))[0] == (os.getuid() == 0)
    fd, seq, head = broker.manager("OpenAudit")
    with os.fdopen(fd.take(), "rb") as file:
        lines = file.read().splitlines()
    assert hashlib.sha256(lines[int(seq) - 1]).hexdigest() == str(head), "its end is what was written last"
    refused("Failed", broker.certificate, "client", "SetEnabled", "b", False)
    resource.prlimit(broker.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    n_before = len(records_of(broker))
    broker.manager("GetMetrics")
    resume, asked = records_of(broker)[n_before:]
    assert resume["event"] == "resume" and asked["event"] == "GetMetrics"


def test_a_log_that_cannot_be_written_may_be_ignored(full_disk):
    broker = full_disk("continue")
    assert sign_until_refused(broker) is None
    assert_chain(lines_of(broker.state / "audit.jsonl"))
    assert "certbroker_audit_healthy 0" in broker.manager("GetMetrics", "")
    resource.prlimit(broker.daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    n_before = len(records_of(broker))
    broker.sign("client", "ecdsa-sha256", bytes(32))
    assert_chain(lines_of(broker.state / "audit.jsonl"))
    resume, signed = records_of(broker)[n_before:]
    assert resume["event"] == "resume" and int(resume["object"].split()[0]) > 10, "what was lost is counted"
    assert signed["event"] == "Sign"
    assert "certbroker_audit_healthy 1" in broker.manager("GetMetrics", "")


def test_rotation_goes_on_with_the_chain(stopped):
    stopped.configure(broker='  audit-max-size = "2KiB";')
    stopped.start()
    stopped.import_new("client", "ec-p256")
    for _ in range(20):
        stopped.sign("client", "ecdsa-sha256", bytes(32))
    rotated = sorted(stopped.state.glob("audit.jsonl.*"), key=lambda path: -int(path.suffix[1:]))
    assert len(rotated) >= 2
    assert_chain([line for path in (*rotated, stopped.state / "audit.jsonl") for line in lines_of(path)])


def test_older_files_that_go(stopped):
    """Whoever takes them: it is in the log, in the health and in what verify says, until somebody says what is left."""
    stopped.configure(broker='  audit-max-size = "2KiB";')
    stopped.start()
    stopped.import_new("client", "ec-p256")
    for _ in range(20):
        stopped.sign("client", "ecdsa-sha256", bytes(32))
    healthy = lambda: "\ncertbroker_audit_healthy 1\n" in str(stopped.manager("GetMetrics"))  # noqa: E731
    assert healthy()
    files = sorted(stopped.state.glob("audit.jsonl.*"), key=lambda path: int(path.suffix[1:]))
    first = json.loads(lines_of(files[-2])[0])
    files[-1].unlink()
    stopped.manager("Reload")
    assert not healthy()
    shown = json.loads(stopped.cli("--json", "audit", "show", "--result", "Failed").stdout)
    assert [record["event"] for record in shown] == ["removed"]
    assert shown[0]["object"].startswith(f"oldest {first['seq']} {first['prev']}, expected 1 000")
    assert stopped.cli("audit", "verify").returncode == 1
    assert stopped.cli("audit", "verify", "--first", str(first["seq"])).returncode == 0
    assert stopped.cli("audit", "verify", "--first", str(first["seq"] - 1)).returncode == 1
    stopped.manager("Reload")
    assert healthy()
    stopped.restart()
    assert healthy()
    assert len(json.loads(stopped.cli("--json", "audit", "show", "--result", "Failed").stdout)) == 1
