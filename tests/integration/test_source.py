# SPDX-License-Identifier: Apache-2.0
"""Sources: PINs, tokens that are not there or come and go, processes that die or hang, odd labels."""

import json
import os
import signal
import time

import dbus
import pki
import pytest

from broker import NAME, Failure, PIN, memfd, source_path, wait_until


def unlock(broker, pin, name="hsm"):
    fd = memfd(pin)
    try:
        broker.source_call(name, "Unlock", "h", dbus.types.UnixFd(fd))
    finally:
        os.close(fd)


# PINs

def test_wrong_pin_is_tried_once(stopped, refused):
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    error = str(stopped.source_properties("hsm")["LastError"])
    assert "PIN" in error and "9999" not in error
    for _ in range(3):
        refused("SourceLocked", stopped.import_new, "client")
    # a reload with the same file does not try again; nor does time
    stopped.manager("Reload")
    time.sleep(1)
    assert stopped.source_properties("hsm")["State"] == "locked"
    assert stopped.log_text().count("refuses the PIN") == 1, stopped.log_text()
    # nor does the next process, with the same PIN
    stopped.restart(ready=None)
    stopped.wait_source("hsm", "locked")
    assert "9999" not in stopped.log_text()


def test_unlock(stopped, refused):
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    refused("SourceLocked", unlock, stopped, b"8888")
    assert stopped.source_properties("hsm")["State"] == "locked"
    unlock(stopped, PIN.encode() + b"\n")
    stopped.wait_source("hsm", "ready")
    stopped.import_new("client")
    stopped.sign("client", "ecdsa-sha256", bytes(32))
    assert stopped.source_properties("hsm")["LastError"] == ""


def test_unlock_with_a_bad_descriptor(stopped, refused):
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    directory = os.open("/", os.O_RDONLY)
    zero = os.open("/dev/zero", os.O_RDONLY)
    for fd in (directory, zero, memfd(b"")):
        refused("InvalidArgument", stopped.source_call, "hsm", "Unlock", "h", dbus.types.UnixFd(fd))
    refused("InvalidArgument", unlock, stopped, b"1" * (2 << 20))
    assert stopped.source_properties("hsm")["State"] == "locked"
    unlock(stopped, PIN.encode())
    stopped.wait_source("hsm", "ready")


def test_missing_pin_file(stopped, refused):
    stopped.pin_file.unlink()
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    assert str(stopped.pin_file) in stopped.source_properties("hsm")["LastError"]
    refused("SourceLocked", stopped.import_new, "client")
    unlock(stopped, PIN.encode())
    stopped.wait_source("hsm", "ready")


def test_pin_file_that_others_may_read(stopped):
    """Also one that became so while the broker runs: it is not used."""
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    stopped.pin_file.write_text(PIN)
    stopped.pin_file.chmod(0o644)
    with pytest.raises(Failure):
        stopped.source_call("hsm", "Refresh")
    assert f"chmod o-rwx {stopped.pin_file}" in stopped.source_properties("hsm")["LastError"]
    stopped.pin_file.chmod(0o600)
    stopped.source_call("hsm", "Refresh")
    stopped.wait_source("hsm", "ready")


def test_module_of_p11_kit_that_others_may_write(stopped, root):
    """p11-kit loads what its folder names, whosever that is."""
    folder = stopped.folder / "modules"
    folder.mkdir()
    (folder / "x.module").write_text(f"module: {stopped.fault_module().strip(chr(34))}\n")
    module = stopped.folder / "p11fault.so"
    module.chmod(0o666)
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=None))
    stopped.daemon = stopped.spawn(command=[
        "unshare", "--mount", "sh", "-c", f'mount --bind {folder} /usr/share/p11-kit/modules && exec "$@"', "sh"])
    wait_until(lambda: stopped.connection.name_has_owner(NAME), "the name")
    stopped.wait_source("hsm", "unavailable")
    assert f"chmod go-w {module}" in stopped.source_properties("hsm")["LastError"]
    module.chmod(0o755)
    wait_until(lambda: stopped.source_properties("hsm")["State"] == "ready", "the module is taken", 30)


def test_module_that_others_may_write_by_now(stopped):
    """Its configuration was read when that was good: it is looked at whenever it is loaded."""
    module = stopped.folder / "p11fault.so"
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start()
    module.chmod(0o666)
    os.kill(stopped.helper_pids()[0], signal.SIGKILL)
    wait_until(lambda: f"chmod go-w {module}" in stopped.source_properties("hsm")["LastError"], "it is refused", 20)
    assert stopped.source_properties("hsm")["State"] == "unavailable"
    module.chmod(0o755)
    wait_until(lambda: stopped.source_properties("hsm")["State"] == "ready", "the module is taken", 30)


def test_empty_pin_file(stopped, refused):
    stopped.pin_file.write_text("\n")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    assert "empty" in stopped.source_properties("hsm")["LastError"].lower()
    refused("SourceLocked", stopped.import_new, "client")


def test_new_pin_file_is_read_by_a_reload(stopped):
    """By that alone, and only if it holds another PIN."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))

    def calls(name):
        return sum(line.startswith(f"{name} ") for line in stopped.calls.read_text().splitlines())

    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    assert calls("C_Login") == 1
    stopped.manager("Reload")
    wait_until(lambda: "refused this PIN before" in stopped.source_properties("hsm")["LastError"], "the file is read")
    assert calls("C_Login") == 1
    stopped.pin_file.write_text(PIN)
    looks = calls("C_GetSessionInfo")
    wait_until(lambda: calls("C_GetSessionInfo") > looks + 1, "the token is looked at")
    assert calls("C_Login") == 1
    stopped.manager("Reload")
    stopped.wait_source("hsm", "ready")
    assert calls("C_Login") == 2


def test_new_pin_file_is_read_after_a_signal(stopped):
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    stopped.pin_file.write_text(PIN)
    stopped.daemon.send_signal(signal.SIGHUP)
    stopped.wait_source("hsm", "ready")


def test_pin_from_the_credentials_directory(stopped):
    """A relative name is looked up in $CREDENTIALS_DIRECTORY."""
    credentials = stopped.folder / "credentials"
    credentials.mkdir()
    (credentials / "my-pin").write_text(PIN)
    (credentials / "my-pin").chmod(0o440)  # as systemd has it, where the file is root's and an access list lets us in
    stopped.extra_environment["CREDENTIALS_DIRECTORY"] = str(credentials)
    stopped.configure(sources=stopped.source(**{"pin-file": '"my-pin"'}))
    stopped.start()


# tokens

def test_token_with_another_label(stopped, refused):
    stopped.configure(sources=stopped.source(uri="pkcs11:token=prod"))
    stopped.start(ready=None)
    stopped.wait_source("hsm", "unavailable")
    assert "'test'" in stopped.source_properties("hsm")["LastError"], "what there is instead"
    refused("SourceUnavailable", stopped.import_new, "client")


def test_token_that_is_made_later(stopped):
    stopped.configure(sources=stopped.source(uri="pkcs11:token=later"))
    stopped.start(ready=None)
    stopped.wait_source("hsm", "unavailable")
    stopped.init_token("later")
    wait_until(lambda: stopped.source_properties("hsm")["State"] == "ready", "the new token is found", 30)
    stopped.import_new("client")


def test_two_tokens(stopped, refused):
    stopped.init_token("second", "5678")
    second = stopped.secret("second-pin", "5678")
    stopped.configure(sources=stopped.source() + stopped.source("two", uri="pkcs11:token=second",
                                                                **{"pin-file": f'"{second}"'}))
    stopped.start()
    stopped.wait_source("two", "ready")
    cert = pki.certificate(pki.key("ec-p256"))
    bundle = pki.p12(pki.key("ec-p256"), cert)
    stopped.import_bundle("here", bundle, b"secret", "hsm")
    stopped.import_bundle("there", bundle, b"secret", "two")
    assert stopped.certificate_properties("there")["Source"] == "two"
    assert "token=second" in stopped.certificate_properties("there")["KeyUri"]
    for id in ("here", "there"):
        signature = stopped.sign(id, "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
        pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"m")
    # one of them goes away: the other is not disturbed
    stopped.configure()
    stopped.manager("Reload")
    stopped.sign("here", "ecdsa-sha256", bytes(32))
    refused("SourceUnavailable", stopped.sign, "there", "ecdsa-sha256", bytes(32))
    with pytest.raises(Failure):
        stopped.source_properties("two")


def test_token_goes_and_comes_back(broker):
    """Its folder is moved away under the running daemon, and back: no restart, no operator, nothing forgotten."""
    broker.import_new("client", "ec-p256")
    broker.create_backend("orders", "client")
    broker.sign("client", "ecdsa-sha256", bytes(32))
    broker.tokens.rename(broker.folder / "gone")
    broker.tokens.mkdir()
    failures = []

    def fails():
        try:
            broker.sign("client", "ecdsa-sha256", bytes(32))
            return False
        except Failure as failure:
            failures.append(failure.name)
            return failure.name == "SourceUnavailable"

    wait_until(fails, "signatures are refused", 15)
    assert set(failures) <= {"SourceUnavailable", "Failed", "NotFound"}, failures
    wait_until(lambda: broker.source_properties("hsm")["State"] != "ready", "the source says so", 15)
    # the cached certificates are served
    assert broker.backend("orders", "GetCredential")["id"] == "client"
    assert broker.list_ids() == ["client"]
    began = time.monotonic()
    with pytest.raises(Failure):
        broker.sign("client", "ecdsa-sha256", bytes(32))
    assert time.monotonic() - began < 1
    broker.tokens.rmdir()
    (broker.folder / "gone").rename(broker.tokens)
    broker.wait_source("hsm", "ready")
    signature = wait_until(lambda: signs(broker), "it signs again", 15)
    pki.verify(pki.key("ec-p256").public_key(), "ecdsa-sha256", signature, b"m")
    assert broker.certificate_properties("client")["State"] == "active"


def signs(broker):
    try:
        return broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
    except Failure:
        return None


def test_token_label_that_is_not_utf8(stopped):
    """libdbus aborts on such a string: it must not get there."""
    stopped.init_token(b"caf\xe9\xff")
    stopped.configure(sources=stopped.source() + stopped.source("odd", uri="pkcs11:token=caf%E9%FF"))
    stopped.start()
    wait_until(lambda: stopped.source_properties("odd")["State"] in ("ready", "unavailable", "locked"), "a state")
    assert stopped.source_properties("odd")["State"] == "ready", dict(stopped.source_properties("odd"))
    cert = stopped.import_new("client", source="odd")
    properties = stopped.certificate_properties("client")
    assert properties["Source"] == "odd"
    assert "%" in properties["KeyUri"]
    signature = stopped.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"))
    pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"m")
    stopped.manager("ListCertificates", "su", "", dbus.UInt32(10))


def test_subject_that_is_not_utf8(broker):
    """A TeletexString with Latin-1 in it, as old authorities made them."""
    key = pki.key("ec-p256")
    der = pki.with_raw_subject(key, b"\x0c\x05cafXY", b"\x14\x05caf\xe9\xff", "cafXY")
    broker.import_bundle("client", pki.pem(key) + pki.der_to_pem(der))
    subject = str(broker.certificate_properties("client")["Subject"])
    assert subject.startswith("CN=caf"), subject
    assert broker.chain("client") == [der]
    broker.sign("client", "ecdsa-sha256", bytes(32))
    assert broker.list_ids() == ["client"]


def test_subject_that_claims_to_be_utf8(broker):
    """A UTF8String that is none: OpenSSL does not take such a certificate, and so neither do we."""
    key = pki.key("ec-p256")
    der = pki.with_raw_subject(key, b"\x0c\x05cafXY", b"\x0c\x05caf\xe9\xff", "cafXY")
    with pytest.raises(Failure) as caught:
        broker.import_bundle("client", pki.pem(key) + pki.der_to_pem(der))
    assert caught.value.name == "BadBundle"
    broker.import_new("client")
    assert broker.token_objects("Private Key")[0]["label"] == "client"


def test_objects_of_others_with_odd_labels(stopped):
    """What others put into the token does not disturb us, whatever it is called."""
    from test_register import put
    key = pki.key("ec-p256", 7)
    put(stopped, b"caf\xe9\xff", key, pki.certificate(key))
    stopped.start()
    stopped.import_new("client")
    stopped.manager("RegisterCertificate", "ssa{sv}", "odd", "pkcs11:object=caf%E9%FF",
                    dbus.Dictionary({}, signature="sv"))
    assert stopped.certificate_properties("odd")["KeyUri"].startswith("pkcs11:")
    stopped.sign("odd", "ecdsa-sha256", bytes(32))


# processes

# an attribute of SoftHSM's files: its type, its kind, its value
PRIVATE_KEY_FILE = bytes(8) + (2).to_bytes(8, "big") + (3).to_bytes(8, "big")  # CKA_CLASS = CKO_PRIVATE_KEY


def test_truncated_object(broker, refused):
    """SoftHSM leaves out a file that it cannot read, and says nothing: the key is missed, and nothing is forgotten."""
    def properties():
        return broker.certificate_properties("client")

    def contents():
        return {f: f.read_bytes() for f in broker.tokens.rglob("*.object") if f.name != "token.object"}

    broker.import_new("other")
    others = set(broker.tokens.rglob("*.object"))
    cert = broker.import_new("client")
    broker.create_backend("orders", "client")
    [file] = [f for f in broker.tokens.rglob("*.object") if f not in others and PRIVATE_KEY_FILE in f.read_bytes()]
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) // 2])
    files = contents()
    [process] = broker.helper_pids()
    os.kill(process, signal.SIGKILL)  # what SoftHSM has read once it does not read again
    wait_until(lambda: properties()["State"] == "unavailable", "unavailable")
    assert "has no private key" in properties()["LastError"]
    assert "has no private key" in refused("NotFound", broker.sign, "client", "ecdsa-sha256", bytes(32))
    broker.sign("other", "ecdsa-sha256", bytes(32))
    assert broker.backend("orders", "GetCredential")["thumbprint"] == pki.thumbprint(cert)
    attention = broker.cli_json("status")["attention"]
    assert any("client" in json.dumps(item) for item in attention), attention
    assert contents() == files

    file.write_bytes(whole)
    broker.restart()
    wait_until(lambda: properties()["State"] == "active", "active again")
    assert properties()["LastError"] == "" and properties()["Generation"] == 1
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_killed_process_is_started_again(broker):
    cert = broker.import_new("client")
    for _ in range(3):
        [pid] = broker.helper_pids()
        os.kill(pid, signal.SIGKILL)
        signature = wait_until(lambda: signs(broker), "it signs again", 15)
        pki.verify(cert.public_key(), "ecdsa-sha256", signature, b"m")
        assert broker.helper_pids() != [pid]


def test_killed_process_with_requests_in_flight(broker):
    """Each is answered, with a signature or an error, and soon."""
    import concurrent.futures
    cert = broker.import_new("client", "rsa-4096")

    def work(_):
        connection = broker.connect()
        began = time.monotonic()
        try:
            signature = broker.sign("client", "rsa-pss-sha256", pki.digest("rsa-pss-sha256", b"m"),
                                    connection=connection)
            pki.verify(cert.public_key(), "rsa-pss-sha256", signature, b"m")
            return "ok", time.monotonic() - began
        except Failure as failure:
            return failure.name, time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        results = [pool.submit(work, i) for i in range(40)]
        time.sleep(0.05)
        for pid in broker.helper_pids():
            os.kill(pid, signal.SIGKILL)
        outcomes = [r.result() for r in results]
    assert set(name for name, _ in outcomes) <= {"ok", "SourceUnavailable"}, outcomes
    assert max(took for _, took in outcomes) < 8
    wait_until(lambda: signs_rsa(broker), "it signs again", 15)


def signs_rsa(broker):
    try:
        return broker.sign("client", "rsa-pss-sha256", bytes(32))
    except Failure:
        return None


def test_hung_process(stopped):
    """A source that answers nothing: its requests time out, it is killed and started again; others go on."""
    stopped.init_token("second", "5678")
    second = stopped.secret("second-pin", "5678")
    stopped.configure(broker='request-timeout = "2s";', sources=stopped.source() + stopped.source(
        "two", uri="pkcs11:token=second", **{"pin-file": f'"{second}"'}))
    stopped.start()
    stopped.wait_source("two", "ready")
    stopped.import_new("client", source="hsm")
    stopped.import_new("other", source="two")
    hung = {pid for pid in stopped.helper_pids() if b"hsm" in open(f"/proc/{pid}/cmdline", "rb").read()}
    if not hung:  # the name is not among its arguments: the first that was started
        hung = {min(stopped.helper_pids())}
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(Failure) as caught:
        stopped.sign("client", "ecdsa-sha256", bytes(32))
    assert caught.value.name in ("TimedOut", "SourceUnavailable"), str(caught.value)
    assert time.monotonic() - began < 6
    stopped.sign("other", "ecdsa-sha256", bytes(32))
    assert wait_until(lambda: signs(stopped), "it signs again", 20)
    assert not hung & set(stopped.helper_pids())


def test_stop_with_a_hung_process(broker):
    broker.import_new("client")
    for pid in broker.helper_pids():
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    broker.stop()
    assert time.monotonic() - began < 7


def test_no_process_is_left_behind(broker):
    pids = broker.helper_pids()
    assert pids
    broker.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), "they end with their broker", 5)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_process_environment(stopped):
    """certbrokerd's, without NOTIFY_SOCKET and LISTEN_*; and no PIN in it, nor among the arguments."""
    stopped.extra_environment.update({"LISTEN_FDNAMES": "x", "CANARY": "yes"})
    stopped.start()
    for pid in stopped.helper_pids():
        environment = open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
        assert b"CANARY=yes" in environment
        assert not [e for e in environment if e.startswith((b"NOTIFY_SOCKET", b"LISTEN_"))]
        assert PIN.encode() not in open(f"/proc/{pid}/cmdline", "rb").read()


def test_module_that_cannot_be_loaded(stopped, refused):
    stopped.configure(sources=stopped.source(module='"/nonexistent/module.so"'))
    stopped.start(ready=None)
    stopped.wait_source("hsm", "unavailable")
    assert "/nonexistent/module.so" in stopped.source_properties("hsm")["LastError"]
    refused("SourceUnavailable", stopped.import_new, "client")
    text = tmp = stopped.folder / "text.so"
    tmp.write_text("no library")
    stopped.configure(sources=stopped.source(module=f'"{text}"'))
    stopped.manager("Reload")
    wait_until(lambda: str(text) in stopped.source_properties("hsm")["LastError"], "the other error")


@pytest.mark.parametrize("code", ["0xe2", "0x31", "0x6"])
def test_token_that_takes_nothing(stopped, code):
    """Full, or read-only; SoftHSM says 0x6: nothing is half made, and what is there signs."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start()
    stopped.import_new("client")
    objects = stopped.token_objects()
    stopped.fault_rules(f"C_CreateObject rv={code}\n")
    for _ in range(4):
        with pytest.raises(Failure) as caught:
            stopped.import_new("second")
        assert caught.value.name in ("SourceDenied", "SourceUnavailable"), str(caught.value)
        assert "C_CreateObject" in caught.value.message
    assert signs(stopped)
    assert stopped.source_properties("hsm")["State"] == "ready"
    assert stopped.list_ids() == ["client"] and stopped.token_objects() == objects
    stopped.fault_rules("")
    stopped.import_new("second")


def test_requests_wait_for_a_token_that_starts(stopped):
    """What comes just after READY=1 is done when the token is there; what is known without it is stale until then."""
    stopped.fault_rules("C_Initialize delay=1500\n")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start(ready=None)
    assert stopped.source_properties("hsm")["State"] == "starting"
    stopped.import_new("client")
    assert stopped.source_properties("hsm")["State"] == "ready"
    stopped.create_backend("orders", "client")
    stopped.restart(ready=None)
    assert stopped.backend("orders", "GetCredential")["stale"]
    assert stopped.source_properties("hsm")["State"] == "starting"
    stopped.sign("client", "ecdsa-sha256", bytes(32))
    assert not stopped.backend("orders", "GetCredential")["stale"]


def test_broker_killed_while_its_source_logs_in(stopped):
    """The source's process ends with it; the next one logs in by itself."""
    stopped.fault_rules("C_Login count=1 delay=3000\n")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start(ready=None)
    wait_until(lambda: any(stopped.folder.rglob("source-hsm/pin-refused")), "the try is written down")
    stopped.kill()
    stopped.fault_rules("")
    stopped.start()
