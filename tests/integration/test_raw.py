# SPDX-License-Identifier: Apache-2.0
"""Raw D-Bus, valid and not, from users who have nothing or little to say: the daemon serves others meanwhile and afterwards.

For a longer run, as the seed that is printed says: CERTBROKER_FUZZ_SECONDS=600 CERTBROKER_FUZZ_SEED=N, see
tests/fuzz/README.md.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

import pki
import pytest

from broker import (GRANT_ALL, HERE, ME, NAME, OBJECT_MANAGER, PATIENCE, PEER, PROPERTIES, PYTHON, ROOT, SANITIZED,
                    INTROSPECTABLE, backend_path, certificate_path, die_with_parent, source_path, wait_until)
from test_channel import addresses, path_of, peer
from test_objects import METHODS

SECONDS = float(os.environ.get("CERTBROKER_FUZZ_SECONDS", "8"))
SEED = int(os.environ.get("CERTBROKER_FUZZ_SEED", "0")) or int.from_bytes(os.urandom(4), "big")
GRANTS = GRANT_ALL.format(me=ME) + """
  own = {
    user = "games"; allow = [ "manage", "use", "decrypt", "export", "tls" ];
    certificate = "own-*"; backend = "own-*"; source = "own";
  };
"""
ANSWER_SECONDS = 5  # of a call beside the flood, at most


SENSIBLE = {
    "ImportCertificate": ["own-2", "own"], "GenerateKey": ["own-3", "own", "ec-p256"],
    "RegisterCertificate": ["own-4", "pkcs11:token=own;object=own-1"], "CreateBackend": ["own-1"],
    "Sign": ["ecdsa-sha256"], "SignTls": ["ecdsa-sha256", "client"], "Decrypt": ["rsa-oaep-sha256"],
    "CreateRequest": ["CN=own"], "Export": ["pem"], "CheckAccess": ["read"], "Get": [f"{NAME}.Certificate", "State"],
    "GetAll": [f"{NAME}.Certificate"], "Set": [f"{NAME}.Backend", "SkipReason"],
}


def all_calls():
    """Every method, on objects of one's own, of another, and on none."""
    ids = ("own-1", "own-1", "own-2", "own-3", "client", "absent")
    paths = {"Manager": [ROOT], "Certificate": [certificate_path(i) for i in ids],
             "Backend": [backend_path(i) for i in ("own-1", "orders", "absent")],
             "Source": [source_path("hsm"), source_path("absent")]}
    calls = [(path, f"{NAME}.{interface}", method, signature)
             for interface, methods in METHODS.items() for method, (signature, _) in methods.items()
             for path in paths[interface]]
    calls.append((source_path("own"), f"{NAME}.Source", "Refresh", ""))  # not Unlock: a wrong PIN locks it
    for path in sum(paths.values(), []):
        calls += [(path, PROPERTIES, "Get", "ss"), (path, PROPERTIES, "GetAll", "s"), (path, PROPERTIES, "Set", "ssv"),
                  (path, INTROSPECTABLE, "Introspect", ""), (path, PEER, "Ping", "")]
    calls += [(ROOT, OBJECT_MANAGER, "GetManagedObjects", ""), (ROOT, PEER, "GetMachineId", "")]
    return [(*call, SENSIBLE.get(call[2], [])) for call in calls]


def open_files(broker):
    return len(os.listdir(f"/proc/{broker.daemon.pid}/fd"))


def resident(broker):
    """MiB."""
    status = pathlib.Path(f"/proc/{broker.daemon.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Attack:
    def __init__(self, broker, user, socket, seed, *how, seconds=SECONDS):
        script = broker.folder / "rawfuzz.py"
        if not script.exists():
            shutil.copy(HERE / "rawfuzz.py", script)
            script.chmod(0o644)
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={user}", "--clear-groups", PYTHON, str(script), socket, str(seed), str(seconds),
             *how],
            cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.process.stdin.write(json.dumps(all_calls()))
        self.process.stdin.close()

    def runs(self):
        return self.process.poll() is None

    def finish(self):
        done = json.loads(self.process.stdout.read())
        assert self.process.wait() == 0
        print(done)
        return done


def check_calls(broker, channel, attacks):
    """Root's signatures, for as long as the attacks last: each is good, and comes in time. The slowest."""
    slowest, n = 0, 0
    while any(attack.runs() for attack in attacks):
        began = time.monotonic()
        signature = broker.sign("client", "ecdsa-sha256", pki.digest("ecdsa-sha256", b"m"), connection=channel)
        slowest = max(slowest, time.monotonic() - began)
        pki.verify(broker.cert.public_key(), "ecdsa-sha256", signature, b"m")
        n += 1
        time.sleep(0.02)
    assert slowest < ANSWER_SECONDS * PATIENCE, slowest
    assert n > SECONDS  # more than one a second
    return slowest


@pytest.fixture
def stage(stopped, root):
    stopped.init_token("own")
    sources = stopped.source() + stopped.source("own", uri="pkcs11:token=own")
    stopped.configure(sources=sources, grants=GRANTS)
    stopped.start()
    stopped.wait_source("own", "ready")
    stopped.cert = stopped.import_new("client")
    stopped.import_new("own-1", source="own", extractable=True)
    stopped.create_backend("orders", "client")
    stopped.create_backend("keeper", "own-1")  # so that nobody deletes it
    return stopped


def attack(broker, *how):
    """A user without a grant and one who manages ids of his own, at the same time; what they leave is as it was."""
    print(f"seed {SEED}")
    socket = broker.bus_address[len("unix:path="):] if how else path_of(broker)
    channel = peer(addresses(broker)[0])
    others = (dict(broker.certificate_properties("client")), dict(broker.backend_properties("orders")))
    pid, helpers, files, memory = broker.daemon.pid, broker.helper_pids(), open_files(broker), resident(broker)

    attacks = [Attack(broker, user, socket, SEED + i, *how) for i, user in enumerate(("nobody", "games"))]
    slowest = check_calls(broker, channel, attacks)
    done = [each.finish() for each in attacks]
    print(f"root's slowest signature took {slowest:.3f} s; memory {memory:.0f} → {resident(broker):.0f} MiB")

    assert all(each["messages"] > 50 * SECONDS / PATIENCE and each["answers"] > 0 for each in done), done
    assert broker.daemon.pid == pid and broker.daemon.poll() is None
    assert broker.helper_pids() == helpers, broker.log_text()
    assert (dict(broker.certificate_properties("client")), dict(broker.backend_properties("orders"))) == others
    wait_until(lambda: open_files(broker) <= files + 2, "descriptors are given back", 20)
    if not SANITIZED:  # whose allocator keeps what was freed
        wait_until(lambda: resident(broker) < memory + 48, f"memory is given back: {memory} MiB before", 5)
    verified = broker.cli("audit", "verify")
    assert verified.returncode == 0, verified.stdout.decode() + verified.stderr.decode()


def test_raw_messages_on_the_channel(stage):
    attack(stage)


def test_descriptors_on_the_bus_keep_nobody_from_the_channel(stage):
    """A bus keeps 64 for one receiver, and refuses everybody's calls meanwhile: the library still finds the channel."""
    floods = [Attack(stage, "nobody", stage.bus_address[len("unix:path="):], SEED, "descriptors", seconds=5) for _ in range(2)]
    n = 0
    while floods[0].runs():
        done = stage.cli("certificate", "list")
        assert done.returncode == 0, done.stderr.decode()
        n += 1
    assert all(flood.finish()["messages"] > 1000 for flood in floods) and n > 3


def test_raw_messages_on_the_bus(stage):
    attack(stage, "bus")
