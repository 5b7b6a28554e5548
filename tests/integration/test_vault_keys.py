# SPDX-License-Identifier: Apache-2.0
"""Keys in a vault: signing there and here, import, generation, destruction, and a vault that goes away."""

import contextlib
import functools
import os
import pathlib
import resource
import sqlite3
import threading
import time

import dbus
import dbus.lowlevel
import pytest
from cryptography import x509

import pki
from vaulted import *  # noqa: F401,F403
from vaulted import SANITIZED, Failure, PATIENCE, answered, memfd, wait_until


def test_the_versioned_key_signs(broker):
    made = broker.add()
    broker.check_signature()
    for request in broker.vault.requests("vault", "POST", "/keys/"):
        assert request["path"] == f"/keys/orders/{made['version']}/sign"


def test_requests_of_a_signature(broker):
    """After the first one a signature is one request."""
    broker.add()
    broker.check_signature()
    broker.vault.clear_log()
    for _ in range(5):
        broker.try_sign()
    assert len(broker.vault.requests()) == 5
    assert len(broker.vault.connections("vault")) == 0  # kept from before


@pytest.mark.parametrize("input", [b"", b"x" * 31, b"x" * 33, b"x" * 64])
def test_input_of_the_wrong_length(broker, refused, input):
    broker.add()
    broker.vault.clear_log()
    refused("InvalidArgument", broker.sign, "orders", "ecdsa-sha256", input)
    assert broker.vault.requests() == []


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384", "ec-p521"])
def test_signing_locally(vaulted, key_type):
    broker = vaulted.begin(signing="local")
    broker.add(key_type=key_type, exportable=True)
    broker.vault.clear_log()
    for algorithm in broker.certificate_properties("orders")["Algorithms"]:
        if not algorithm.endswith("sha1"):
            broker.check_signature(algorithm=str(algorithm))
    assert broker.vault.requests() == []
    # started anew, each key is fetched once
    broker.vault.clear_log()
    broker.restart("vault")
    for _ in range(3):
        broker.check_signature(algorithm=str(broker.certificate_properties("orders")["Algorithms"][0]))
    assert 1 <= broker.asked("GET", "/secrets/") <= 2  # for the key, and by the look-up of the start for the chain
    assert broker.asked("POST", "/") == 0


def test_signing_locally_needs_an_exportable_key(vaulted, refused):
    broker = vaulted.begin(signing="local")
    broker.vault.add_certificate("orders", exportable=False)
    message = refused("NotSupported", broker.register, "orders")
    assert "exportable" in message and "remote" in message


def test_signing_locally_while_the_vault_is_away(vaulted):
    broker = vaulted.begin(signing="local", refresh="1s")
    broker.add(exportable=True)
    broker.vault.network("refuse")
    end = time.monotonic() + 8
    while time.monotonic() < end:
        broker.check_signature()
        time.sleep(0.05)
    state, text = broker.vault_state()
    assert state == "degraded" and "go on signing" in text
    broker.vault.network("open")
    wait_until(lambda: broker.vault_state()[0] == "ready", "ready again", 5)


def test_hundreds_wait_without_blocking(vaulted):
    """A vault that takes 400 ms: 200 signatures are in flight at once, and a credential is answered meanwhile."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 400;\n")
    broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.vault.set(latency={"POST /keys": 0.4})
    # a host that is busy does not make a hundred TLS connections to a vault of one thread within their 3 s
    for n in range(16, 129, 16):
        broker.sign_many(n)
    broker.vault.clear_log()
    start = time.monotonic()
    replies = []
    signing = threading.Thread(target=lambda: replies.extend(broker.sign_many(200)), daemon=True)
    signing.start()
    wait_until(lambda: broker.asked("POST", "/keys/") >= 100, "many are in flight")
    began = time.monotonic()
    broker.backend("orders-backend", "GetCredential")
    assert time.monotonic() - began < 0.35 * PATIENCE
    signing.join(60 * PATIENCE)
    assert answered(replies) == 200
    assert time.monotonic() - start < 20 * PATIENCE  # one after the other they would take 80 s


def test_the_budget_is_kept(vaulted):
    """What would drive the vault into its limits is refused early; what was let through was answered."""
    broker = vaulted.begin(broker="  max-in-flight-per-client = 500;\n")
    broker.add(key_type="rsa-4096", hsm=True)  # 16 units a signature: 125 at once, then 12.5 a second
    broker.vault.clear_log()
    start = time.monotonic()
    replies = broker.sign_many(480, algorithm="rsa-pss-sha256", in_flight=32)
    took = time.monotonic() - start
    refused = [r for r in replies if r.get_type() == dbus.lowlevel.MESSAGE_TYPE_ERROR]
    throttled = [r for r in refused if r.get_error_name() == "org.certbroker1.Error.Throttled"]
    assert throttled == refused and throttled
    assert all("budget" in r.get_args_list()[0] and "try again in" in r.get_args_list()[0] for r in throttled)
    asked = broker.asked("POST", "/keys/")
    assert asked == 480 - len(refused) <= 125 + 12.5 * took + 1


def test_start_without_network(vaulted):
    """What was cached is answered at once, marked stale."""
    broker = vaulted.begin()
    broker.add()
    broker.create_backend("orders-backend", "orders")
    chain = broker.chain("orders")
    broker.stop()
    broker.vault.network("refuse")
    broker.start(ready=None)
    credential = broker.backend("orders-backend", "GetCredential")
    assert credential["stale"] and [bytes(c) for c in credential["chain"]] == chain
    with pytest.raises(Failure) as caught:
        broker.try_sign()
    assert caught.value.name == "SourceUnavailable"
    broker.vault.network("open")
    wait_until(lambda: broker.vault_state()[0] == "ready", "ready", 6)
    broker.check_signature()
    assert not broker.backend("orders-backend", "GetCredential")["stale"]


def locked_kib(broker):
    [pid] = broker.helper_pids()
    [line] = [line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if "VmLck" in line]
    return int(line.split()[1])


def may_lock_all():
    status = pathlib.Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return bool(effective & 1 << 14) or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY


def test_memory_is_locked_where_it_may(vaulted):
    """All of it, for libcurl copies what it sends; else the log says so, and the source works all the same."""
    broker, said = vaulted.begin(), "not all memory can be locked"
    broker.add()
    broker.check_signature()
    may = may_lock_all()
    assert (said in broker.log_text()) != may
    if not SANITIZED:  # with which nothing is ever locked
        assert (locked_kib(broker) > 16 * 1024) == may
    broker.stop()

    # without the capability, under a limit: as under most service managers
    broker.log.unlink()
    less = ["setpriv", "--bounding-set=-ipc_lock"] if os.getuid() == 0 else []
    less += ["prlimit", "--memlock=8388608"]
    broker.spawn = functools.partial(broker.spawn, command=less)
    broker.start(ready="vault")
    broker.check_signature()
    assert broker.log_text().count(said) == 1
    assert locked_kib(broker) < 8 * 1024


def edit_store(broker, statement):
    """Of a daemon that is stopped; how many rows it changed."""
    [path] = broker.state.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as store, store:
        return store.execute(statement).rowcount


def too_old(broker, backend, timeout):
    """Waits until the credential is refused, and why; until then it is stale."""
    def refused():
        try:
            assert broker.backend(backend, "GetCredential")["stale"]
        except Failure as failure:
            return failure
        return None
    failure = wait_until(refused, "it is refused", timeout)
    assert failure.name == "SourceUnavailable" and "max-stale" in failure.message, str(failure)


def test_max_stale(vaulted):
    """Without a network a credential is served at once, stale, for as long as it may be, and then refused."""
    seconds = 12 * PATIENCE
    broker = vaulted.begin(**{"max-stale": f"{seconds}s"})
    made = broker.add()
    broker.register("pinned", broker.uri("orders", made["version"]))
    for id in ("orders", "pinned"):
        broker.create_backend(f"{id}-backend", id)
    broker.stop()
    # a pinned one is looked up when its source begins to serve, and that may be long ago
    assert edit_store(broker, "UPDATE certificate SET last_refresh = 1 WHERE id = 'pinned'") == 1
    broker.vault.network("refuse")
    away = time.monotonic()
    broker.start(ready=None)
    for id in ("orders", "pinned"):
        assert broker.backend(f"{id}-backend", "GetCredential")["stale"]

    for id in ("orders", "pinned"):
        too_old(broker, f"{id}-backend", seconds + 10)
    assert time.monotonic() - away > seconds / 2  # it served until shortly before
    broker.vault.network("open")
    broker.wait_source("vault", "ready")
    for id in ("orders", "pinned"):
        assert not broker.backend(f"{id}-backend", "GetCredential")["stale"]


def test_max_stale_begins_when_the_vault_goes(vaulted):
    """Not with the last look-up, which may be `refresh` ago; and none at all is possible."""
    broker = vaulted.begin(refresh="1h", **{"max-stale": "1h"})
    broker.add()
    broker.create_backend("orders-backend", "orders")
    broker.stop()
    assert edit_store(broker, "UPDATE certificate SET last_refresh = 1, next_refresh = 4000000000") == 1
    broker.vault.fault("V14.503", match="^GET /certificates/", times=100000)  # so that it is not looked up again
    broker.start("vault")
    broker.vault.network("refuse")
    for _ in range(5):
        with pytest.raises(Failure):
            broker.try_sign()
    wait_until(lambda: broker.vault_state()[0] == "unavailable", "unavailable")
    assert broker.backend("orders-backend", "GetCredential")["stale"]
    broker.configure_vault(refresh="1h", **{"max-stale": "0s"})
    broker.manager("Reload")
    too_old(broker, "orders-backend", 10)


# ---- import

@pytest.mark.parametrize("key_type", ["rsa-2048", "rsa-3072", "ec-p256", "ec-p384", "ec-p521"])
def test_import(broker, key_type):
    issuer = pki.Issuer()
    certificate = broker.import_new("or.ders_1", key_type, issuer=issuer, source="vault")
    assert broker.chain("or.ders_1") == [pki.der(certificate), pki.der(issuer.certificate)]
    algorithm = str(broker.certificate_properties("or.ders_1")["Algorithms"][0])
    broker.check_signature("or.ders_1", algorithm)
    assert broker.vault.certificate("or-ders-1")
    assert not broker.certificate_properties("or.ders_1")["Extractable"]
    broker.refresh("or.ders_1")
    assert broker.certificate_properties("or.ders_1")["NextRefresh"] == 0


def test_import_extractable_and_replace(broker):
    broker.import_new("orders", "ec-p256", source="vault", extractable=True)
    assert broker.certificate_properties("orders")["Extractable"]
    other = pki.key("ec-p256", 7)
    certificate = pki.certificate(other, "client.example")
    broker.import_bundle("orders", pki.p12(other, certificate), b"secret", source="vault", replace=True)
    assert broker.certificate_properties("orders")["Generation"] == 2
    broker.check_signature()
    broker.sign("orders", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"), 1)

    asked = broker.asked("POST", "/certificates/")
    bundle = pki.p12(other, certificate)
    broker.import_bundle("orders", bundle, b"secret", source="vault", replace=True)  # it is current already
    for days, name in ((1, "Pending"), (-300, "Expired")):
        begin = pki.NOW + days * pki.DAY
        bundle = pki.p12(other, pki.certificate(other, not_before=begin, not_after=begin + 30 * pki.DAY))
        with pytest.raises(Failure) as caught:
            broker.import_bundle("orders", bundle, b"secret", source="vault", replace=True)
        assert caught.value.name == name
    assert broker.certificate_properties("orders")["Generation"] == 2
    assert broker.asked("POST", "/certificates/") == asked


def test_import_over_what_is_there(broker):
    """A certificate in the vault gets no new version by accident."""
    made = broker.vault.add_certificate("orders")
    with pytest.raises(Failure) as caught:
        broker.import_new("orders", "ec-p256", source="vault")
    assert caught.value.name == "AlreadyExists"
    assert broker.vault.certificate("orders")["version"] == made["version"]


def test_import_of_what_no_vault_has(broker):
    with pytest.raises(Failure) as caught:
        broker.import_new("orders", "ed25519", source="vault")
    assert caught.value.name == "NotSupported"
    with pytest.raises(Failure) as caught:
        broker.import_bundle("orders", b"nonsense", source="vault")
    assert caught.value.name == "BadBundle"
    with pytest.raises(Failure) as caught:
        broker.import_bundle("orders", pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"))), b"wrong",
                             source="vault")
    assert caught.value.name == "BadPassphrase"
    assert broker.asked("POST", "/certificates/") == 0


def test_import_that_fails_leaves_its_name(broker, refused):
    """What was imported is disabled, for deleting would reserve the name; that is said, and the next try is taken."""
    def try_import(**options):
        key = pki.key("ec-p256", len(broker.vault.log()))
        return broker.import_bundle("orders", pki.p12(key, pki.certificate(key, "client.example")), b"secret",
                                    source="vault", **options)

    def refused_once(name, **options):
        message = refused(name, try_import, **options)
        broker.vault.clear_faults()
        version = broker.vault.certificate("orders")
        assert version["version"] in message and "disabled" in message and "used again" in message, message
        assert not version["enabled"]
        assert broker.asked("DELETE", "/") == 0

    broker.vault.set(strict=True)
    for fault, match, name in (("V20.flipped", None, "Failed"), ("V19.key", None, "KeyMismatch"),
                               ("V7.array", "^GET /keys/", "Failed")):
        broker.vault.fault(fault, **({"match": match} if match else {}), times=1000)
        refused_once(name)
        assert broker.list_ids() == []
    # it cannot be disabled either: then that is said
    broker.vault.fault("V20.flipped", times=1000)
    broker.vault.deny("system", "certificates/update")
    message = refused("Failed", try_import)
    assert "could not be taken back" in message and "certificates/update" in message, message
    broker.vault.clear_faults()
    broker.vault.allow("system", "certificates/update")
    refused("AlreadyExists", try_import)
    broker.vault.change("orders", enabled=False)
    refused("AlreadyExists", try_import)  # by somebody else
    broker.vault.change("orders", tags={"certbroker": "taken-back"})
    try_import()
    assert broker.vault.certificate("orders")["enabled"] and len(broker.vault.certificate("orders")["versions"]) == 5
    broker.check_signature()
    # a rotation: the one before goes on
    broker.vault.fault("V20.flipped", times=1000)
    refused_once("Failed", replace=True)
    assert broker.certificate_properties("orders")["Generation"] == 1
    broker.check_signature()
    # with a version that is enabled the name is no left-over, whatever the latest one is
    broker.delete_certificate("orders")
    refused("AlreadyExists", try_import)


def import_late(broker, id, fail):
    fail()
    broker.import_new(id, "ec-p256", source="vault")


def merge_late(broker, id, fail):
    generate(broker, id)
    issuer = pki.Issuer()
    certificate = issue(issuer, request(broker, id))
    fail()
    install(broker, [certificate, issuer.certificate], id)


def register_late(broker, id, fail):
    broker.vault.add_certificate(id)
    fail()
    broker.register(id)


# How a vault is while it does not know a new key everywhere yet, each for some requests; and how the key was made.
NOT_YET = [("V11.not-found", "^POST /keys/", 3, import_late), ("V14.503", "^POST /keys/", 4, import_late),
           ("V11.not-found", "^GET /keys/", 3, import_late), ("V11.not-found", "^POST /keys/", 3, merge_late),
           ("V14.500", "^GET /keys/", 4, merge_late), ("V13.missing", "^POST /keys/", 2, register_late)]


def test_a_new_key_is_waited_for(broker):
    for i, (fault, match, times, make) in enumerate(NOT_YET):
        make(broker, f"orders-{i}", lambda f=fault, m=match, t=times: broker.vault.fault(f, match=m, times=t))
        broker.vault.clear_faults()
        broker.source_call("vault", "Refresh")
        broker.check_signature(f"orders-{i}")
    assert len(broker.list_ids()) == len(NOT_YET)


def test_generate_that_fails_leaves_its_name(broker, refused):
    """The vault makes no request: what goes on there is cancelled, and said; then it is tried again."""
    broker.vault.fault(kind="patch-json", match="^(GET|POST) /certificates/orders/(create|pending)", path="csr",
                       value="AAAA")
    message = refused("Failed", generate, broker)
    assert "cancelled" in message, message
    broker.vault.clear_faults()
    generate(broker)
    assert broker.certificate_properties("orders")["State"] == "pending"


def test_a_merge_that_fails_is_repeated(broker, refused):
    """The vault has the certificate, and the key does not sign yet: that is said, and the same is installed again."""
    generate(broker)
    issuer = pki.Issuer()
    chain = [issue(issuer, request(broker)), issuer.certificate]
    broker.vault.fault("V20.flipped", times=1000)
    assert "install it again" in refused("Failed", install, broker, chain)
    broker.vault.clear_faults()
    install(broker, chain)
    broker.check_signature()


def test_import_without_permission(broker):
    broker.vault.deny("system", "certificates/import")
    with pytest.raises(Failure) as caught:
        broker.import_new("orders", "ec-p256", source="vault")
    assert caught.value.name == "SourceDenied" and "certificates/import" in caught.value.message


# ---- generate, request, install

def generate(broker, id="orders", key_type="ec-p256", **options):
    values = dbus.Dictionary({k: dbus.Boolean(v) for k, v in options.items()}, signature="sv")
    return broker.manager("GenerateKey", "sssa{sv}", id, "vault", key_type, values, timeout=60)


def request(broker, id="orders", subject="CN=orders.example,O=Example", names=()):
    der = bytes(broker.certificate(id, "CreateRequest", "sas", subject, dbus.Array(names, signature="s"), timeout=60))
    return x509.load_der_x509_csr(der)


def install(broker, certificates, id="orders", **options):
    fd = memfd(pki.pem(*certificates))
    values = dbus.Dictionary({k: dbus.Boolean(v) for k, v in options.items()}, signature="sv")
    try:
        return broker.certificate(id, "InstallCertificate", "ha{sv}", dbus.types.UnixFd(fd), values, timeout=60)
    finally:
        os.close(fd)


def issue(issuer, csr, names=()):
    class Public:
        def public_key(self):
            return csr.public_key()
    return pki.certificate(Public(), issuer=issuer, subject=csr.subject, sans=names)


@pytest.mark.parametrize("key_type", ["rsa-2048", "ec-p256", "ec-p384"])
def test_generate_request_merge(broker, key_type):
    broker.vault.set(strict=True)
    generate(broker, key_type=key_type)
    assert broker.certificate_properties("orders")["State"] == "pending"
    many = [f"name-{i}.orders.example" for i in range(1000)]  # as many as is said, by the vault's way too
    csr = request(broker, names=[f"DNS:{name}" for name in many])
    sans = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sans.get_values_for_type(x509.DNSName) == many
    csr = request(broker, names=["DNS:orders.example"])
    assert csr.is_signature_valid
    usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature and usage.key_encipherment == key_type.startswith("rsa")
    assert "orders.example" in csr.subject.rfc4514_string()
    issuer = pki.Issuer()
    certificate = issue(issuer, csr, ["orders.example"])
    install(broker, [certificate, issuer.certificate])
    properties = broker.certificate_properties("orders")
    assert properties["State"] == "active" and properties["Thumbprint"] == pki.thumbprint(certificate)
    assert "pending" not in properties["KeyUri"]
    broker.check_signature(algorithm=str(properties["Algorithms"][0]))
    assert broker.vault.requests("vault", "POST", "/certificates/orders/pending/merge")[0]["status"] == 201
    # renewed with the same key: the vault has no part in it
    again = issue(issuer, request(broker), ["orders.example"])
    install(broker, [again, issuer.certificate])
    assert broker.certificate_properties("orders")["Generation"] == 2
    broker.check_signature(algorithm=str(properties["Algorithms"][0]))


def test_a_pending_key_signs_nothing(broker, refused):
    generate(broker)
    refused("Pending", broker.try_sign)


def test_install_of_what_a_vault_cannot_use(broker, refused):
    generate(broker)
    issuer = pki.Issuer()
    refused("KeyMismatch", install, broker, [pki.certificate(pki.key("ec-p256"), issuer=issuer)])
    csr = request(broker)
    for days, name in ((1, "Pending"), (-300, "Expired")):  # once merged, it could neither be tried nor replaced
        begin = pki.NOW + days * pki.DAY
        not_now = pki.certificate(csr, issuer=issuer, subject=csr.subject, not_before=begin, not_after=begin + 30 * pki.DAY)
        refused(name, install, broker, [not_now])
    assert broker.asked("POST", "/certificates/orders/pending/merge") == 0
    install(broker, [issue(issuer, request(broker)), issuer.certificate])
    broker.check_signature()


def test_generate_what_no_vault_has(broker, refused):
    refused("NotSupported", generate, broker, key_type="ed25519")
    assert broker.list_ids() == []


def test_generate_over_what_is_there(broker, refused):
    broker.vault.add_certificate("orders")
    refused("AlreadyExists", generate, broker)


# ---- destroy

def test_forgotten_is_not_destroyed(broker):
    broker.add()
    broker.delete_certificate("orders")
    assert broker.asked("DELETE", "/") == 0
    broker.register("orders")


def test_destroyed_is_soft_deleted(broker, refused):
    broker.import_new("orders", "ec-p256", source="vault")
    broker.import_bundle("orders", pki.p12(pki.key("ec-p256", 3), pki.certificate(pki.key("ec-p256", 3))), b"secret",
                         source="vault", replace=True)
    broker.delete_certificate("orders", destroy_key=True)
    assert broker.list_ids() == []
    refused("NotFound", broker.register, "orders")
    with pytest.raises(Failure) as caught:
        broker.import_new("orders", "ec-p256", source="vault")
    assert caught.value.name == "AlreadyExists" and "soft delete" in caught.value.message


def test_destroying_one_id_leaves_its_versions_to_the_others(broker, refused):
    """A vault deletes a name with all of its versions: one that is pinned under another id must not go with it."""
    first = broker.vault.add_certificate("orders")
    broker.register("pinned", broker.uri("orders", first["version"]))
    broker.vault.rotate("orders")
    broker.register("orders")
    refused("InUse", broker.delete_certificate, "orders", destroy_key=True)
    assert broker.asked("DELETE", "/") == 0
    broker.delete_certificate("pinned")
    broker.delete_certificate("orders", destroy_key=True)


def test_copies_of_one_key_in_a_vault_are_told_apart(broker):
    """Two names of the vault are two objects, whatever key is in them: one of them is destroyed, and the other signs."""
    for id in ("orders", "bills"):
        broker.add(id)
        broker.import_bundle(id, pki.p12(pki.key("ec-p256"), pki.certificate(pki.key("ec-p256"), id)), b"secret",
                             source="vault", replace=True, force=True)
    broker.delete_certificate("bills", destroy_key=True)
    assert broker.asked("DELETE", "/certificates/orders") == 0
    broker.check_signature()


def test_destroying_a_pending_key(broker):
    generate(broker)
    broker.delete_certificate("orders", destroy_key=True)
    assert broker.asked("DELETE", "/certificates/orders/pending") == 1
    generate(broker)
