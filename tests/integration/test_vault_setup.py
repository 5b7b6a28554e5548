# SPDX-License-Identifier: Apache-2.0
"""`certbroker setup source` of a vault."""

import pytest

from hosted import hosted
from vaulted import *  # noqa: F401,F403


@pytest.fixture
def host(vaulted, root):
    vaulted.start_bus()
    with hosted(vaulted) as host:
        yield host


def options(vaulted, name="vault"):
    return ("source", name, "--kind", "azure-key-vault", "--uri", vaulted.vault.named_url, "--set",
            f"ca-file={vaulted.vault.ca_file}")


def test_the_identity_of_the_machine(vaulted, host):
    """Without any secret; a trial key only where that is asked for."""
    machine = ("--set", f"imds-endpoint={vaulted.vault.imds}")
    host.run(*options(vaulted), *machine, says="is in force")
    assert 'auth = "managed-identity"' in (host.etc / "conf.d/vault.conf").read_text()
    assert not [request for request in vaulted.vault.requests("vault") if "setup-trial" in request["path"]]
    host.run(*options(vaulted, "again"), *machine, "--trial", says="has signed")
    assert {request["method"] for request in vaulted.vault.requests("vault") if "setup-trial" in request["path"]} >= {
        "POST", "DELETE"}


def test_a_secret_of_a_client(vaulted, host):
    """It is tried before it counts: a wrong one leaves nothing behind. It is seen nowhere but in its file."""
    identity = vaulted.vault.identity("application")
    client = ("--auth", "client-secret", "--tenant-id", vaulted.vault.tenant, "--client-id", identity["client_id"], "--set",
              f"authority={vaulted.vault.authority}", "--secret-file", "-")
    before = host.made()
    host.run(*options(vaulted), *client, status=6, says="AADSTS", input=b"not-it-7f3a\n")
    assert host.made() == before
    host.run(*options(vaulted), *client, says="is in force", input=identity["secret"].encode())
    files = {path for path, (_, text) in host.made().items() if identity["secret"] in text}
    assert files == {str(host.etc / "secrets/vault-secret.cred")}  # the double's encryption hides nothing
    host.run(*options(vaulted), *client, "--replace", "--set", "no-such-setting=1", status=1, says="conf.d/vault.conf:",
             input=b"x")
