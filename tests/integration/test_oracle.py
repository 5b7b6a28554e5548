# SPDX-License-Identifier: Apache-2.0
"""Whoever may not read an object learns nothing of it: neither by what is answered, nor by the time that this takes."""

import json
import subprocess

import pki
import pytest

from broker import ERROR, GRANT_ALL, HERE, ME, PATIENCE, PYTHON, ROOT, backend_path, certificate_path, source_path

PROPERTIES = "org.freedesktop.DBus.Properties"
MANAGER, CERTIFICATE, BACKEND, SOURCE = (f"org.certbroker1.{i}" for i in ("Manager", "Certificate", "Backend", "Source"))
DIGEST = [0] * 32
ROUNDS = 300
# A fair coin is that far from half once in 15,000 times. Twice in a row, and to the same side, it is not fair; nor is one
# that is twice as far.
DEVIATIONS = 4

# Of one length: what is there and hidden, and two that are not there.
NAMES = "hidden-1", "absent-1", "absent-2"


def calls_of(name, leaf):
    """The ways in which one can ask about it; leaf: a certificate that it has, or has not."""
    id, backend = certificate_path(name), backend_path(name)
    return {
        "Get": [id, PROPERTIES, "Get", "ss", CERTIFICATE, "Subject"],
        "GetAll": [id, PROPERTIES, "GetAll", "s", CERTIFICATE],
        "Introspect": [id, "org.freedesktop.DBus.Introspectable", "Introspect", ""],
        "Ping": [id, "org.freedesktop.DBus.Peer", "Ping", ""],
        "GetChain": [id, CERTIFICATE, "GetChain", "t", 0],
        "Sign": [id, CERTIFICATE, "Sign", "tsay", 0, "ecdsa-sha256", DIGEST],
        "Delete": [id, CERTIFICATE, "Delete", "a{sv}", {}],
        "Get of a backend": [backend, PROPERTIES, "Get", "ss", BACKEND, "Url"],
        "GetCredential": [backend, BACKEND, "GetCredential", ""],
        "Get of a source": [source_path(name.replace("-", "_")), PROPERTIES, "Get", "ss", SOURCE, "State"],
        "GetCertificate": [ROOT, MANAGER, "GetCertificate", "s", name],
        "GetCertificate by thumbprint": [ROOT, MANAGER, "GetCertificate", "s", pki.thumbprint(leaf)],
        "GetCertificate by subject": [ROOT, MANAGER, "GetCertificate", "s", f"subject=CN={name}"],
        "RegisterCertificate": [ROOT, MANAGER, "RegisterCertificate", "ssa{sv}", name, "pkcs11:object=x", {}],
        "CreateBackend": [ROOT, MANAGER, "CreateBackend", "sa{sv}", name, {}],
        "CreateBackend with it": [ROOT, MANAGER, "CreateBackend", "sa{sv}", "own-2", {"Certificate": {"variant": ["s", name]}}],
        "Set": [backend_path("own-1"), PROPERTIES, "Set", "ssv", BACKEND, "Certificate", {"variant": ["s", name]}],
    }


@pytest.fixture
def house(stopped, root):
    """Of what is there www-data reads own-1 only, and manages backends own-*; it has a grant, so it is recorded."""
    stopped.init_token("other")
    stopped.configure(
        sources=stopped.source("own_1") + stopped.source("hidden_1", uri="pkcs11:token=other"),
        grants=GRANT_ALL.format(me=ME) + """
      games = { user = "www-data"; allow = "manage"; certificate = "own-*"; backend = "own-*"; source = "own_*"; };""")
    stopped.start(ready="own_1")
    for id in ("own-1", "hidden-1"):
        stopped.leaf = stopped.import_new(id, common_name=id, source="own_1")
        stopped.create_backend(id, id)
    return stopped


def measure(house, names):
    channel = str(house.get(ROOT, "Manager", "ChannelAddress")).split(";")[0]
    script = house.folder / "stopwatch.py"
    script.write_text((HERE / "stopwatch.py").read_text())
    script.chmod(0o644)
    done = subprocess.run(["setpriv", "--reuid=www-data", "--regid=www-data", "--clear-groups", PYTHON, "-B", str(script),
                           channel, str(ROUNDS), json.dumps(names)], env=house.environment(), cwd="/",
                          capture_output=True, check=False, timeout=60 * PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def suspects(told, deviations=DEVIATIONS):
    return {way: t for way, t in told.items() if abs(t["first"]) > deviations}


def test_hidden_takes_as_long_as_absent(house):
    leaves = [pki.certificate(pki.key("ec-p256"), name, serial=i + 7) for i, name in enumerate(NAMES)]
    leaves[0] = house.leaf
    by_name = [calls_of(name, leaf) for name, leaf in zip(NAMES, leaves)]
    names = {way: [calls[way] for calls in by_name] for way in by_name[0]}
    told = measure(house, names)
    for way, t in told.items():
        denied = way in ("RegisterCertificate", "CreateBackend")
        error = None if way == "Ping" else ERROR + ("AccessDenied" if denied else "NotFound")
        assert [name for name, _ in t["answers"]] == [error] * 3, (way, t)
        texts = {(text or "").replace(name, "X").replace(name.replace("-", "_"), "X").replace(pki.thumbprint(leaf), "X")
                 for name, leaf, (_, text) in zip(NAMES, leaves, t["answers"])}
        assert len(texts) == 1, (way, texts)

    print(json.dumps(told, indent=1))
    assert not suspects(told, 2 * DEVIATIONS)
    first = suspects(told)
    again = suspects(measure(house, {way: names[way] for way in first})) if first else {}
    assert not {way for way, t in again.items() if t["first"] * first[way]["first"] > 0}, (first, again)
