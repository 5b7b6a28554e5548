# SPDX-License-Identifier: Apache-2.0
"""The test vault, judged by clients that we did not write: Debian's python3-azure, unmodified.

They are told the real service's names, and verify the challenge's resource, the ids and the TLS certificate as they
always do; only the way from a name to an address is ours. What they get is checked with python3-cryptography.
"""

import base64
import hashlib
import importlib
import os
import socket

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import (CertificateCredential, ClientAssertionCredential, ClientSecretCredential,
                            CredentialUnavailableError, ManagedIdentityCredential)
from azure.keyvault.certificates import CertificateClient, CertificateContentType, CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, EncryptionAlgorithm, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import pkcs12

import standin.store
from standin.issuing import Issuing

URL = "https://contoso.vault.azure.net"
PKCS12, PEM = "application/x-pkcs12", "application/x-pem-file"
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}

RSA_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
EC_ALGORITHMS = {"ec-p256": "ES256", "ec-p384": "ES384", "ec-p521": "ES512", "ec-p256k": "ES256K"}


@pytest.fixture(autouse=True)
def mapped(vault, monkeypatch):
    """The real service's names lead to the test vault; every other name leads nowhere."""
    ports = {"contoso.vault.azure.net": "vault", "login.microsoftonline.com": "login", "127.0.0.1": None}
    real = socket.getaddrinfo

    def lookup(host, port, *arguments, **more):
        if host not in ports:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is not the test vault's")
        found = real("127.0.0.1", port, socket.AF_INET, socket.SOCK_STREAM)
        number = vault.info["ports"][ports[host]] if ports[host] else int(port)
        return [(*row[:4], ("127.0.0.1", number)) for row in found]

    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("AZURE_", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    for package in ("certificates", "keys", "secrets"):
        importlib.import_module(f"azure.keyvault.{package}._shared.http_challenge_cache").clear()
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", vault.ca_file)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", vault.imds)


@pytest.fixture
def certificates():
    return CertificateClient(URL, ManagedIdentityCredential())


@pytest.fixture
def secrets():
    return SecretClient(URL, ManagedIdentityCredential())


@pytest.fixture
def keys():
    return KeyClient(URL, ManagedIdentityCredential())


def client_of(credential):
    return CertificateClient(URL, credential)


def leaf_of(text):
    return x509.load_pem_x509_certificate(text.encode())


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


# ---- authentication

def test_managed_identity(vault, certificates):
    vault.add_certificate("orders")
    assert certificates.get_certificate("orders").name == "orders"
    assert {entry["identity"] for entry in vault.requests("vault")} == {None, "system"}
    assert vault.requests("vault")[0]["status"] == 401, "the client asks for the challenge first"


def test_user_assigned_identity(vault):
    vault.add_certificate("orders")
    chosen = vault.identity("user-assigned")
    for credential in (ManagedIdentityCredential(client_id=chosen["client_id"]),
                       ManagedIdentityCredential(identity_config={"object_id": chosen["object_id"]}),
                       ManagedIdentityCredential(identity_config={"msi_res_id": chosen["resource_id"]})):
        assert client_of(credential).get_certificate("orders")
    assert {entry["identity"] for entry in vault.requests("vault")} == {None, "user-assigned"}


def test_identity_that_is_not_assigned(vault):
    with pytest.raises(CredentialUnavailableError, match="not been assigned"):
        client_of(ManagedIdentityCredential(client_id="00000000-0000-0000-0000-00000000dead")).get_certificate("x")


def test_app_service(vault, monkeypatch):
    vault.add_certificate("orders")
    monkeypatch.setenv("IDENTITY_ENDPOINT", vault.app_service)
    monkeypatch.setenv("IDENTITY_HEADER", vault.app_service_header)
    assert client_of(ManagedIdentityCredential()).get_certificate("orders")
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(ClientAuthenticationError):
        client_of(ManagedIdentityCredential()).get_certificate("orders")


def test_azure_arc(vault, monkeypatch):
    vault.add_certificate("orders")
    monkeypatch.setenv("IDENTITY_ENDPOINT", vault.arc)
    monkeypatch.setenv("IMDS_ENDPOINT", vault.imds)
    assert client_of(ManagedIdentityCredential()).get_certificate("orders")
    assert [entry["status"] for entry in vault.requests("metadata")] == [401, 200]


def test_client_secret(vault):
    vault.add_certificate("orders")
    application = vault.identity("application")
    good = ClientSecretCredential(vault.tenant, application["client_id"], application["secret"])
    assert client_of(good).get_certificate("orders")
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        client_of(ClientSecretCredential(vault.tenant, application["client_id"], "no")).get_certificate("orders")


def test_client_certificate(vault):
    vault.add_certificate("orders")
    key = rsa.generate_private_key(65537, 2048)
    chain = Issuing().chain(key, "CN=broker", [])
    pem = standin.store.pem_of_key(key) + standin.store.pem_of(chain[0])
    client_id = vault.identity("application")["client_id"]
    credential = CertificateCredential(vault.tenant, client_id, certificate_data=pem.encode())
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        client_of(credential).get_certificate("orders")
    vault.change_identity("application", certificates=[standin.store.pem_of(chain[0])])
    assert client_of(credential).get_certificate("orders")


def test_workload_identity(vault, tmp_path, monkeypatch):
    vault.add_certificate("orders")
    client_id = vault.identity("workload")["client_id"]
    file = tmp_path / "token"
    file.write_text(vault.federated_token())
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_TENANT_ID", vault.tenant)
    monkeypatch.setenv("AZURE_CLIENT_ID", client_id)
    assert client_of(ManagedIdentityCredential()).get_certificate("orders")
    other = ClientAssertionCredential(vault.tenant, client_id, lambda: vault.federated_token(subject="somebody"))
    with pytest.raises(ClientAuthenticationError, match="AADSTS70021"):
        client_of(other).get_certificate("orders")


def test_revoked_token(vault, certificates):
    vault.add_certificate("orders")
    certificates.get_certificate("orders")
    vault.revoke_tokens()
    with pytest.raises(HttpResponseError) as caught:
        certificates.get_certificate("orders")
    assert caught.value.status_code == 401


# ---- certificates

def test_get(vault, certificates):
    made = vault.add_certificate("orders", key_type="rsa-3072")
    got = certificates.get_certificate("orders")
    leaf = leaf_of(made["chain"][0])
    assert bytes(got.cer) == der(leaf)
    assert got.properties.x509_thumbprint == hashlib.sha1(der(leaf)).digest()
    assert got.properties.version == made["version"] and got.properties.enabled
    assert got.properties.expires_on.replace(tzinfo=None) == leaf.not_valid_after
    assert got.key_id == f"{URL}/keys/orders/{made['version']}"
    assert got.secret_id == f"{URL}/secrets/orders/{made['version']}"
    assert got.policy.exportable and got.policy.key_size == 3072 and got.policy.subject == "CN=orders"
    assert certificates.get_certificate_version("orders", made["version"]).properties.version == made["version"]
    with pytest.raises(ResourceNotFoundError) as caught:
        certificates.get_certificate("no-such")
    assert caught.value.error.code == "CertificateNotFound"


def test_list_pages(vault, certificates):
    names = {f"c-{number}" for number in range(60)}
    for name in names:
        vault.add_certificate(name)
    vault.clear_log()
    listed = [each.name for each in certificates.list_properties_of_certificates()]
    assert set(listed) == names and len(listed) == 60
    assert listed != sorted(listed)
    pages = [len(list(page)) for page in certificates.list_properties_of_certificates().by_page()]
    assert 0 in pages and max(pages) == 25 and sum(pages) == 60


def test_versions_and_rotation(vault, certificates):
    versions = {vault.add_certificate("orders")["version"]}
    versions |= {vault.rotate("orders")["version"] for _ in range(3)}
    newest = vault.rotate("orders")
    assert {each.version for each in certificates.list_properties_of_certificate_versions("orders")} == \
        versions | {newest["version"]}
    assert certificates.get_certificate("orders").properties.version == newest["version"]


@pytest.mark.parametrize("content", [CertificateContentType.pkcs12, CertificateContentType.pem])
@pytest.mark.parametrize("exportable", [True, False])
def test_import(vault, certificates, secrets, content, exportable):
    vault.set(strict=True)  # this client sends base64, of PEM too
    key = ec.generate_private_key(ec.SECP256R1())
    chain = Issuing().chain(key, "CN=imported", ["imported.example"])
    if content == CertificateContentType.pem:
        data = (standin.store.pem_of_key(key) + "".join(map(standin.store.pem_of, chain[::-1]))).encode()
        how = {}
    else:
        data = pkcs12.serialize_key_and_certificates(
            b"x", key, chain[0], chain[1:], serialization.BestAvailableEncryption(b"pass"))
        how = {"password": "pass"}
    # without a key's type this client leaves "exportable": false out
    policy = CertificatePolicy(exportable=exportable, key_type="EC", content_type=content)
    got = certificates.import_certificate("imported", data, policy=policy, **how)
    assert bytes(got.cer) == der(chain[0]) and got.policy.exportable is exportable
    secret = secrets.get_secret("imported")
    assert secret.properties.managed and secret.properties.content_type == content.value
    found_key, found = unpack(secret)
    assert {der(each) for each in found} == {der(each) for each in chain}
    assert (found_key is not None) is exportable
    if exportable:
        assert found_key.private_numbers() == key.private_numbers()


def unpack(secret):
    """(key or None, certificates) of a secret."""
    if secret.properties.content_type == PEM:
        text = secret.value
        blocks = ["-----BEGIN CERTIFICATE-----" + rest for rest in text.split("-----BEGIN CERTIFICATE-----")[1:]]
        key = serialization.load_pem_private_key(text.encode(), None) if "PRIVATE KEY" in text else None
        return key, [x509.load_pem_x509_certificate(block.encode()) for block in blocks]
    parsed = pkcs12.load_pkcs12(base64.b64decode(secret.value, validate=True), None)
    own = [parsed.cert.certificate] if parsed.cert else []
    return parsed.key, own + [each.certificate for each in parsed.additional_certs]


def test_import_refusals(vault, certificates):
    with pytest.raises(HttpResponseError) as caught:
        certificates.import_certificate("bad", b"not a PKCS#12")
    assert caught.value.status_code == 400 and caught.value.error.code == "BadParameter"


def test_create_self_signed(vault, certificates):
    policy = CertificatePolicy("Self", subject="CN=made", key_type="RSA", key_size=2048, exportable=False)
    made = certificates.begin_create_certificate("made", policy, _polling_interval=0.2).result()
    leaf = x509.load_der_x509_certificate(bytes(made.cer))
    assert leaf.subject.rfc4514_string() == "CN=made" and made.policy.exportable is False
    assert certificates.get_certificate_operation("made").status == "completed"


def test_create_request_and_merge(vault, certificates):
    policy = CertificatePolicy("Unknown", subject="CN=waiting", san_dns_names=["waiting.example"], key_type="EC",
                               key_curve_name="P-384")
    certificates.begin_create_certificate("waiting", policy, _polling_interval=0.2)
    operation = certificates.get_certificate_operation("waiting")
    assert operation.status == "inProgress" and operation.issuer_name == "Unknown"
    request = x509.load_der_x509_csr(bytes(operation.csr))
    assert request.is_signature_valid and request.subject.rfc4514_string() == "CN=waiting"
    assert request.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName) == ["waiting.example"]
    partial = certificates.get_certificate("waiting")
    assert partial.cer is None and partial.key_id is None and partial.properties.enabled is False
    issuing = Issuing()
    wrong = issuing.chain(ec.generate_private_key(ec.SECP384R1()), "CN=waiting", [])
    with pytest.raises(HttpResponseError):
        certificates.merge_certificate("waiting", [der(each) for each in wrong])
    chain = issuing.chain(OfRequest(request), "CN=waiting", ["waiting.example"])
    merged = certificates.merge_certificate("waiting", [der(each) for each in chain])
    assert bytes(merged.cer) == der(chain[0])
    assert certificates.get_certificate("waiting").properties.version == merged.properties.version


class OfRequest:
    """A key of which only the public half is here."""

    def __init__(self, request):
        self._public = request.public_key()

    def public_key(self):
        return self._public


def test_a_version_is_disabled_and_tagged(vault, certificates):
    made = vault.add_certificate("orders")
    certificates.update_certificate_properties("orders", made["version"], enabled=False, tags={"certbroker": "x"})
    [version] = certificates.list_properties_of_certificate_versions("orders")
    assert version.enabled is False and version.tags == {"certbroker": "x"}
    assert certificates.get_certificate("orders").properties.tags == {"certbroker": "x"}


def test_cancel(vault, certificates):
    certificates.begin_create_certificate("never", CertificatePolicy("Unknown", subject="CN=never"),
                                          _polling_interval=0.2)
    assert certificates.cancel_certificate_operation("never").cancellation_requested
    assert certificates.get_certificate_operation("never").status == "inProgress"
    certificates.delete_certificate_operation("never")
    with pytest.raises(ResourceNotFoundError):
        certificates.get_certificate_operation("never")


def test_delete_and_recover(vault, certificates):
    made = vault.add_certificate("orders")
    deletion = certificates.begin_delete_certificate("orders", _polling_interval=0.1)
    deleted = deletion.result()
    assert deleted.recovery_id and deleted.scheduled_purge_date
    with pytest.raises(ResourceNotFoundError):
        certificates.get_certificate("orders")
    deletion.wait()
    certificates.get_deleted_certificate("orders")
    assert [each.name for each in certificates.list_deleted_certificates()] == ["orders"]
    with pytest.raises(ResourceExistsError) as caught:
        certificates.begin_create_certificate("orders", CertificatePolicy("Unknown", subject="CN=again"))
    assert "ObjectIsDeletedButRecoverable" in str(caught.value)
    certificates.begin_recover_deleted_certificate("orders", _polling_interval=0.1).wait()
    assert certificates.get_certificate("orders").properties.version == made["version"]
    certificates.begin_delete_certificate("orders", _polling_interval=0.1).wait()
    certificates.purge_deleted_certificate("orders")
    with pytest.raises(ResourceNotFoundError):
        certificates.get_deleted_certificate("orders")


def test_disable(vault, certificates, keys, secrets):
    made = vault.add_certificate("orders")
    certificates.update_certificate_properties("orders", made["version"], enabled=False)
    assert certificates.get_certificate("orders").properties.enabled is False
    for call, code in ((lambda: secrets.get_secret("orders"), "SecretDisabled"),
                       (lambda: keys.get_key("orders"), "KeyDisabled")):
        with pytest.raises(HttpResponseError) as caught:
            call()
        assert caught.value.status_code == 403 and caught.value.error.innererror["code"] == code


def test_denied(vault, certificates, secrets):
    vault.add_certificate("orders")
    vault.deny("system", "secrets/get")
    assert certificates.get_certificate("orders")
    with pytest.raises(HttpResponseError) as caught:
        secrets.get_secret("orders")
    assert caught.value.status_code == 403 and caught.value.error.code == "Forbidden"
    assert "does not have secrets get permission" in caught.value.message


# ---- keys

def remote(vault, keys, name):
    """A client that can only sign remotely: it does not have the key's public half."""
    return CryptographyClient(keys.get_key(name).id, ManagedIdentityCredential())


def digest_of(algorithm, text=b"what is signed"):
    digest = hashes.Hash(HASHES[algorithm[2:5]])
    digest.update(text)
    return digest.finalize()


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
def test_sign_rsa(vault, keys, algorithm):
    made = vault.add_certificate("orders", key_type="rsa-2048", exportable=False)
    digest = digest_of(algorithm)
    signed = remote(vault, keys, "orders").sign(SignatureAlgorithm(algorithm), digest)
    assert signed.key_id.endswith(made["version"])
    used = HASHES[algorithm[2:]]
    pad = padding.PKCS1v15() if algorithm[0] == "R" else padding.PSS(padding.MGF1(used), used.digest_size)
    leaf_of(made["chain"][0]).public_key().verify(signed.signature, digest, pad, utils.Prehashed(used))
    assert vault.requests("vault", "POST", "/keys/orders/"), "the signature was made by the vault"


@pytest.mark.parametrize("key_type", EC_ALGORITHMS)
def test_sign_ec(vault, keys, key_type):
    made = vault.add_certificate("orders", key_type=key_type)
    algorithm = EC_ALGORITHMS[key_type]
    digest = digest_of(algorithm)
    signature = remote(vault, keys, "orders").sign(SignatureAlgorithm(algorithm), digest).signature
    half = len(signature) // 2
    assert half == {"ec-p384": 48, "ec-p521": 66}.get(key_type, 32)
    encoded = utils.encode_dss_signature(*(int.from_bytes(part, "big") for part in
                                           (signature[:half], signature[half:])))
    leaf_of(made["chain"][0]).public_key().verify(encoded, digest, ec.ECDSA(utils.Prehashed(HASHES[algorithm[2:5]])))


@pytest.mark.parametrize("algorithm", ["PS256", "ES384"])
def test_verify(vault, keys, algorithm):
    """Here by the vault: the client has no keys/get, so it cannot do it by itself."""
    vault.add_certificate("orders", key_type="rsa-2048" if algorithm == "PS256" else "ec-p384")
    client = remote(vault, keys, "orders")
    vault.deny("system", "keys/get")
    digest = digest_of(algorithm)
    signature = client.sign(SignatureAlgorithm(algorithm), digest).signature
    assert client.verify(SignatureAlgorithm(algorithm), digest, signature).is_valid
    assert not client.verify(SignatureAlgorithm(algorithm), digest_of(algorithm, b"other"), signature).is_valid
    assert [entry["path"].split("/")[-1] for entry in vault.requests("vault", "POST")].count("verify") == 2


def test_sign_refusals(vault, keys):
    vault.add_certificate("orders", key_type="ec-p256")
    client = remote(vault, keys, "orders")
    vault.deny("system", "keys/get")
    with pytest.raises(HttpResponseError, match="ES256 requires 32 bytes"):
        client.sign(SignatureAlgorithm.es256, b"x" * 20)
    with pytest.raises(HttpResponseError, match="incompatible"):
        client.sign(SignatureAlgorithm.es384, b"x" * 48)
    vault.change("orders", key_operations=["verify"])
    with pytest.raises(HttpResponseError, match="not permitted on this key"):
        client.sign(SignatureAlgorithm.es256, b"x" * 32)
    vault.change("orders", key_operations=["sign"], expires=1)
    with pytest.raises(HttpResponseError, match="expired"):
        client.sign(SignatureAlgorithm.es256, b"x" * 32)


def test_decrypt(vault, keys):
    made = vault.add_certificate("orders", key_type="rsa-2048")
    client = remote(vault, keys, "orders")
    public = leaf_of(made["chain"][0]).public_key()
    sealed = public.encrypt(b"secret", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    assert client.decrypt(EncryptionAlgorithm.rsa_oaep_256, sealed).plaintext == b"secret"


def test_keys_of_their_own(vault, keys):
    made = keys.create_rsa_key("plain", size=2048)
    assert not made.properties.managed and made.key.n
    vault.add_certificate("orders")
    assert {(each.name, bool(each.managed)) for each in keys.list_properties_of_keys()} == {
        ("plain", False), ("orders", True)}
    assert [each.version for each in keys.list_properties_of_key_versions("plain")] == [made.properties.version]


# ---- secrets

def test_secrets(vault, secrets):
    kept = secrets.set_secret("plain", "value", content_type="text/plain")
    assert secrets.get_secret("plain", kept.properties.version).value == "value"
    vault.add_certificate("orders")
    assert {each.name for each in secrets.list_properties_of_secrets()} == {"plain", "orders"}
    assert [each.version for each in secrets.list_properties_of_secret_versions("plain")] == [kept.properties.version]


def test_shuffled_chain(vault, secrets):
    made = vault.add_certificate("orders")
    _, found = unpack(secrets.get_secret("orders"))
    vault.add_certificate("pem", content_type=PEM, key=made["key"], chain=made["chain"])
    _, of_pem = unpack(secrets.get_secret("pem"))
    assert {der(each) for each in found} == {der(each) for each in of_pem} == \
        {der(leaf_of(each)) for each in made["chain"]}
    assert [der(each) for each in of_pem] != [der(leaf_of(each)) for each in made["chain"]]
