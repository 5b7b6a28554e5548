# SPDX-License-Identifier: Apache-2.0
"""The ways in which a source gets its access token."""

import json
import pathlib
import re

import pytest

import pki
from vaulted import *  # noqa: F401,F403
from vaulted import Failure, certificate_path, wait_until

ARC_FOLDER = pathlib.Path("/var/opt/azcmagent/tokens")


def entra(broker, identity, auth, **more):
    return {"auth": auth, "client-id": broker.vault.identity(identity)["client_id"], "tenant-id": broker.vault.tenant,
            "authority": broker.vault.authority, "imds-endpoint": None, **more}


def works(broker, identity):
    broker.wait_source("vault", "ready")
    broker.add()
    broker.check_signature()
    assert {r.get("identity") for r in broker.vault.requests("vault") if r["status"] == 200} == {identity}
    return broker


def file_with(broker, name, content):
    return broker.secret(name, content)


def test_imds(vaulted):
    works(vaulted.begin(), "system")
    [request] = vaulted.vault.requests("metadata")
    headers = {name.lower(): value for name, value in request["headers"]}
    assert headers["metadata"] == "true"
    assert "authorization" not in headers


def test_imds_with_a_client_id(vaulted):
    works(vaulted.begin(**{"client-id": vaulted.vault.identity("user-assigned")["client_id"]}), "user-assigned")


def test_app_service(vaulted):
    works(vaulted.begin(environment={"IDENTITY_ENDPOINT": vaulted.vault.app_service,
                                     "IDENTITY_HEADER": vaulted.vault.app_service_header}), "system")


def test_an_endpoint_elsewhere_is_not_asked(vaulted):
    broker = vaulted.begin(ready=None, environment={"IDENTITY_ENDPOINT": vaulted.vault.elsewhere_http + "/token",
                                                    "IDENTITY_HEADER": "header"})
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert "not on this host" in broker.vault_state()[1]
    assert broker.sent_elsewhere() == []


@pytest.fixture
def arc(folder, root):
    from vaulted import TestVault, Vaulted

    class WithArc(Vaulted):
        def __init__(self, folder):
            super(Vaulted, self).__init__(folder)
            ARC_FOLDER.mkdir(parents=True, exist_ok=True)
            self.vault = TestVault(folder, arc_folder=ARC_FOLDER).start()

    broker = WithArc(folder)
    try:
        broker.start_bus()
        yield broker
    finally:
        broker.close()


def begin_arc(broker, ready="vault"):
    return broker.begin(ready=ready, environment={"IDENTITY_ENDPOINT": broker.vault.arc,
                                                  "IMDS_ENDPOINT": broker.vault.imds})


def test_arc(arc):
    works(begin_arc(arc), "system")


@pytest.mark.parametrize("fault", ["V22.arc-folder", "V22.arc-dots"])
def test_arc_reads_its_own_folder_alone(arc, fault):
    arc.vault.fault(fault, times=1000)
    broker = begin_arc(arc, ready=None)
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert "no file of its own folder" in broker.vault_state()[1]
    assert len(broker.vault.requests("metadata")) == 1


def test_client_secret(vaulted):
    secret = vaulted.vault.identity("application")["secret"]
    file = file_with(vaulted, "client-secret", secret + "\n")
    works(vaulted.begin(**entra(vaulted, "application", "client-secret", **{"client-secret-file": file})),
          "application")
    assert secret not in vaulted.log_text()
    for pid in [vaulted.daemon.pid, vaulted.starter_pid(), *vaulted.helper_pids()]:
        assert secret.encode() not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        assert secret.encode() not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


def test_client_secret_that_is_wrong(vaulted):
    file = file_with(vaulted, "client-secret", "not-it-7f3a\n")
    broker = vaulted.begin(ready=None,
                           **entra(vaulted, "application", "client-secret", **{"client-secret-file": file}))
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert "AADSTS" in broker.vault_state()[1]
    assert "not-it-7f3a" not in broker.vault_state()[1] + broker.log_text()
    # the right one, and somebody who asks
    file.write_text(broker.vault.identity("application")["secret"])
    broker.source_call("vault", "Refresh")
    broker.wait_source("vault", "ready")


@pytest.mark.parametrize("content", ["", "\n", None])
def test_client_secret_that_is_not_there(vaulted, content):
    file = vaulted.etc / "client-secret"
    if content is not None:
        vaulted.secret(file.name, content)
    broker = vaulted.begin(ready=None,
                           **entra(vaulted, "application", "client-secret", **{"client-secret-file": file}))
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert str(file) in broker.vault_state()[1]
    assert broker.vault.requests("login") == []


def test_workload_identity_reads_its_file_each_time(vaulted):
    file = file_with(vaulted, "token", vaulted.vault.federated_token())
    broker = works(vaulted.begin(**entra(vaulted, "workload", "workload-identity", **{"token-file": file})), "workload")
    file.write_text("not.a.token")
    broker.vault.revoke_tokens()
    with pytest.raises(Failure) as caught:
        broker.try_sign()
    assert caught.value.name == "SourceDenied"
    file.write_text(broker.vault.federated_token())
    broker.source_call("vault", "Refresh")
    broker.check_signature()


def test_workload_identity_of_the_environment(vaulted):
    file = file_with(vaulted, "token", vaulted.vault.federated_token())
    works(vaulted.begin(auth="workload-identity", environment={
        "AZURE_CLIENT_ID": vaulted.vault.identity("workload")["client_id"],
        "AZURE_TENANT_ID": vaulted.vault.tenant,
        "AZURE_FEDERATED_TOKEN_FILE": str(file),
        "AZURE_AUTHORITY_HOST": vaulted.vault.authority + "/"}, **{"imds-endpoint": None}), "workload")


def client_certificate(broker, private_key, source, **more):
    """A broker with a second source, and in it the certificate by which the application proves itself."""
    certificate = pki.certificate(private_key, "certbroker")
    broker.vault.change_identity("application", certificates=[pki.pem(certificate).decode()])
    broker.begin(ready="hsm", more=source, **entra(broker, "application", "client-certificate",
                                                  certificate="vault-login", **more))
    return certificate


def test_client_certificate_in_a_token(vaulted):
    """The key that lets us into the vault never leaves the token either."""
    vaulted.init_token()
    key = pki.key("rsa-2048")
    certificate = client_certificate(vaulted, key, vaulted.source())
    wait_until(lambda: vaulted.vault_state()[0] == "unavailable", "there is no such certificate yet")
    assert "vault-login" in vaulted.vault_state()[1]
    vaulted.import_bundle("vault-login", pki.p12(key, certificate), b"secret", source="hsm")
    vaulted.source_call("vault", "Refresh")
    works(vaulted, "application")
    for request in vaulted.vault.requests("login"):
        assert "client_secret" not in str(request)
    lines = [json.loads(line) for line in (vaulted.state / "audit.jsonl").read_text().splitlines()]
    assert [line for line in lines if line["grant"] == "source.vault" and line["event"] == "Sign"
            and line["object"].endswith(certificate_path("vault-login")) and line["result"] == "ok"]


def test_client_certificate_of_a_key_that_cannot(vaulted):
    vaulted.init_token()
    key = pki.key("ec-p256")
    certificate = client_certificate(vaulted, key, vaulted.source())
    vaulted.import_bundle("vault-login", pki.p12(key, certificate), b"secret", source="hsm")
    with pytest.raises(Failure):
        vaulted.source_call("vault", "Refresh")
    assert "rsa-pss-sha256" in vaulted.vault_state()[1]
    assert vaulted.vault.requests("login") == []


@pytest.mark.parametrize("what", ["token", "secret"])
def test_nothing_secret_is_in_the_brokers_memory(vaulted, root, what):
    """Root reads the broker's whole memory after a hundred signatures: no token, no secret."""
    secret = vaulted.vault.identity("application")["secret"]
    file = file_with(vaulted, "client-secret", secret + "\n")
    broker = works(vaulted.begin(**entra(vaulted, "application", "client-secret", **{"client-secret-file": file})),
                   "application")
    needle = secret.encode() if what == "secret" else b"eyJ"
    found = 0
    with open(f"/proc/{broker.daemon.pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{broker.daemon.pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if not match or "[v" in line:
                continue
            start, end = (int(x, 16) for x in match.groups())
            if end - start > 1 << 30:
                continue  # a sanitizer's shadow: terabytes of address space, and no byte of the program's
            memory.seek(start)
            try:
                found += memory.read(end - start).count(needle)
            except OSError:
                continue
    assert found == 0
