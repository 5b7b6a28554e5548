# SPDX-License-Identifier: Apache-2.0
"""The CLI: every verb of this version, exit statuses, --json, what is never an argument."""

import contextlib
import json
import os
import pty
import signal
import sqlite3
import subprocess
import termios

import pki
import pytest

from broker import CLI, ME, certificate_path
from cryptography.hazmat.primitives import serialization


@pytest.fixture
def files(broker):
    broker.ca = pki.Issuer()
    broker.cert = pki.certificate(pki.key("rsa-2048"), issuer=broker.ca, sans=("a.example",))
    broker.bundle = broker.folder / "client.p12"
    broker.bundle.write_bytes(pki.p12(pki.key("rsa-2048"), broker.cert, (broker.ca.certificate,)))
    broker.passphrase = broker.folder / "passphrase"
    broker.passphrase.write_text("secret\n")
    return broker


def run(broker, *arguments, status=0, **how):
    done = broker.cli(*[str(a) for a in arguments], **how)
    assert done.returncode == status, (arguments, done.returncode, done.stdout.decode(), done.stderr.decode())
    if status:
        assert done.stderr.strip(), "a failure without a word"
    return done.stdout.decode()


@pytest.fixture
def imported(files):
    run(files, "certificate", "import", "client", files.bundle, "--source", "hsm", "--passphrase-file",
        files.passphrase)
    return files


def test_import(imported):
    assert imported.certificate_properties("client")["Thumbprint"] == pki.thumbprint(imported.cert)


def test_import_passphrase_from_standard_input(files):
    run(files, "certificate", "import", "client", files.bundle, "--source", "hsm", "--passphrase-file", "-",
        input=b"secret\n")
    assert files.list_ids() == ["client"]


def test_import_bundle_from_standard_input_file(files):
    run(files, "certificate", "import", "client", files.bundle, "--source", "hsm", "--passphrase-file",
        files.passphrase, "--extractable")
    assert files.certificate_properties("client")["Extractable"] == True  # noqa: E712
    new = pki.certificate(pki.key("ec-p256"))
    files.bundle.write_bytes(pki.p12(pki.key("ec-p256"), new))
    import_again = ("certificate", "import", "client", files.bundle, "--source", "hsm", "--passphrase-file",
                    files.passphrase, "--replace")
    run(files, *import_again, status=1)  # a.example is missing
    run(files, *import_again, "--force")
    assert files.certificate_properties("client")["Generation"] == 2


def test_import_failures(files):
    files.passphrase.write_text("wrong")
    common = ("certificate", "import", "client", files.bundle, "--source")
    run(files, *common, "hsm", "--passphrase-file", files.passphrase, status=1)
    run(files, *common, "nowhere", "--passphrase-file", files.passphrase, status=3)
    run(files, "certificate", "import", "client", "/nonexistent", "--source", "hsm", "--passphrase-file",
        files.passphrase, status=1)
    run(files, *common, "hsm", "--passphrase-file", "/nonexistent", status=1)
    assert files.list_ids() == []


def test_a_secret_and_nobody_to_ask(files):
    """No terminal and no --passphrase-file: 2, and what to do; but for a bundle that needs none."""
    importing = ("certificate", "import", "client", files.bundle, "--source", "hsm")
    for command in (importing, ("source", "unlock", "hsm"),
                    ("certificate", "export", "client", "-o", files.folder / "out.p12")):
        done = files.cli(*[str(word) for word in command], input=b"")
        assert done.returncode == 2 and b"--passphrase-file" in done.stderr, done.stderr
    assert files.source_properties()["State"] == "ready", "an empty PIN was tried"
    assert not (files.folder / "out.p12").exists()
    for bundle in (pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")), passphrase=b""),
                   pki.pem(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))):
        files.bundle.write_bytes(bundle)
        run(files, *importing, input=b"")
        run(files, "certificate", "delete", "client", "--destroy-key")


def test_a_passphrase_asked_for_on_the_terminal(files):
    """Asked for where standard input is a terminal, and not shown there."""
    def ask(answer):
        command = [CLI, "--bus", files.bus_address, "certificate", "import", "client", files.bundle, "--source", "hsm"]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(command[0], [str(word) for word in command], files.environment())
        said = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(terminal, 4096):
                said += data
                if said.endswith(b"none): "):
                    assert not termios.tcgetattr(terminal)[3] & termios.ECHO
                    os.write(terminal, answer)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        echoes = termios.tcgetattr(terminal)[3] & termios.ECHO
        os.close(terminal)
        assert echoes, "the terminal stays silent"
        return status, said

    assert ask(b"\x03")[0] == -signal.SIGINT
    assert ask(b"wrong\n")[0] == 1
    status, said = ask(b"secret\n")
    assert status == 0, said
    assert b"secret" not in said and b"client imported: generation 1, active." in said
    # in PEM too, wherever what is encrypted stands
    key, cert = pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"))
    encrypted = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.BestAvailableEncryption(b"secret"))
    for bundle in (pki.der_to_pem(pki.p12(key, cert), "PKCS12"), pki.pem(cert) * 200 + encrypted):
        run(files, "certificate", "delete", "client", "--destroy-key")
        files.bundle.write_bytes(bundle)
        status, said = ask(b"secret\n")
        assert status == 0 and b"client imported" in said, said


def test_list_and_show(imported):
    imported.import_new("second", "ec-p256")
    text = run(imported, "certificate", "list")
    assert "client" in text and "second" in text
    rows = imported.cli_json("certificate", "list")
    assert [r["Id"] for r in rows] == ["client", "second"]
    for selector in ("client", pki.thumbprint(imported.cert), pki.thumbprint(imported.cert, "sha256").lower(),
                     "subject=CN=client.example"):
        if not selector.startswith("subject"):
            assert imported.cli_json("certificate", "show", selector)["Id"] == "client"
    shown = imported.cli_json("certificate", "show", "client")
    assert shown["Thumbprint"] == pki.thumbprint(imported.cert)
    assert shown["SubjectAltNames"] == ["DNS:a.example"]
    text = run(imported, "certificate", "show", "client")
    assert pki.thumbprint(imported.cert) in text.replace(":", "") and "active" in text
    run(imported, "certificate", "show", "nobody", status=3)


def test_list_many(broker):
    """More than one page of the bus's."""
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    ids = sorted(f"client-{i:03}" for i in range(130))
    for id in ids:
        broker.import_bundle(id, bundle, b"secret")
    assert [r["Id"] for r in broker.cli_json("certificate", "list")] == ids


def test_more_than_one_answer_may_hold(stopped):
    """Of a store that is too big for GetManagedObjects everything is listed and told all the same."""
    from broker import Failure, OBJECT_MANAGER, ROOT
    broker, n = stopped.start(), 2200
    broker.import_new("client")
    names = [f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{i:060}.example" for i in range(64)]
    broker.create_backend("b-0", "client", ValidateName=False, ServerNames=names)
    broker.stop()
    [path] = broker.state.glob("*.sqlite")
    count = f"WITH RECURSIVE count (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM count WHERE i < {n - 1})"
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        for table, column, others in (("backend", "name", "url, certificate, validate_chain, validate_name, ca_file, "
                                       "skip_reason, skip_until"), ("backend_list", "backend", "kind, position, value")):
            store.execute(f"{count} INSERT INTO {table} ({column}, {others}) "
                          f"SELECT 'b-' || i, {others} FROM count, {table} WHERE {column} = 'b-0'")
    broker.start()
    with pytest.raises(Failure) as refused:
        broker.call(ROOT, OBJECT_MANAGER, "GetManagedObjects", timeout=60)
    assert refused.value.name == "LimitExceeded"
    listed = broker.cli_json("backend", "list")
    assert [row["Name"] for row in listed] == sorted(f"b-{i}" for i in range(n))
    assert all(row["ServerNames"] == names for row in listed)
    status = broker.cli_json("status")
    assert (status["sources"], status["certificates"], status["backends"]) == (1, 1, n)
    assert status["channel"] == str(broker.get(ROOT, "Manager", "ChannelAddress"))
    assert len(status["attention"]) == n
    assert [row["Name"] for row in broker.cli_json("source", "list")] == ["hsm"]


def test_list_expiring(broker):
    for id, days in (("soon", 5), ("later", 100)):
        cert = pki.certificate(pki.key("ec-p256"), not_after=pki.NOW + days * pki.DAY)
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
    assert [r["Id"] for r in broker.cli_json("certificate", "list", "--expiring", "30d")] == ["soon"]
    run(broker, "certificate", "list", "--expiring", "soon", status=2)


def test_chain(imported):
    from cryptography import x509
    text = run(imported, "certificate", "chain", "client").encode()
    parts = [p + b"-----END CERTIFICATE-----\n" for p in text.split(b"-----END CERTIFICATE-----\n")[:-1]]
    assert [x509.load_pem_x509_certificate(p) for p in parts] == [imported.cert, imported.ca.certificate]


def test_key(imported):
    """The key file holds a reference and the public half; nothing secret."""
    text = run(imported, "certificate", "key", "client")
    assert "-----BEGIN CERTBROKER KEY REFERENCE-----" in text
    assert text.index("-----BEGIN") > 0, "no words for a person before it"
    import base64
    body = text.split("-----BEGIN CERTBROKER KEY REFERENCE-----")[1].split("-----END")[0]
    der = base64.b64decode(body)
    assert b"certbroker:certificate/client?generation=1" in der
    from cryptography.hazmat.primitives import serialization
    assert imported.cert.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo) in der
    numbers = pki.key("rsa-2048").private_numbers()
    for secret in (numbers.d, numbers.p, numbers.q):
        assert secret.to_bytes(256, "big").lstrip(b"\0") not in der


def test_sign(imported):
    data = imported.folder / "data"
    data.write_bytes(b"to be signed\n" * 10000)
    out = imported.folder / "signature"
    for algorithm in pki.RSA_ALGORITHMS:
        run(imported, "certificate", "sign", "client", "--algorithm", algorithm, "--in", data, "-o", out)
        pki.verify(imported.cert.public_key(), algorithm, out.read_bytes(), data.read_bytes())
    done = imported.cli("certificate", "sign", "client", "--algorithm", "rsa-pss-sha256", input=b"from stdin")
    pki.verify(imported.cert.public_key(), "rsa-pss-sha256", done.stdout, b"from stdin")
    run(imported, "certificate", "sign", "client", "--algorithm", "ecdsa-sha256", "--in", data, status=1)
    run(imported, "certificate", "sign", "client", "--algorithm", "rot13", "--in", data, status=1)


def test_sign_ed25519(broker):
    cert = broker.import_new("client", "ed25519")
    done = broker.cli("certificate", "sign", "client", "--algorithm", "ed25519", input=b"message")
    pki.verify(cert.public_key(), "ed25519", done.stdout, b"message")


def test_enable_disable_refresh(imported):
    run(imported, "certificate", "disable", "client")
    assert imported.certificate_properties("client")["State"] == "disabled"
    run(imported, "certificate", "sign", "client", "--algorithm", "rsa-pss-sha256", input=b"x", status=1)
    run(imported, "certificate", "enable", "client")
    assert imported.certificate_properties("client")["State"] == "active"
    run(imported, "certificate", "refresh", "client")


def test_register(imported):
    run(imported, "certificate", "register", "again", "pkcs11:token=test;object=client", "--source", "hsm")
    assert imported.certificate_properties("again")["Thumbprint"] == pki.thumbprint(imported.cert)
    run(imported, "certificate", "register", "none", "pkcs11:object=missing", status=3)


def test_delete(imported):
    run(imported, "backend", "create", "orders", "--url", "https://orders.example/", "--certificate", "client")
    done = imported.cli("certificate", "delete", "client")
    assert done.returncode == 5 and b"orders" in done.stderr
    run(imported, "backend", "delete", "orders")
    run(imported, "certificate", "delete", "client", "--destroy-key")
    assert imported.list_ids() == []
    assert imported.token_objects("Private Key") == []
    run(imported, "certificate", "delete", "client", status=3)


def test_backend(imported):
    run(imported, "backend", "create", "orders", "--url", "https://orders.example/", "--certificate", "client",
        "--server-name", "a.example", "--server-name", "b.example", "--ca-file", "/etc/ca.pem", "--no-validate-name",
        "--skip-reason", "test", "--skip-until", "2099-01-31")
    shown = imported.cli_json("backend", "show", "orders")
    assert shown["ServerNames"] == ["a.example", "b.example"]
    assert (shown["ValidateName"], shown["ValidateChain"]) == (False, True)
    assert shown["SkipReason"] == "test" and shown["SkipUntil"] > 4000000000
    assert "orders.example" in run(imported, "backend", "show", "orders")
    run(imported, "backend", "set", "orders", "--url", "https://other.example/", "--validate-name",
        "--no-validate-chain")
    shown = imported.cli_json("backend", "show", "orders")
    assert (shown["Url"], shown["ValidateName"], shown["ValidateChain"]) == ("https://other.example/", True, False)
    assert [b["Name"] for b in imported.cli_json("backend", "list")] == ["orders"]
    assert "orders" in run(imported, "backend", "list")
    run(imported, "backend", "create", "bad", "--url", "http://x/", "--certificate", "client", status=1)
    run(imported, "backend", "create", "bad", "--url", "https://x/", "--certificate", "nobody", status=3)
    run(imported, "backend", "create", "bad", "--url", "https://x/", status=2)
    run(imported, "backend", "show", "nobody", status=3)
    run(imported, "backend", "delete", "orders")
    assert imported.cli_json("backend", "list") == []


def test_source(broker):
    assert "hsm" in run(broker, "source", "list")
    [row] = broker.cli_json("source", "list")
    assert (row["Name"], row["State"]) == ("hsm", "ready")
    assert broker.cli_json("source", "show", "hsm")["Uri"] == "pkcs11:token=test"
    run(broker, "source", "refresh", "hsm")
    run(broker, "source", "show", "nowhere", status=3)


def test_unlock(stopped):
    stopped.pin_file.write_text("9999")
    stopped.start(ready=None)
    stopped.wait_source("hsm", "locked")
    run(stopped, "source", "unlock", "hsm", "--passphrase-file", "-", input=b"8888", status=6)
    run(stopped, "source", "unlock", "hsm", "--passphrase-file", "-", input=b"1234\n")
    stopped.wait_source("hsm", "ready")


def test_status(broker):
    broker.import_new("client")
    assert "running" in run(broker, "status")
    assert isinstance(broker.cli_json("status"), dict)
    # what needs attention is said
    broker.tokens.rename(broker.folder / "gone")
    from broker import wait_until
    wait_until(lambda: "hsm" in run(broker, "status"), "the source that is away", 20)
    (broker.folder / "gone").rename(broker.tokens)


def test_exit_status_denied(stopped):
    stopped.configure(grants=f'  x = {{ user = "{ME}"; allow = "read"; certificate = "*"; }};\n')
    stopped.start(ready=None)
    stopped.configure(grants=f'  x = {{ user = "{ME}"; allow = "manage"; certificate = "*"; backend = "*"; source = "*"; }};\n')
    run(stopped, "certificate", "list")
    run(stopped, "source", "refresh", "hsm", status=3)
    stopped.daemon.send_signal(signal.SIGHUP)
    from broker import Failure, wait_until

    def ready():
        try:
            return stopped.source_properties()["State"] == "ready"
        except Failure:
            return False
    wait_until(ready, "ready")
    stopped.import_new("client")
    run(stopped, "certificate", "sign", "client", "--algorithm", "ecdsa-sha256", input=b"x", status=4)


def test_exit_status_unavailable(stopped):
    stopped.configure(sources=stopped.source(uri="pkcs11:token=elsewhere"))
    stopped.start(ready=None)
    stopped.wait_source("hsm", "unavailable")
    file = stopped.folder / "b.p12"
    file.write_bytes(pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"))))
    run(stopped, "certificate", "import", "client", file, "--source", "hsm", "--passphrase-file", "-",
        input=b"secret", status=6)


def test_no_daemon(stopped):
    assert b"certbrokerd" in stopped.cli("status").stderr
    run(stopped, "status", status=6)
    stopped.stop_bus()
    run(stopped, "status", status=6)


def test_usage(stopped):
    """2, with a word about what is right; --help at each level is 0, on standard output."""
    for arguments in ([], ["nonsense"], ["certificate"], ["certificate", "nonsense"], ["certificate", "show"],
                      ["certificate", "show", "a", "b"], ["certificate", "show", "a", "--colour"],
                      ["--bus"], ["certificate", "import", "x", "y"], ["certificate", "sign", "x"],
                      ["certificate", "import", "x", "y", "--source", "hsm", "--passphrase", "secret"]):
        run(stopped, *arguments, status=2)
    for arguments in (["--help"], ["certificate", "--help"], ["certificate", "import", "--help"],
                      ["backend", "--help"], ["backend", "create", "--help"], ["source", "--help"],
                      ["status", "--help"]):
        text = run(stopped, *arguments)
        assert "certbroker" in text and len(text) > 40, arguments


def test_json_of_failures(broker):
    """--json prints one document, also of an error; nothing else is on standard output."""
    done = broker.cli("--json", "certificate", "show", "nobody")
    assert done.returncode == 3
    if done.stdout.strip():
        assert json.loads(done.stdout)
    assert b"nobody" in done.stderr + done.stdout


def test_json_of_what_answers_nothing(imported):
    for arguments in (("certificate", "disable", "client"), ("certificate", "enable", "client")):
        done = imported.cli("--json", *arguments)
        assert done.returncode == 0
        json.loads(done.stdout)


def test_bus_from_the_environment(broker):
    broker.import_new("client")
    done = subprocess.run([str(CLI), "--json", "certificate", "list"],
                          env=broker.environment(CERTBROKER_BUS=broker.bus_address), capture_output=True, check=True)
    assert [r["Id"] for r in json.loads(done.stdout)] == ["client"]


def test_on_the_channel(broker):
    """Descriptors included, which libdbus sends only once a connection is authenticated."""
    file = broker.folder / "b.p12"
    file.write_bytes(pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"))))
    addresses = str(broker.get("/org/certbroker1", "Manager", "ChannelAddress"))
    for i, address in enumerate([addresses, *addresses.split(";")]):
        done = subprocess.run([str(CLI), "--bus", address, "certificate", "import", f"client-{i}", str(file), "--source",
                               "hsm", "--passphrase-file", "-"], input=b"secret", env=broker.environment(),
                              capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert broker.list_ids() == ["client-0", "client-1", "client-2"]


def test_hidden_characters_do_not_reach_the_terminal(broker):
    """What a subject holds is data: it is imported whatever it is, found by its subject, and shown escaped."""
    hidden = "\x1b\n\x7f\u0085\u009b\u00ad\u061c\u200b\u200d\u200e\u202e\u2028\u2066\u2060\ufe0f\ufeff\ufff9\U000e0041\uffff"
    for i, character in enumerate(hidden):
        cert = pki.certificate(pki.key("ec-p256"), f"müller{character}b", sans=[f"a{i}.example"])
        broker.import_bundle(f"client-{i}", pki.p12(pki.key("ec-p256"), cert), b"secret")
        subject = broker.certificate_properties(f"client-{i}")["Subject"]
        escaped = "".join(f"\\{byte:02X}" for byte in character.encode())
        assert subject in (f"CN=müller{escaped}b", f"CN=m\\C3\\BCller{escaped}b")
        assert broker.manager("GetCertificate", "s", f"subject={subject}") == certificate_path(f"client-{i}")
    outputs = [run(broker, *arguments) for arguments in (
        ("certificate", "show", f"client-{i}"), ("certificate", "list"), ("status",), ("audit", "show"))]
    assert subject in outputs[0]
    for output in outputs:
        assert not set(hidden) - {"\n"} & set(output)


def test_policy_list_and_backup_are_of_the_daemon_that_answers(broker):
    broker.import_new("client")
    [grant] = broker.cli_json("policy", "list")
    assert grant["name"] == "everything"
    copy = broker.folder / "copy.sqlite"
    run(broker, "backup", copy)
    with sqlite3.connect(copy) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT id FROM certificate").fetchall() == [("client",)]


def test_policy_list_says_what_is_not_in_force(broker):
    """It shows the configuration; the daemon knows whether it has the same."""
    def listed(*arguments):
        done = broker.cli("policy", "list", *arguments)
        assert done.returncode == 0
        return done.stdout.decode(), done.stderr.decode()

    assert "everything" in listed()[0] and not listed()[1]
    broker.configure(grants=f'  other = {{ user = "{ME}"; allow = [ "manage", "audit" ]; certificate = "*"; source = "*"; }};\n')
    text, warning = listed()
    assert "other" in text and "others in force" in warning
    assert not listed("--config", broker.config)[1], "another configuration is not held against the daemon's"
    broker.manager("Reload")
    assert not listed()[1]
    broker.configure(grants=f'  less = {{ user = "{ME}"; allow = "manage"; certificate = "a*"; }};\n')
    broker.manager("Reload")
    assert "not known" in listed()[1], "its metrics are for who is granted audit"


def test_policy_check(broker):
    """Allowed 0, denied 4; its answer on standard output and nothing else."""
    def check(*arguments, status):
        for bus in (broker.bus_address, str(broker.get("/org/certbroker1", "Manager", "ChannelAddress"))):
            done = subprocess.run([CLI, "--bus", bus, *options, "policy", "check", *arguments],
                                  env=broker.environment(), capture_output=True, check=False)
            assert (done.returncode, done.stderr if status in (0, 4) else b"") == (status, b""), (bus, done)
        return done.stdout.decode()

    options = []
    assert check("--user", ME, "use", "certificate/x", status=0).startswith("allowed: grant 'everything'")
    assert check("--user", str(os.getuid()), "tls", "/org/certbroker1/backend/x", status=0)
    assert "export" in check("--user", ME, "export", "certificate/x", status=4)
    assert check("--user", "nobody", "read", "backend/x", status=4).startswith("denied: ")
    assert check("--user", ME, "manage", "source/hsm", status=0).startswith("allowed: ")
    assert check("--user", ME, "audit", "/org/certbroker1", status=0).startswith("allowed: ")
    assert "broker itself" in check("--user", ME, "audit", "certificate/x", status=4)
    check("--user", "no.such.user", "read", "backend/x", status=3)
    check("--user", ME, "read", "x", status=2)
    check("read", "certificate/x", status=2)
    options = ["--json"]
    assert json.loads(check("--user", "nobody", "read", "certificate/x", status=4))["allowed"] is False
