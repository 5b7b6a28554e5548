# SPDX-License-Identifier: Apache-2.0
"""A key's life on a token: generated, certified, renewed, rotated, rolled back, retired, destroyed."""

import concurrent.futures
import os
import threading
import time

import dbus
import lifecycle
import pki
import pytest

from broker import Failure, backend_path, certificate_path, memfd, wait_until
from cryptography import x509
from lifecycle import certify, generate, generations, install, issue, make, request, retire, set_current, signs


@pytest.fixture
def ca():
    return pki.Issuer()


# generating

def whole_life(broker, key_type):
    ca = pki.Issuer()
    assert generate(broker, "client", key_type) == certificate_path("client")
    properties = broker.certificate_properties("client")
    assert properties["State"] == "pending"
    assert properties["KeyType"] == key_type
    assert properties["Extractable"] == False  # noqa: E712  (a dbus.Boolean)
    assert sorted(properties["Algorithms"]) == sorted(pki.algorithms_of(key_type))
    [private] = broker.token_objects("Private Key")
    assert private["label"] == "client"
    assert {"sensitive", "never extractable", "local"} <= {w.strip() for w in private["Access"].split(",")}
    [public] = broker.token_objects("Public Key")
    assert (public["ID"], public["label"]) == (private["ID"], "client")

    leaf = certify(broker, "client", ca)
    properties = broker.certificate_properties("client")
    assert properties["State"] == "active"
    assert properties["Thumbprint"] == pki.thumbprint(leaf)
    assert broker.chain("client") == [pki.der(leaf), pki.der(ca.certificate)]
    for algorithm in pki.algorithms_of(key_type):
        message = b"to be signed with " + algorithm.encode()
        pki.verify(leaf.public_key(), algorithm, broker.sign("client", algorithm, pki.digest(algorithm, message)),
                   message)
    [stored] = [o for o in broker.token_objects("Certificate") if o["ID"] == private["ID"]]
    assert stored["label"] == "client"

    broker.restart()
    signs(broker, "client", leaf)
    broker.delete_certificate("client", destroy_key=True)
    assert broker.token_objects() == []


def test_rsa_2048(broker):
    whole_life(broker, "rsa-2048")


def test_rsa_3072(broker):
    whole_life(broker, "rsa-3072")


def test_rsa_4096(broker):
    whole_life(broker, "rsa-4096")


def test_ec_p256(broker):
    whole_life(broker, "ec-p256")


def test_ec_p384(broker):
    whole_life(broker, "ec-p384")


def test_ec_p521(broker):
    whole_life(broker, "ec-p521")


def test_ed25519(broker):
    whole_life(broker, "ed25519")


def test_generate_refusals(broker, refused):
    for key_type in ("rsa-1024", "ec-p224", "", "RSA-2048", "ed448", "rsa"):
        assert "rsa-2048" in refused("NotSupported", generate, broker, "client", key_type)
    for id in ("", "a/b", "..", "a b", "é", "x" * 128, "0" * 40):
        refused("InvalidArgument", generate, broker, id)
    refused("NotFound", generate, broker, "client", source="nowhere")
    refused("NotFound", generate, broker, "client", replace=True)
    refused("InvalidArgument", generate, broker, "client", force=True)  # no option of this method
    generate(broker, "client")
    refused("AlreadyExists", generate, broker, "client")
    assert "client" in refused("Pending", generate, broker, "client", replace=True)
    assert len(broker.token_objects("Private Key")) == 1


@pytest.fixture
def faulty(stopped):
    """A broker whose token fails as faulty.fault_rules() says."""
    stopped.fault_rules("")
    stopped.configure(sources=stopped.source(module=stopped.fault_module()))
    stopped.start()
    return stopped


def test_generate_without_mechanism(faulty, refused):
    lacking = {"rsa-2048": (0x0, "CKM_RSA_PKCS_KEY_PAIR_GEN"), "ec-p384": (0x1040, "CKM_EC_KEY_PAIR_GEN"),
               "ed25519": (0x1055, "CKM_EC_EDWARDS_KEY_PAIR_GEN")}
    for key_type, (number, name) in lacking.items():
        faulty.fault_rules(f"C_GetMechanismInfo type={number:#x} rv=0x70\n")
        message = refused("NotSupported", generate, faulty, "client", key_type)
        assert name in message and key_type in message
    assert faulty.token_objects() == []
    assert faulty.list_ids() == []


def test_generate_leaves_nothing_behind(faulty, refused):
    faulty.fault_rules("C_GenerateKeyPair rv=0x70\n")  # CKR_MECHANISM_INVALID, in spite of what it says that it has
    assert "CKM_EC_KEY_PAIR_GEN" in refused("NotSupported", generate, faulty, "client")
    faulty.fault_rules("C_Sign flipbit\n")  # the trial
    refused("SourceUnavailable", generate, faulty, "client")
    faulty.fault_rules("C_Sign rv=0x30\n")  # CKR_DEVICE_ERROR
    refused("SourceUnavailable", generate, faulty, "client")
    faulty.fault_rules("")
    wait_until(lambda: faulty.source_properties()["State"] == "ready", "the token serves again")
    assert faulty.token_objects() == []
    assert faulty.list_ids() == []
    faulty.fault_rules("C_SignInit count=1 rv=0xb3\n")  # CKR_SESSION_HANDLE_INVALID: tried once more
    generate(faulty, "client")
    assert len(faulty.token_objects()) == 2


def test_a_second_try_leaves_nothing_of_the_first(faulty):
    """A token that refuses a curve's parameters in one form, and has made halves of a key by then."""
    faulty.fault_rules("C_GenerateKeyPair count=1 late rv=0x13\n")  # CKR_ATTRIBUTE_VALUE_INVALID
    generate(faulty, "client", "ed25519")
    assert len(faulty.token_objects()) == 2


def test_a_pending_key_survives_a_crash(broker, ca):
    generate(broker, "client")
    before = request(broker, "client")
    broker.kill()
    broker.start()
    assert broker.certificate_properties("client")["State"] == "pending"
    leaf = certify(broker, "client", ca)
    assert leaf.public_key().public_numbers() == before.public_key().public_numbers()
    signs(broker, "client", leaf)


def test_a_pending_certificate_refuses(broker, refused):
    generate(broker, "client")
    refused("Pending", broker.sign, "client", "ecdsa-sha256", bytes(32))
    refused("Pending", broker.sign, "client", "ecdsa-sha256", bytes(32), 1)
    refused("Pending", broker.certificate, "client", "SignTls", "tssay", 0, "ecdsa-sha256", "client",
            dbus.ByteArray(bytes(32)))
    broker.create_backend("orders", "client")
    refused("Pending", broker.backend, "orders", "GetCredential")


# requests

def test_request_subject_and_names(broker):
    generate(broker, "client")
    csr = request(broker, "client", r"CN=orders\, inc.,OU=Gateways,O=Example,C=DE",
                  ["DNS:a.example", "DNS:*.b.example", "IP:192.0.2.7", "IP:2001:db8::7",
                   "URI:spiffe://example/orders", "email:ops@example.com"])
    assert csr.subject.rfc4514_string() == r"CN=orders\, inc.,OU=Gateways,O=Example,C=DE"
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "*.b.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "2001:db8::7"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example/orders"]
    assert names.get_values_for_type(x509.RFC822Name) == ["ops@example.com"]
    assert request(broker, "client", "", ["DNS:only.a.name"]).subject.rfc4514_string() == ""


def sans_of(csr):
    return csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)


def test_request_with_as_many_names_as_is_said(broker, refused):
    """1,000 names, of 48 KiB together, whatever the key; one more is refused with this limit, also by the command line."""
    limit, room, longest = 1000, 48 * 1024, "DNS:" + ".".join(["x" * 49] * 5)
    many = [f"DNS:name-{i}.orders.example" for i in range(limit + 100)]
    for key_type in ("ec-p256", "rsa-2048", "ed25519"):
        generate(broker, key_type, key_type)
        for n in (1, 64, 65, limit):
            assert sans_of(request(broker, key_type, names=many[:n])) == [name[4:] for name in many[:n]]
        fits = [longest] * (room // len(longest))
        fits.append("DNS:" + "y" * (room % len(longest) - 4))
        assert len(sans_of(request(broker, key_type, names=fits))) == len(fits)
        for names in (many[:limit + 1], many, [*fits, "DNS:z"]):
            message = refused("InvalidArgument", request, broker, key_type, names=names)
            assert "at most 1000" in message and "48 KiB" in message, message
    # what becomes longest: a request for an Ed25519 key is signed as it is
    names = ["IP:::1"] * 800 + [longest] * ((room - 6 * 800) // len(longest))
    assert request(broker, "ed25519", "CN=x" + ",OU=y" * 100, names=names).is_signature_valid
    command = ["certificate", "request", "ec-p256", "--subject", "CN=x"]
    done = broker.cli(*command, *[word for name in many[:limit] for word in ("--san", name)])
    assert done.returncode == 0 and len(sans_of(x509.load_pem_x509_csr(done.stdout))) == limit
    done = broker.cli(*command, *[word for name in many[:limit + 1] for word in ("--san", name)])
    assert done.returncode == 1 and b"at most 1000" in done.stderr, done.stderr


def test_request_refusals(broker, refused):
    generate(broker, "client")
    for subject in ("no equals sign", "=x", "CN=a,,O=b", "CN=a,", "XX=unknown type", "CN=\\", "CN=#zz", "C=Germany"):
        refused("InvalidArgument", request, broker, "client", subject)
    for name in ("dns.example", "DNS:", "IP:300.1.1.1", "IP:", "URI:", "RID:1.2.3", "otherName:x", "email:", "",
                 "DNS:a b", "email:nobody", "DNS:\x01"):
        refused("InvalidArgument", request, broker, "client", "CN=x", [name])
    refused("InvalidArgument", request, broker, "client", "", [])
    refused("InvalidArgument", request, broker, "client", "CN=" + "x" * 70000)
    refused("NotFound", request, broker, "nobody")
    assert request(broker, "client").is_signature_valid  # and it still does the right ones


# installing

def test_chain_in_any_order(broker):
    root = pki.Issuer("Root")
    middle = pki.Issuer("Middle", parent=root)
    generate(broker, "client")
    leaf = issue(request(broker, "client", names=["DNS:client.example"]), middle)
    install(broker, "client", pki.pem(root.certificate, middle.certificate, leaf))
    assert broker.chain("client")[:2] == [pki.der(leaf), pki.der(middle.certificate)]
    assert broker.certificate_properties("client")["LastError"] == ""
    signs(broker, "client", leaf)


def test_chain_with_a_gap(broker):
    root = pki.Issuer("Root")
    middle = pki.Issuer("Middle", parent=root)
    generate(broker, "client")
    leaf = issue(request(broker, "client"), middle)
    install(broker, "client", pki.pem(leaf, root.certificate))
    assert broker.chain("client") == [pki.der(leaf)]
    assert "Middle" in broker.certificate_properties("client")["LastError"]
    signs(broker, "client", leaf)


def test_leaf_in_der(broker, ca):
    generate(broker, "client", "rsa-2048")
    leaf = issue(request(broker, "client"), ca)
    install(broker, "client", pki.der(leaf))
    assert broker.chain("client") == [pki.der(leaf)]
    signs(broker, "client", leaf)


def test_install_refusals(broker, ca, refused):
    generate(broker, "client")
    foreign = pki.certificate(pki.key("ec-p256"), issuer=ca)
    before = sorted(str(o) for o in broker.token_objects())
    assert "client" in refused("KeyMismatch", install, broker, "client", pki.pem(foreign, ca.certificate))
    for nothing in (b"", b"garbage", os.urandom(3000), pki.pem(pki.key("ec-p256")), pki.pem(foreign)[:200]):
        refused("BadBundle", install, broker, "client", nothing)
    refused("InvalidArgument", install, broker, "client", bytes((1 << 20) + 1))
    refused("NotFound", install, broker, "nobody", pki.pem(foreign))
    directory = os.open("/", os.O_RDONLY)
    refused("InvalidArgument", broker.certificate, "client", "InstallCertificate", "ha{sv}",
            dbus.types.UnixFd(directory), lifecycle.options({}))
    os.close(directory)
    assert broker.certificate_properties("client")["State"] == "pending"
    assert sorted(str(o) for o in broker.token_objects()) == before
    signs(broker, "client", certify(broker, "client", ca))


def test_renewal_with_the_same_key(broker, ca, refused):
    first = make(broker, "client", ca)
    uri = broker.certificate_properties("client")["KeyUri"]
    second = certify(broker, "client", ca)
    properties = broker.certificate_properties("client")
    assert (properties["Generation"], properties["KeyUri"]) == (2, uri)
    assert properties["Thumbprint"] == pki.thumbprint(second) != pki.thumbprint(first)
    signs(broker, "client", first, 1)
    signs(broker, "client", second, 2)
    assert broker.manager("GetCertificate", "s", pki.thumbprint(first)) == certificate_path("client")
    [private] = broker.token_objects("Private Key")
    assert len([o for o in broker.token_objects("Certificate") if o["ID"] == private["ID"]]) == 1
    install(broker, "client", pki.pem(second))  # it is current already
    broker.certificate("client", "Refresh")  # what the token has is what we have
    assert broker.certificate_properties("client")["Generation"] == 2
    set_current(broker, "client", 1)
    refused("AlreadyExists", install, broker, "client", pki.pem(second))
    broker.certificate("client", "Refresh")  # the token's newest is known, and no reason to rotate again
    assert broker.certificate_properties("client")["Generation"] == 1
    broker.delete_certificate("client", destroy_key=True)
    assert broker.token_objects() == []


def test_not_yet_valid_leaf(broker, ca, refused):
    generate(broker, "client")
    leaf = issue(request(broker, "client"), ca, not_before=pki.NOW + pki.DAY)
    install(broker, "client", pki.pem(leaf))
    assert broker.certificate_properties("client")["State"] == "pending"
    assert "NotBefore" in refused("Pending", broker.sign, "client", "ecdsa-sha256", bytes(32))
    now = issue(request(broker, "client"), ca)
    install(broker, "client", pki.pem(now))
    signs(broker, "client", now, 2)
    assert "NotBefore" in refused("Pending", set_current, broker, "client", 1)
    signs(broker, "client", now)


def test_expired_leaf(broker, ca, refused):
    generate(broker, "client")
    leaf = issue(request(broker, "client"), ca, not_before=pki.NOW - 9 * pki.DAY, not_after=pki.NOW - pki.DAY)
    install(broker, "client", pki.pem(leaf))
    assert broker.certificate_properties("client")["State"] == "expired"
    refused("Expired", broker.sign, "client", "ecdsa-sha256", bytes(32))
    signs(broker, "client", certify(broker, "client", ca))  # renewed, it is active
    assert broker.certificate_properties("client")["State"] == "active"


def test_missing_names(broker, ca, refused):
    make(broker, "client", ca)
    fewer = issue(request(broker, "client"), ca, sans=["other.example"])
    assert "DNS:client.example" in refused("InvalidArgument", install, broker, "client", pki.pem(fewer))
    assert broker.certificate_properties("client")["Generation"] == 1
    assert len(broker.token_objects("Certificate")) == 2
    install(broker, "client", pki.pem(fewer), force=True)
    assert broker.certificate_properties("client")["Generation"] == 2
    signs(broker, "client", fewer)
    unlike = pki.p12(pki.key("rsa-2048"), pki.certificate(pki.key("rsa-2048"), sans=["third.example"]))
    refused("InvalidArgument", broker.import_bundle, "client", unlike, b"secret", replace=True)
    assert len(broker.token_objects("Private Key")) == 1  # what was made for it is gone
    broker.import_bundle("client", unlike, b"secret", replace=True, force=True)
    assert broker.certificate_properties("client")["Generation"] == 3


# rotating

def test_rotation_to_a_new_key(broker, ca, signals, refused):
    first = make(broker, "client", ca)
    broker.create_backend("orders", "client")
    watch = signals()
    generate(broker, "client", "rsa-2048", replace=True)
    assert broker.certificate_properties("client")["Generation"] == 1  # still
    signs(broker, "client", first)
    second = certify(broker, "client", ca)
    watch.wait("Rotated", certificate_path("client"))
    watch.wait("CredentialChanged", backend_path("orders"))
    assert [s[3] for s in watch.of("Rotated")] == [(2,)]
    assert [s[3] for s in watch.of("CredentialChanged")] == [(2,)]
    assert broker.backend("orders", "GetCredential")["generation"] == 2
    signs(broker, "client", first, 1)
    signs(broker, "client", second)
    [(_, _, until), (_, _, current)] = generations(broker, "client")
    assert abs(until - time.time() - 24 * 3600) < 60
    assert current == 0
    assert "1 (signs until 20" in broker.cli("certificate", "show", "client").stdout.decode()

    retire(broker, "client", 1)
    assert "retired" in refused("Disabled", broker.sign, "client", "ecdsa-sha256", bytes(32), 1)
    [(_, _, until), (_, _, current)] = generations(broker, "client")
    assert abs(until - time.time()) < 60, "told as usable though it is retired"
    assert current == 0
    assert "1 (ended), 2 (current)" in broker.cli("certificate", "show", "client").stdout.decode()
    signs(broker, "client", second)
    broker.restart()
    refused("Disabled", broker.sign, "client", "ecdsa-sha256", bytes(32), 1)
    refused("Disabled", set_current, broker, "client", 1)
    refused("InvalidArgument", retire, broker, "client", 2)
    refused("NotFound", retire, broker, "client", 3)
    signs(broker, "client", second)


def test_set_current_back_and_forth(broker, ca, refused):
    first = make(broker, "client", ca)
    broker.create_backend("orders", "client")
    generate(broker, "client", replace=True)
    refused("Pending", set_current, broker, "client", 2)
    second = certify(broker, "client", ca)
    refused("NotFound", set_current, broker, "client", 3)
    refused("NotFound", set_current, broker, "client", 0)
    for _ in range(2):
        set_current(broker, "client", 1)
        assert broker.backend("orders", "GetCredential")["generation"] == 1
        signs(broker, "client", first)
        signs(broker, "client", second, 2)
        set_current(broker, "client", 2)
        assert broker.backend("orders", "GetCredential")["generation"] == 2
        signs(broker, "client", second)
        signs(broker, "client", first, 1)
    assert [n for n, _, _ in generations(broker, "client")] == [1, 2]


def told_chain(broker, id, generation, **how):
    return [bytes(der) for der in broker.certificate(id, "GetChain", "t", dbus.UInt64(generation), **how)]


def test_chain_of_a_generation(broker, ca, refused):
    """The current one's whatever its state, an older one's while it may sign."""
    generate(broker, "client")
    refused("Pending", told_chain, broker, "client", 0)
    first = certify(broker, "client", ca)
    generate(broker, "client", replace=True)
    refused("Pending", told_chain, broker, "client", 2)
    second = certify(broker, "client", ca)
    chains = [[pki.der(leaf), pki.der(ca.certificate)] for leaf in (second, first, second)]
    assert [told_chain(broker, "client", n) for n in range(3)] == chains
    refused("NotFound", told_chain, broker, "client", 3)
    refused("NotFound", told_chain, broker, "nobody", 1)

    broker.certificate("client", "SetEnabled", "b", False)
    assert told_chain(broker, "client", 0) == told_chain(broker, "client", 2) == chains[0]
    refused("Disabled", told_chain, broker, "client", 1)
    broker.certificate("client", "SetEnabled", "b", True)
    retire(broker, "client", 1)
    assert "retired" in refused("Disabled", told_chain, broker, "client", 1)
    assert "GetChain" not in (broker.state / "audit.jsonl").read_text()


def test_a_retired_pending_key_makes_way(broker, ca, refused):
    """A key that was generated by mistake does not stand in the way of the next."""
    first = make(broker, "client", ca)
    generate(broker, "client", replace=True)
    assert generations(broker, "client")[1][1:] == ("", 0)
    assert "1 (current), 2 (pending)" in broker.cli("certificate", "show", "client").stdout.decode()
    retire(broker, "client", 2)
    assert abs(generations(broker, "client")[1][2] - time.time()) < 60
    assert "1 (current), 2 (ended)" in broker.cli("certificate", "show", "client").stdout.decode()
    refused("Disabled", set_current, broker, "client", 2)
    renewed = certify(broker, "client", ca)  # for the current key again
    assert broker.certificate_properties("client")["Generation"] == 3
    assert renewed.public_key().public_numbers() == first.public_key().public_numbers()
    generate(broker, "client", replace=True)
    signs(broker, "client", certify(broker, "client", ca), 4)


def test_grace_ends(stopped, ca, refused):
    stopped.configure(broker='  rotation-grace = "2s";')
    broker = stopped.start()
    first = make(broker, "client", ca)
    certify(broker, "client", ca)
    signs(broker, "client", first, 1)

    def ended():
        try:
            broker.sign("client", "ecdsa-sha256", bytes(32), 1)
        except Failure as failure:
            return failure.name == "Expired"
        return False

    wait_until(ended, "the grace ends")
    refused("Expired", set_current, broker, "client", 1)
    refused("Expired", told_chain, broker, "client", 1)
    broker.sign("client", "ecdsa-sha256", bytes(32))


def test_two_rotations_at_once(broker, ca):
    make(broker, "client", ca)
    bundles = [pki.p12(pki.key("ec-p256", i), pki.certificate(pki.key("ec-p256", i), sans=["client.example"]))
               for i in range(4)]

    def rotate(bundle):
        fds = memfd(bundle), memfd(b"secret")
        try:
            broker.import_fds("client", *fds, connection=broker.connect(), replace=True)
        finally:
            os.close(fds[0])
            os.close(fds[1])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rotate, bundles)) == [None] * 4
    assert [n for n, _, _ in generations(broker, "client")] == [1, 2, 3, 4, 5]
    assert broker.certificate_properties("client")["Generation"] == 5
    assert len(broker.token_objects("Private Key")) == 5
    for n in range(1, 6):
        broker.sign("client", "ecdsa-sha256", bytes(32), n)


def test_two_pending_keys_at_once(broker, ca):
    """Of two that generate at the same time one gets the key, and the other is told."""
    make(broker, "client", ca)

    def attempt(_):
        try:
            generate(broker, "client", connection=broker.connect(), replace=True)
        except Failure as failure:
            return failure.name
        return "ok"

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == ["Pending", "ok"]
    assert len(broker.token_objects("Private Key")) == 2
    signs(broker, "client", certify(broker, "client", ca), 2)


def test_deletion_during_use(broker, ca, refused):
    make(broker, "client", ca)
    make(broker, "neighbour", ca)
    broker.create_backend("orders", "client")
    assert "orders" in refused("InUse", broker.delete_certificate, "client", destroy_key=True)
    stop, outcomes = threading.Event(), set()

    def use():
        connection = broker.connect()
        while not stop.is_set():
            try:
                broker.sign("client", "ecdsa-sha256", bytes(32), connection=connection)
                outcomes.add("ok")
            except Failure as failure:
                outcomes.add(failure.name)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: outcomes, "signatures")
    broker.backend("orders", "Delete")
    broker.delete_certificate("client", destroy_key=True)
    wait_until(lambda: "NotFound" in outcomes, "it is gone")
    stop.set()
    for thread in threads:
        thread.join()
    assert outcomes <= {"ok", "NotFound"}
    assert {o["label"] for o in broker.token_objects() if "label" in o} == {"neighbour"}
    broker.sign("neighbour", "ecdsa-sha256", bytes(32))
