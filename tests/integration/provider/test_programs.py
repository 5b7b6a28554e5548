# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs that read PEM keys or store URIs: openssl and curl."""

import pathlib
import subprocess

import pytest

from conftest import BUILD, PATIENCE, PYPI, PYTHON, client_context, free_port, get, wait_until

ASYMMETRIC = ["rsa", "ec", "ec384", "ec521"]


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("key", ASYMMETRIC)
def test_dgst(fake, key, digest):
    fake.openssl("dgst", f"-{digest}", "-sign", f"{key}.key", "-out", "signature", "message")
    fake.openssl("pkey", "-in", f"{key}.key", "-pubout", "-out", "public")
    fake.judge("dgst", f"-{digest}", "-verify", "public", "-signature", "signature", "message")


@pytest.mark.parametrize("salt", ["digest", "auto", "-1", "32"])
def test_dgst_pss(fake, salt):
    fake.openssl("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}",
                 "-sign", "rsa.key", "-out", "signature", "message")
    fake.openssl("pkey", "-in", "rsa.key", "-pubout", "-out", "public")
    fake.judge("dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32",
               "-verify", "public", "-signature", "signature", "message")
    assert [row[4] for row in fake.signed()] == ["rsa-pss-sha256"]


def test_pkeyutl_ed25519(fake):
    fake.openssl("pkeyutl", "-sign", "-rawin", "-in", "message", "-inkey", "ed25519.key", "-out", "signature")
    fake.openssl("pkey", "-in", "ed25519.key", "-pubout", "-out", "public")
    fake.judge("pkeyutl", "-verify", "-rawin", "-in", "message", "-pubin", "-inkey", "public",
               "-sigfile", "signature")


def test_pkey_shows_the_public_half_alone(fake):
    for key in ("rsa", "ec", "ed25519"):
        shown = fake.openssl("pkey", "-in", f"{key}.key", "-pubout").stdout
        assert shown == fake.judge("x509", "-in", f"{key}.crt", "-pubkey", "-noout").stdout
        done = fake.openssl("pkey", "-in", f"{key}.key", check=False)
        assert done.returncode != 0
        assert "never leaves its source" in done.stdout
    assert fake.signed() == []


@pytest.mark.parametrize("key", ["rsa", "ec", "ed25519"])
def test_req_and_x509(fake, key):
    fake.openssl("req", "-new", "-key", f"{key}.key", "-subj", "/CN=requested", "-out", "request")
    fake.judge("req", "-in", "request", "-verify", "-noout")
    fake.openssl("x509", "-req", "-in", "request", "-signkey", f"{key}.key", "-days", "2", "-out", "self")
    fake.judge("verify", "-CAfile", "self", "self")


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_x509_with_pss(fake, digest):
    fake.openssl("req", "-x509", "-new", "-key", "rsa.key", f"-{digest}", "-sigopt", "rsa_padding_mode:pss",
                 "-sigopt", "rsa_pss_saltlen:digest", "-subj", "/CN=pss", "-days", "2", "-out", "self")
    fake.judge("verify", "-CAfile", "self", "self")


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_cms(fake, key):
    fake.openssl("cms", "-sign", "-nodetach", "-in", "message", "-binary", "-signer", f"{key}.crt", "-inkey", f"{key}.key",
                 "-outform", "DER", "-out", "cms")
    fake.judge("cms", "-verify", "-inform", "DER", "-in", "cms", "-CAfile", "ca.crt", "-purpose", "any",
               "-binary", "-out", "content")
    assert pathlib.Path(fake.path("content")).read_bytes() == b"to be signed\n"


@pytest.mark.parametrize("uri", ["certbroker:certificate/ec", "certbroker://certificate/ec",
                                 "certbroker:certificate/ec?generation=3", "certbroker:backend/to-ec"])
def test_storeutl(fake, uri):
    listed = fake.openssl("storeutl", "-noout", uri).stdout
    assert "Total found: 3" in listed
    assert listed.count("Certificate") == 2
    certificates = fake.openssl("storeutl", "-certs", uri).stdout
    for line in pathlib.Path(fake.path("ec.crt")).read_text().splitlines():
        assert line in certificates
    assert "Pkey" in fake.openssl("storeutl", "-noout", "-keys", uri).stdout


def test_storeutl_says_why_not(fake):
    done = fake.openssl("storeutl", "-noout", "certbroker://certificate/none", check=False)
    assert done.returncode != 0
    assert "There is no certificate none." in done.stdout


def test_dgst_by_uri(fake):
    fake.openssl("dgst", "-sha256", "-sign", "certbroker://certificate/rsa", "-out", "signature", "message")
    fake.openssl("pkey", "-in", "rsa.key", "-pubout", "-out", "public")
    fake.judge("dgst", "-sha256", "-verify", "public", "-signature", "signature", "message")


def test_a_program_without_the_provider_is_told_what_it_is(fake):
    done = fake.judge("pkey", "-in", "ec.key", "-noout", check=False)
    assert done.returncode != 0
    assert "certbroker" in pathlib.Path(fake.path("ec.key")).read_text().splitlines()[0]


@pytest.mark.parametrize("order", ["certbroker default", "default certbroker"])
def test_providers_named_on_the_command_line(fake, order):
    environment = {k: v for k, v in fake.environment().items() if k != "OPENSSL_CONF"}
    providers = [word for name in order.split() for word in ("-provider", name)]
    fake.openssl("dgst", *providers, "-sha256", "-sign", "ec.key", "-out", "signature", "message",
                 environment=environment)
    fake.openssl("genpkey", *providers, "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "new",
                 environment=environment)


def test_bus_of_the_configuration_wins(fake):
    conf = pathlib.Path(fake.path("openssl.cnf"))
    fake.environment()
    conf.write_text(conf.read_text() + f"bus = {fake.address}\n")
    environment = fake.environment(CERTBROKER_BUS="unix:path=/nonexistent")
    fake.openssl("dgst", "-sha256", "-sign", "ec.key", "-out", "signature", "message", environment=environment)


def installed_configuration(fake):
    """The file that is installed, with the module from the build tree."""
    ours = (BUILD / "client/provider/openssl.cnf").read_text().splitlines()
    ours = [f"module = {BUILD}/client/provider/certbroker.so" if line.startswith("module") else line for line in ours]
    path = pathlib.Path(fake.path("ours.cnf"))
    path.write_text("\n".join(ours) + "\n")
    return path


def test_installed_configuration_adds_to_openssls_own(fake):
    """The file that is installed, at the end of a configuration that names other things."""
    conf = pathlib.Path(fake.path("whole.cnf"))
    installed_configuration(fake)
    conf.write_text("openssl_conf = openssl_init\n[openssl_init]\nssl_conf = ssl_sect\n[ssl_sect]\n"
                    "system_default = system_default_sect\n[system_default_sect]\nMinProtocol = TLSv1.2\n"
                    f"[last]\nx = y\n.include {fake.path('ours.cnf')}\n")
    environment = fake.environment(OPENSSL_CONF=conf)
    listed = fake.openssl("list", "-providers", environment=environment).stdout
    assert "certbroker" in listed
    assert "OpenSSL Default Provider" in listed
    fake.openssl("dgst", "-sha256", "-sign", "ec.key", "-out", "signature", "message", environment=environment)


# What node does as it starts: it has libcrypto follow openssl.cnf under another name than other programs.
AS_NODE = """
import ctypes
c = ctypes.CDLL("libcrypto.so.3")
c.OPENSSL_INIT_new.restype = ctypes.c_void_p
settings = ctypes.c_void_p(c.OPENSSL_INIT_new())
assert c.OPENSSL_INIT_set_config_appname(settings, b"nodejs_conf") == 1
assert c.OPENSSL_init_crypto(ctypes.c_uint64(0x40), settings) == 1
print(c.OSSL_PROVIDER_available(None, b"certbroker"), c.OSSL_PROVIDER_available(None, b"default"))
"""


def test_installed_configuration_is_nodes_too(fake):
    environment = fake.environment(OPENSSL_CONF=installed_configuration(fake))
    assert fake.run(PYTHON, "-c", AS_NODE, environment=environment).stdout == "1 1\n"


# The wheel of PyPI has an OpenSSL of its own, of another version, and loads `legacy` into it.
KEYS_OF_ITS_OWN = """
import ssl, sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.backends.openssl import backend
assert sys.argv[1] in sys.modules["cryptography"].__file__
assert backend.openssl_version_text() != ssl.OPENSSL_VERSION
key = rsa.generate_private_key(65537, 2048)
key.public_key().verify(key.sign(b"token", padding.PKCS1v15(), hashes.SHA256()), b"token", padding.PKCS1v15(), hashes.SHA256())
key = serialization.load_pem_private_key(open("ec.private", "rb").read(), None)
for key in (key, ec.generate_private_key(ec.SECP384R1())):
    key.public_key().verify(key.sign(b"token", ec.ECDSA(hashes.SHA256())), b"token", ec.ECDSA(hashes.SHA256()))
ed25519.Ed25519PrivateKey.generate().sign(b"token")
ec.generate_private_key(ec.SECP256R1()).exchange(ec.ECDH(), ec.generate_private_key(ec.SECP256R1()).public_key())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("rsa.crt", "rsa.key")
"""


def test_python_with_a_wheel_of_its_own_openssl(fake):
    """Both in one process: the wheel's keys, and our key by the system's OpenSSL."""
    for conf in (installed_configuration(fake), fake.path("openssl.cnf")):
        environment = fake.environment(OPENSSL_CONF=conf, PYTHONPATH=PYPI)
        fake.run(PYTHON, "-B", "-c", KEYS_OF_ITS_OWN, PYPI, environment=environment)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["rsa", "ec", "ed25519"])
def test_s_server(fake, key, version):
    port = free_port()
    flag = "-tls" + version.replace(".", "_")
    server = subprocess.Popen(
        ["openssl", "s_server", "-accept", str(port), "-cert", f"{key}.crt", "-cert_chain", f"{key}.crt",
         "-key", f"{key}.key", flag, "-www"], env=fake.environment(), cwd=fake.folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: listens(port), "s_server")
        status, body, _ = get(port, client_context(fake.path("ca.crt"), version))
        assert status == 200
        assert f"TLSv{version}" in body
    finally:
        server.kill()
        server.wait()
    assert {row[2] for row in fake.signed()} == {key}


def listens(port):
    import socket
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_s_client(fake, demanding, key, version):
    server = demanding(version)
    flag = "-tls" + version.replace(".", "_")
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-servername", "localhost", flag,
         "-CAfile", "ca.crt", "-verify_return_error", "-cert", f"{key}.crt", "-key", f"{key}.key", "-quiet",
         "-ign_eof"], env=fake.environment(), cwd=fake.folder, input=b"GET / HTTP/1.0\r\n\r\n",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * PATIENCE, check=False)
    assert f"{key}.example".encode() in done.stdout, done.stdout.decode()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("key", ["rsa", "ec"])
@pytest.mark.parametrize("joined", [False, True])
def test_curl(fake, demanding, key, version, joined):
    server = demanding(version)
    how = ["--cert", f"{key}.crt", "--key", f"{key}.key"]
    if joined:
        both = pathlib.Path(fake.path(f"{key}.crt")).read_text() + pathlib.Path(fake.path(f"{key}.key")).read_text()
        pathlib.Path(fake.path("both")).write_text(both)
        how = ["--cert", "both"]
    done = fake.run("curl", "-sS", "--cacert", "ca.crt", "--resolve", f"localhost:{server.port}:127.0.0.1", *how,
                    f"https://localhost:{server.port}/")
    assert f"{key}.example" in done.stdout


def test_curl_with_an_ordinary_key(fake, demanding):
    """The provider is active, and has nothing to do with it."""
    server = demanding("1.3")
    done = fake.run("curl", "-sS", "--cacert", "ca.crt", "--resolve", f"localhost:{server.port}:127.0.0.1",
                    "--curves", "P-256", "--cert", "rsa.crt", "--key", "rsa.private", f"https://localhost:{server.port}/")
    assert "rsa.example" in done.stdout
    assert fake.signed() == []
