# SPDX-License-Identifier: Apache-2.0
"""A key's whole life by the command line alone: made, certified, renewed, rolled back, retired, taken out, destroyed."""

import time

import pki
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from broker import GRANT_ALL, ME, wait_until


def run(broker, *arguments, status=0, **how):
    done = broker.cli(*[str(a) for a in arguments], **how)
    assert done.returncode == status, (arguments, done.returncode, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


@pytest.fixture
def world(broker):
    broker.ca = pki.Issuer()
    return broker


def issue(broker, request, file, sans=("orders.example",)):
    """An authority that is not ours turns the request into a certificate."""
    from cryptography.hazmat.primitives import hashes
    csr = x509.load_pem_x509_csr(request.encode() if isinstance(request, str) else request)
    assert csr.is_signature_valid
    cert = (x509.CertificateBuilder().subject_name(csr.subject).issuer_name(broker.ca.certificate.subject)
            .public_key(csr.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(pki.NOW - pki.DAY).not_valid_after(pki.NOW + 365 * pki.DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in sans]), False)
            .sign(broker.ca.key, hashes.SHA256()))
    file.write_bytes(pki.pem(cert) + pki.pem(broker.ca.certificate))
    return cert


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256"])
def test_from_generate_to_destroy(world, key_type):
    shown = world.cli_json("certificate", "generate", "orders", "--source", "hsm", "--type", key_type)
    assert shown["State"] == "pending" and shown["KeyType"] == key_type
    assert "none yet" in run(world, "certificate", "list") and "none yet" in run(world, "certificate", "show", "orders")
    request = run(world, "certificate", "request", "orders", "--subject", "CN=orders.example,O=Example", "--san",
                  "DNS:orders.example", "--san", "IP:10.0.0.1", "--san", "URI:spiffe://x/y", "--san", "email:a@b.example")
    csr = x509.load_pem_x509_csr(request.encode())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["orders.example"]
    assert csr.subject.rfc4514_string() == "CN=orders.example,O=Example"
    chain = world.folder / "chain.pem"
    first = issue(world, request, chain)
    assert "generation 1, active" in run(world, "certificate", "install", "orders", chain)
    assert world.certificate_properties("orders")["Thumbprint"] == pki.thumbprint(first)
    algorithm = "rsa-pss-sha256" if key_type.startswith("rsa") else "ecdsa-sha256"
    signature = world.cli("certificate", "sign", "orders", "--algorithm", algorithm, input=b"data").stdout
    pki.verify(first.public_key(), algorithm, signature, b"data")

    # the next key, in the background; the first one goes on until its certificate is there
    said = run(world, "certificate", "generate", "orders", "--source", "hsm", "--type", "ec-p384", "--replace")
    assert "waits for its certificate" in said and "until then: generation 1, active" in said
    assert world.certificate_properties("orders")["State"] == "active"
    file = world.folder / "request.pem"
    run(world, "certificate", "request", "orders", "--subject", "CN=orders.example", "-o", file)
    second = issue(world, file.read_bytes(), chain)
    run(world, "certificate", "install", "orders", chain)
    assert world.certificate_properties("orders")["Thumbprint"] == pki.thumbprint(second)

    # back, forward, and the first one never again
    assert "generation 1" in run(world, "certificate", "rollback", "orders", "1")
    assert world.certificate_properties("orders")["Thumbprint"] == pki.thumbprint(first)
    run(world, "certificate", "rollback", "orders", "2")
    run(world, "certificate", "retire", "orders", "2", status=1)  # the current one
    run(world, "certificate", "retire", "orders", "1")
    run(world, "certificate", "rollback", "orders", "1", status=1)
    for wrong in ("0", "x", "-1"):
        run(world, "certificate", "rollback", "orders", wrong, status=2)

    # a chain of a foreign key, and a name that would be missing
    foreign = world.folder / "foreign.pem"
    foreign.write_bytes(pki.pem(pki.certificate(pki.key("ec-p256", "foreign"), "orders.example")))
    run(world, "certificate", "install", "orders", foreign, status=1)
    run(world, "certificate", "request", "orders", "--subject", "CN=other.example", "-o", file)
    issue(world, file.read_bytes(), chain, sans=("other.example",))
    run(world, "certificate", "install", "orders", chain, status=1)
    run(world, "certificate", "install", "orders", chain, "--force")

    # it is not extractable; and destroyed it leaves nothing in the token
    run(world, "certificate", "export", "orders", "-o", world.folder / "out.p12", "--passphrase-file", "-",
        input=b"secret", status=4)
    run(world, "certificate", "delete", "orders", "--destroy-key")
    assert world.token_objects() == []
    assert run(world, "audit", "verify")
    text = run(world, "audit", "show", "--certificate", "orders", "--result", "ok")
    for event in ("GenerateKey", "CreateRequest", "InstallCertificate", "SetCurrent", "Retire", "Sign", "Delete"):
        assert event in text, event


def test_export(stopped):
    me = __import__("pwd").getpwuid(__import__("os").getuid()).pw_name
    stopped.configure(grants=f'  x = {{ user = "{me}"; allow = [ "manage", "use", "export" ];'
                             ' certificate = "*"; backend = "*"; source = "*"; };\n')
    stopped.start()
    cert = pki.certificate(pki.key("ec-p256"))
    bundle, out = stopped.folder / "in.p12", stopped.folder / "out.p12"
    bundle.write_bytes(pki.p12(pki.key("ec-p256"), cert))
    run(stopped, "certificate", "import", "client", bundle, "--source", "hsm", "--passphrase-file", "-", "--extractable",
        input=b"secret")
    run(stopped, "certificate", "export", "client", "-o", out, "--passphrase-file", "-", input=b"another")
    assert out.stat().st_mode & 0o777 == 0o600
    key, leaf, _ = serialization.pkcs12.load_key_and_certificates(out.read_bytes(), b"another")
    assert leaf == cert and key.private_numbers() == pki.key("ec-p256").private_numbers()
    run(stopped, "certificate", "export", "client", "-o", "-", "--passphrase-file", "/dev/null", status=2)


def test_generate_mistakes(world):
    run(world, "certificate", "generate", "x", "--source", "hsm", "--type", "rsa-1024", status=1)
    run(world, "certificate", "generate", "x", "--source", "nowhere", "--type", "ec-p256", status=3)
    run(world, "certificate", "generate", "a b", "--source", "hsm", "--type", "ec-p256", status=1)
    run(world, "certificate", "generate", "x", "--source", "hsm", status=2)
    run(world, "certificate", "generate", "x", "--source", "hsm", "--type", "ec-p256")
    run(world, "certificate", "request", "x", "--subject", "this is no name", status=1)
    run(world, "certificate", "request", "x", "--subject", "CN=x", "--san", "PHONE:1", status=1)
    run(world, "certificate", "request", "nobody", "--subject", "CN=x", status=3)
    run(world, "certificate", "install", "x", "/nonexistent", status=1)
    assert world.list_ids() == ["x"]


def test_status_tells_what_needs_attention_first(broker):
    """Worst first: what does not work now, then what will not work soon, then what is less safe than it could be."""
    def import_one(id, **when):
        cert = pki.certificate(pki.key("ec-p256"), f"{id}.example", **when)
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")

    import_one("a-fine")
    import_one("b-soon", not_after=pki.NOW + 5 * pki.DAY)
    import_one("c-expired", not_before=pki.NOW - 20 * pki.DAY, not_after=pki.NOW - 5 * pki.DAY)
    run(broker, "certificate", "generate", "d-pending", "--source", "hsm", "--type", "ec-p256")
    run(broker, "backend", "create", "e-blind", "--url", "https://x.example/", "--certificate", "a-fine",
        "--no-validate-chain", "--skip-reason", "ticket 4711", "--skip-until", "+2d")
    run(broker, "backend", "create", "f-open", "--url", "https://x.example/", "--certificate", "a-fine",
        "--no-validate-name")
    status = broker.cli_json("status")
    order = [row["object"] for row in status["attention"]]
    assert order == ["certificate/c-expired", "certificate/d-pending", "certificate/b-soon", "backend/e-blind",
                     "backend/f-open"], order
    text = run(broker, "status")
    assert "ticket 4711" in text and "until 20" in text and "a-fine" not in text
    run(broker, "certificate", "disable", "a-fine")
    assert "certificate/a-fine" in run(broker, "status")
    # what the caller switched off ends by itself, and status tells no more of it
    run(broker, "backend", "set", "e-blind", "--skip-until", time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                                         time.gmtime(time.time() + 2)))
    wait_until(lambda: "e-blind" not in run(broker, "status"), "the exception has ended")


def test_status_says_what_it_was_not_told(stopped):
    """Without `audit` nobody knows how the log is: silence would look like health."""
    line = 'How the audit log and the limits are is told with the operation "audit".'
    stopped.start()
    assert line not in run(stopped, "status")
    stopped.configure(grants=GRANT_ALL.format(me=ME).replace(', "audit"', ""))
    stopped.manager("Reload")
    text = run(stopped, "status")
    assert line in text and "Nothing needs attention" in text
