# SPDX-License-Identifier: Apache-2.0
"""ImportCertificate: what is stored where, and every bundle and descriptor that must be refused."""

import gc
import os
import signal
import socket
import time

import dbus
import pki
import pytest

from broker import INVALID_ARGS, NAME, PEER, ROOT, Failure, certificate_path, memfd, wait_until
from cryptography.hazmat.primitives import serialization
from test_metrics import value


def everything(broker):
    """What a refused import must leave as it was."""
    objects = sorted(str(sorted(o.items())) for o in broker.token_objects())
    return objects, broker.list_ids()


@pytest.fixture
def unchanged(broker):
    """Asserts at the end that nothing half-done is left, and that the daemon still serves."""
    broker.import_new("before", "ec-p256")
    was = everything(broker)
    yield broker
    assert everything(broker) == was
    message = b"still serving"
    signature = broker.sign("before", "ecdsa-sha256", pki.digest("ecdsa-sha256", message))
    pki.verify(pki.key("ec-p256").public_key(), "ecdsa-sha256", signature, message)
    broker.call(ROOT, PEER, "Ping")
    broker.import_new("after", "ec-p256")  # and the id is not taken by what was refused
    assert broker.list_ids() == ["after", "before"]


# what is accepted

def check_imported(broker, id, cert, key_type):
    properties = broker.certificate_properties(id)
    assert properties["State"] == "active"
    assert properties["Generation"] == 1
    assert properties["Thumbprint"] == pki.thumbprint(cert)
    assert properties["KeyType"] == key_type
    assert properties["Extractable"] == False  # noqa: E712  (a dbus.Boolean)
    for algorithm in pki.algorithms_of(key_type):
        assert algorithm in properties["Algorithms"]
        message = b"to be signed with " + algorithm.encode()
        signature = broker.sign(id, algorithm, pki.digest(algorithm, message))
        pki.verify(cert.public_key(), algorithm, signature, message)


def import_key_type(broker, key_type):
    ca = pki.Issuer()
    cert = broker.import_new("client", key_type, issuer=ca)
    check_imported(broker, "client", cert, key_type)
    assert broker.chain("client") == [pki.der(cert), pki.der(ca.certificate)]


def test_pkcs12_rsa_2048(broker):
    import_key_type(broker, "rsa-2048")


def test_pkcs12_rsa_3072(broker):
    import_key_type(broker, "rsa-3072")


def test_pkcs12_rsa_4096(broker):
    import_key_type(broker, "rsa-4096")


def test_pkcs12_ec_p256(broker):
    import_key_type(broker, "ec-p256")


def test_pkcs12_ec_p384(broker):
    import_key_type(broker, "ec-p384")


def test_pkcs12_ec_p521(broker):
    import_key_type(broker, "ec-p521")


def test_pkcs12_ed25519(broker):
    import_key_type(broker, "ed25519")


def test_answer_is_the_path(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    path = broker.import_bundle("a.b-c_d", pki.p12(pki.key("ec-p256"), cert), b"secret")
    assert path == "/org/certbroker1/certificate/a_2eb_2dc_5fd" == certificate_path("a.b-c_d")


def test_pkcs12_without_passphrase(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert, passphrase=None), b"")
    check_imported(broker, "client", cert, "ec-p256")


def test_passphrase_loses_one_newline(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    broker.import_bundle("one", pki.p12(pki.key("ec-p256"), cert), b"secret\n")
    broker.import_bundle("two", pki.p12(pki.key("ec-p256"), cert, passphrase=b"secret\n"), b"secret\n\n")
    assert broker.list_ids() == ["one", "two"]


def test_pkcs12_of_openssl_legacy(broker):
    """3DES and SHA-1, as old tools write it."""
    import subprocess
    cert = pki.certificate(pki.key("rsa-2048"))
    pem = broker.folder / "both.pem"
    pem.write_bytes(pki.pem(pki.key("rsa-2048"), cert))
    made = subprocess.run(
        ["openssl", "pkcs12", "-export", "-in", pem, "-passout", "pass:geheim", "-keypbe", "PBE-SHA1-3DES",
         "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"], check=True, capture_output=True).stdout
    broker.import_bundle("client", made, b"geheim")
    check_imported(broker, "client", cert, "rsa-2048")


def test_passphrase_that_is_not_ascii(broker):
    passphrase = "pässwörd ключ".encode()
    cert = pki.certificate(pki.key("ec-p256"))
    broker.import_bundle("client", pki.p12(pki.key("ec-p256"), cert, passphrase=passphrase), passphrase)
    check_imported(broker, "client", cert, "ec-p256")


def test_pem_with_the_key_last_and_the_chain_shuffled(broker):
    top = pki.Issuer("Top")
    middle = pki.Issuer("Middle", parent=top)
    cert = pki.certificate(pki.key("ec-p384"), issuer=middle)
    bundle = pki.pem(top.certificate, middle.certificate, cert, pki.key("ec-p384"))
    broker.import_bundle("client", bundle)
    check_imported(broker, "client", cert, "ec-p384")
    assert broker.chain("client")[:2] == [pki.der(cert), pki.der(middle.certificate)]


def test_pem_with_an_encrypted_key(broker, refused):
    cert = pki.certificate(pki.key("rsa-2048"))
    encrypted = pki.key("rsa-2048").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"geheim"))
    refused("BadPassphrase", broker.import_bundle, "client", encrypted + pki.pem(cert), b"falsch")
    broker.import_bundle("client", encrypted + pki.pem(cert), b"geheim")
    check_imported(broker, "client", cert, "rsa-2048")


def test_pem_with_a_traditional_key(broker):
    cert = pki.certificate(pki.key("rsa-2048"))
    key = pki.key("rsa-2048").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    broker.import_bundle("client", key + pki.pem(cert))
    check_imported(broker, "client", cert, "rsa-2048")


def test_descriptors_may_be_pipes_and_files(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    file = broker.folder / "client.p12"
    file.write_bytes(pki.p12(pki.key("ec-p256"), cert))
    read, write = os.pipe()
    os.write(write, b"secret")
    os.close(write)
    with open(file, "rb") as bundle:
        broker.import_fds("client", bundle.fileno(), read)
    check_imported(broker, "client", cert, "ec-p256")


def test_bundle_through_a_slow_pipe(broker):
    """A writer that is slow, but done within the 5 s, is waited for; others are served meanwhile."""
    import threading
    cert = pki.certificate(pki.key("ec-p256"))
    bundle = pki.p12(pki.key("ec-p256"), cert)
    read, write = os.pipe()

    def feed():
        for i in range(0, len(bundle), 500):
            os.write(write, bundle[i:i + 500])
            time.sleep(0.2)
        os.close(write)

    thread = threading.Thread(target=feed)
    thread.start()
    broker.import_fds("client", read, memfd(b"secret"))
    thread.join()
    check_imported(broker, "client", cert, "ec-p256")


def test_bundle_of_nearly_a_mebibyte(broker):
    """Up to the limit is not beyond it."""
    cert = pki.certificate(pki.key("ec-p256"))
    bundle = pki.pem(pki.key("ec-p256"), cert)
    broker.import_bundle("client", b"# padding\n" * ((1 << 20) // 10 - len(bundle)) + bundle)
    check_imported(broker, "client", cert, "ec-p256")


def test_token_holds_what_was_imported(broker):
    ca = pki.Issuer()
    broker.import_new("orders-client", "rsa-2048", issuer=ca)
    [key] = broker.token_objects("Private Key")
    assert key["label"] == "orders-client"
    assert "sensitive" in key["Access"]
    assert "extractable" not in key["Access"].replace("never extractable", "")
    assert sorted(key["Usage"].split(", ")) == ["decrypt", "sign"]
    certificates = broker.token_objects("Certificate")
    assert key["ID"] in [c["ID"] for c in certificates if c["label"] == "orders-client"]
    # the key's value does not come out
    read = broker.pkcs11_tool("--read-object", "--type", "privkey", "--id", key["ID"], check=False)
    assert "sorry" in read or "CKR_" in read or "error" in read, read


def test_extractable_only_when_asked(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    bundle = pki.p12(pki.key("ec-p256"), cert)
    broker.import_bundle("open", bundle, b"secret", extractable=True)
    broker.import_bundle("closed", bundle, b"secret", extractable=False)
    access = {k["label"]: k["Access"].replace("never extractable", "") for k in broker.token_objects("Private Key")}
    assert "extractable" in access["open"]
    assert "extractable" not in access["closed"]
    assert broker.certificate_properties("open")["Extractable"] == True  # noqa: E712
    assert broker.certificate_properties("closed")["Extractable"] == False  # noqa: E712


def test_same_key_under_two_ids(broker):
    cert = pki.certificate(pki.key("ec-p256"))
    for id in ("one", "two"):
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), cert), b"secret")
    assert sorted(k["label"] for k in broker.token_objects("Private Key")) == ["one", "two"]
    assert len({k["ID"] for k in broker.token_objects("Private Key")}) == 2
    broker.delete_certificate("one", destroy_key=True)
    assert [k["label"] for k in broker.token_objects("Private Key")] == ["two"]
    check_imported(broker, "two", cert, "ec-p256")


def test_incomplete_chain_is_a_warning(broker):
    broker.import_new("complete", "ec-p256", issuer=pki.Issuer())
    cert = pki.certificate(pki.key("ec-p256"), issuer=pki.Issuer("Missing Issuer"))
    broker.import_bundle("incomplete", pki.p12(pki.key("ec-p256"), cert), b"secret")
    assert broker.certificate_properties("complete")["LastError"] == ""
    assert "Missing Issuer" in broker.certificate_properties("incomplete")["LastError"]
    check_imported(broker, "incomplete", cert, "ec-p256")


def test_self_signed(broker):
    cert = broker.import_new("client", "ec-p256")
    assert broker.certificate_properties("client")["SelfSigned"] == True  # noqa: E712
    assert broker.certificate_properties("client")["LastError"] == ""
    check_imported(broker, "client", cert, "ec-p256")


# replace

def test_replace_makes_the_next_generation(broker):
    first = broker.import_new("client", "rsa-2048")
    second = broker.import_new("client", "ec-p256", replace=True)
    properties = broker.certificate_properties("client")
    assert properties["Generation"] == 2
    assert properties["Thumbprint"] == pki.thumbprint(second)
    generations = {int(g): (str(t), int(until)) for g, t, until in properties["Generations"]}
    assert generations[2] == (pki.thumbprint(second, "sha256"), 0)
    assert generations[1][0] == pki.thumbprint(first, "sha256")
    assert abs(generations[1][1] - time.time() - 24 * 3600) < 600
    # the older one goes on signing, by its number; 0 is the new one
    for generation, cert, algorithm in ((1, first, "rsa-pss-sha256"), (2, second, "ecdsa-sha256"),
                                        (0, second, "ecdsa-sha256")):
        signature = broker.sign("client", algorithm, pki.digest(algorithm, b"m"), generation)
        pki.verify(cert.public_key(), algorithm, signature, b"m")
    # a pin survives
    for thumbprint in (pki.thumbprint(first), pki.thumbprint(second)):
        assert broker.manager("GetCertificate", "s", thumbprint) == certificate_path("client")


def test_replace_needs_the_id(broker, refused):
    cert = pki.certificate(pki.key("ec-p256"))
    assert "client" in refused("NotFound", broker.import_bundle, "client",
                               pki.p12(pki.key("ec-p256"), cert), b"secret", replace=True)
    assert broker.token_objects() == []


def test_replace_with_missing_names(broker, refused):
    broker.import_new("client", "rsa-2048", sans=("a.example", "b.example"))
    cert = pki.certificate(pki.key("ec-p256"), sans=("a.example",))
    bundle = pki.p12(pki.key("ec-p256"), cert)
    message = refused("InvalidArgument", broker.import_bundle, "client", bundle, b"secret", replace=True)
    assert "b.example" in message
    assert broker.certificate_properties("client")["Generation"] == 1
    assert len(broker.token_objects("Private Key")) == 1
    broker.import_bundle("client", bundle, b"secret", replace=True, force=True)
    assert broker.certificate_properties("client")["Generation"] == 2


def test_existing_id(broker, refused):
    first = broker.import_new("client", "ec-p256")
    assert "client" in refused("AlreadyExists", broker.import_new, "client", "rsa-2048")
    assert len(broker.token_objects("Private Key")) == 1
    check_imported(broker, "client", first, "ec-p256")


# bad bundles

def test_empty(unchanged, refused):
    refused("BadBundle", unchanged.import_bundle, "bad", b"")


def test_truncated_pkcs12(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    for size in (1, 2, 16, len(bundle) // 2, len(bundle) - 1):
        refused("BadBundle", unchanged.import_bundle, "bad", bundle[:size], b"secret")


def test_truncated_pem(unchanged, refused):
    bundle = pki.pem(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    for size in (11, 100, len(bundle) - 60):
        refused("BadBundle", unchanged.import_bundle, "bad", bundle[:size])


def test_larger_than_a_mebibyte(unchanged, refused):
    cert = pki.certificate(pki.key("ec-p256"))
    good = pki.pem(pki.key("ec-p256"), cert)
    for bundle in (bytes((1 << 20) + 1), good + b"#" * (1 << 20), b"\n" * (64 << 20)):
        refused("InvalidArgument", unchanged.import_bundle, "bad", bundle)


def test_passphrase_larger_than_a_mebibyte(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    refused("InvalidArgument", unchanged.import_bundle, "bad", bundle, b"x" * ((1 << 20) + 1))


def test_random_bytes(unchanged, refused):
    import random
    for seed in range(20):
        data = random.Random(seed).randbytes(1 + 97 * seed)
        refused("BadBundle", unchanged.import_bundle, "bad", data, b"secret")


def test_flipped_bytes(unchanged, refused):
    """A damaged PKCS#12 has a MAC that does not fit: like a wrong passphrase, or no bundle any more."""
    from broker import Failure
    bundle = bytearray(pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"))))
    for at in range(0, len(bundle), 41):
        damaged = bytes(bundle[:at]) + bytes([bundle[at] ^ 0x55]) + bytes(bundle[at + 1:])
        with pytest.raises(Failure) as caught:
            unchanged.import_bundle("bad", damaged, b"secret")
        # NotSupported: an algorithm that was changed into another
        assert caught.value.name in ("BadBundle", "BadPassphrase", "NotSupported"), (at, str(caught.value))


def test_without_key(unchanged, refused):
    cert = pki.certificate(pki.key("ec-p256"))
    refused("BadBundle", unchanged.import_bundle, "bad", pki.pem(cert))
    refused("BadBundle", unchanged.import_bundle, "bad", pki.p12(None, cert), b"secret")


def test_without_certificate(unchanged, refused):
    refused("BadBundle", unchanged.import_bundle, "bad", pki.pem(pki.key("ec-p256")))
    refused("BadBundle", unchanged.import_bundle, "bad", pki.p12(pki.key("ec-p256"), None), b"secret")


def test_two_keys(broker):
    """The one that the certificate is of."""
    cert = pki.certificate(pki.key("ec-p384"))
    broker.import_bundle("client", pki.pem(pki.key("ec-p256"), pki.key("ec-p384"), cert))
    check_imported(broker, "client", cert, "ec-p384")


def test_key_of_another_certificate(unchanged, refused):
    cert = pki.certificate(pki.key("ec-p256", 1))
    refused("KeyMismatch", unchanged.import_bundle, "bad", pki.pem(pki.key("ec-p256", 2), cert))
    refused("KeyMismatch", unchanged.import_bundle, "bad", pki.pem(pki.key("rsa-2048"), cert))


def test_wrong_passphrase(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    for wrong in (b"wrong", b"", b"secret ", b"\xff\xfe", b"secret\0"):
        message = refused("BadPassphrase", unchanged.import_bundle, "bad", bundle, wrong)
        assert "certificate 'bad'" in message
        assert "secret" not in message.replace("passphrase", "")


def test_unsupported_keys(unchanged, refused):
    for key_type in ("ed448", "dsa-2048", "secp256k1", "brainpoolP256r1", "rsa-1024"):
        key = pki.key(key_type)
        message = refused("NotSupported", unchanged.import_bundle, "bad",
                          pki.p12(key, pki.certificate(key)), b"secret")
        assert "key" in message.lower(), message


def test_secrets_are_not_logged(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")), passphrase=b"canary-3141592653")
    refused("BadPassphrase", unchanged.import_bundle, "bad", bundle, b"canary-2718281828")
    unchanged.import_bundle("good", bundle, b"canary-3141592653")
    unchanged.delete_certificate("good", destroy_key=True)
    assert "canary" not in unchanged.log_text()


# descriptors

def test_directory(unchanged, refused):
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    refused("InvalidArgument", unchanged.import_fds, "bad", fd, memfd(b""))
    refused("InvalidArgument", unchanged.import_fds, "bad", memfd(b"x"), fd)


def test_dev_zero(unchanged, refused):
    fd = os.open("/dev/zero", os.O_RDONLY)
    refused("InvalidArgument", unchanged.import_fds, "bad", fd, memfd(b""))
    refused("InvalidArgument", unchanged.import_fds, "bad", memfd(b"x"), fd)


def test_socket(unchanged, refused):
    a, b = socket.socketpair()
    refused("InvalidArgument", unchanged.import_fds, "bad", a.fileno(), memfd(b""))
    b.close()


def test_not_readable(unchanged, refused):
    path = unchanged.folder / "writable"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    refused("InvalidArgument", unchanged.import_fds, "bad", fd, memfd(b""))
    read, write = os.pipe()
    refused("InvalidArgument", unchanged.import_fds, "bad", write, memfd(b""))
    os.close(read)


def test_pipe_that_never_ends(unchanged, refused):
    """Refused after 5 s; everyone else is served in the meantime."""
    import threading
    read, write = os.pipe()
    os.write(write, b"-----BEGIN")
    began = time.monotonic()
    thread = threading.Thread(
        target=lambda: refused("InvalidArgument", unchanged.import_fds, "bad", read, memfd(b""),
                               connection=unchanged.connect()))
    thread.start()
    slowest = 0.0
    while time.monotonic() - began < 2:
        start = time.monotonic()
        unchanged.sign("before", "ecdsa-sha256", bytes(32))
        slowest = max(slowest, time.monotonic() - start)
    thread.join()
    took = time.monotonic() - began
    assert 4 < took < 9, took
    assert slowest < 1, slowest
    os.close(write)


def test_signing_goes_on_beside_silent_pipes(stopped):
    """However many pipes are waited for, no thread that signs waits; more of one user than wait for a source are refused."""
    from gi.repository import GLib
    import dbus.mainloop.glib
    stopped.configure(broker="max-in-flight-per-client = 200;")
    stopped.start()
    stopped.import_new("before")
    connection = stopped.connect(mainloop=dbus.mainloop.glib.DBusGMainLoop())
    answers, context = [], GLib.MainContext.default()
    read, write = os.pipe()
    descriptors = dbus.types.UnixFd(read), dbus.types.UnixFd(memfd(b""))

    def in_flight():
        while context.iteration(False):
            pass
        calls = value(stopped, "certbroker_limit_used", limit="calls in flight", standing="owner")
        return calls - 1  # the one that asks

    # all of them are with the source before it waits for the first: then the five seconds begin for which it does
    [source] = stopped.helper_pids()
    os.kill(source, signal.SIGSTOP)
    try:
        for i in range(40):
            connection.call_async(
                NAME, ROOT, "org.certbroker1.Manager", "ImportCertificate", "sshha{sv}",
                (f"silent-{i}", "hsm", *descriptors, dbus.Dictionary(signature="sv")),
                lambda path: answers.append(str(path)), lambda error: answers.append(Failure(error).name),
                timeout=600)
            connection.flush()
            # one after the other: of calls that bring descriptors the bus may have but few before their turn
            wait_until(lambda n=i + 1: in_flight() + len(answers) == n, "an import that waits, or is refused")
    finally:
        os.kill(source, signal.SIGCONT)
    while len(answers) < 40 - 32:
        context.iteration(True)
    stopped.sign("before", "ecdsa-sha256", bytes(32), connection=connection)
    assert set(answers) == {"LimitExceeded"}
    os.close(write)  # they are empty then
    while len(answers) < 40:
        context.iteration(True)
    assert set(answers) == {"BadBundle", "LimitExceeded"}
    assert answers.count("LimitExceeded") == 40 - 32
    assert stopped.list_ids() == ["before"]


def test_passphrase_pipe_that_never_ends(unchanged, refused):
    read, write = os.pipe()
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    refused("InvalidArgument", unchanged.import_fds, "bad", memfd(bundle), read)
    os.close(write)


def test_pipe_without_end_of_data(unchanged, refused):
    """A writer that never stops is cut off by the size, not by the time."""
    import threading
    read, write = os.pipe()

    def flood():
        try:
            while True:
                os.write(write, bytes(65536))
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    began = time.monotonic()
    refused("InvalidArgument", unchanged.import_fds, "bad", read, memfd(b""))
    assert time.monotonic() - began < 4
    os.close(read)
    gc.collect()  # a descriptor that was passed lives as long as the exception's frames
    thread.join(10)
    assert not thread.is_alive(), "someone still holds the pipe"


# ids, sources, options

BAD_IDS = ["", "a" * 128, "a/b", "..", ".", "../x", "a b", " a", "a ", "-a", ".a", "_a", "ä", "aß", "日本",
           "a\n", "a\tb", "a:b", "a*", "ab" * 20, "AB" * 32, "0123456789abcdef0123456789ABCDEF01234567"]


def test_bad_ids(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    for id in BAD_IDS:
        refused("InvalidArgument", unchanged.import_bundle, id, bundle, b"secret")


def test_odd_but_good_ids(broker):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    ids = ["a", "9", "a" * 127, "A.B-c_9", "1.example.com", "a..b", "ab" * 19, "ab" * 20 + "c", "zz" * 20]
    for id in ids:
        assert broker.import_bundle(id, bundle, b"secret") == certificate_path(id)
    assert broker.list_ids() == sorted(ids)


def test_unknown_source(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    assert "nowhere" in refused("NotFound", unchanged.import_bundle, "bad", bundle, b"secret", "nowhere")
    for source in ("", "../hsm", "h s m", "ä"):
        refused("NotFound", unchanged.import_bundle, "bad", bundle, b"secret", source)


def test_unknown_option(unchanged, refused):
    bundle = pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256")))
    assert "colour" in refused("InvalidArgument", unchanged.import_bundle, "bad", bundle, b"secret", colour=True)


def test_option_of_the_wrong_type(unchanged, refused):
    options = dbus.Dictionary({"replace": "yes"}, signature="sv")
    refused(INVALID_ARGS, unchanged.manager, "ImportCertificate", "sshha{sv}", "bad", "hsm",
            dbus.types.UnixFd(memfd(b"x")), dbus.types.UnixFd(memfd(b"")), options)
