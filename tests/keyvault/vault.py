# SPDX-License-Identifier: Apache-2.0
"""The test vault as Python's tests use it: starts tests/keyvault/run, and talks to its control endpoint.

    vault = TestVault(folder).start()
    vault.add_certificate("orders", key_type="rsa-2048")
    vault.fault("V13.seconds", times=1)
    ...
    assert not vault.requests("elsewhere")
    vault.close()
"""

import http.client
import json
import pathlib
import subprocess
import sys
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent


class TestVault:
    __test__ = False  # pytest: this is no test

    def __init__(self, folder, arc_folder=None):
        self.folder = pathlib.Path(folder) / "vault"
        self.arc_folder = arc_folder
        self.info = {}
        self._process = None

    # ---- life

    def start(self):
        self.folder.mkdir(exist_ok=True)
        command = [sys.executable, "-B", str(HERE / "run"), "--folder", str(self.folder), "--until-stdin-ends"]
        if self.arc_folder:
            command += ["--arc-folder", str(self.arc_folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the test vault ended with status {self._process.wait()}")
        self.info = json.loads(line)
        return self

    def close(self):
        if self._process:
            self._process.stdin.close()
            self._process.wait(10)
            self._process.stdout.close()
            self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def control(self, method, path, body=None):
        address = urllib.parse.urlsplit(self.info["control"])
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        try:
            connection.request(method, f"/control/{path}".rstrip("/"), json.dumps(body or {}))
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(answer.get("error"))
        return answer

    def reset(self):
        """As it was when it started, on the same ports; with an empty log."""
        self.control("POST", "reset")

    # ---- where it is

    pid = property(lambda self: self._process.pid)
    url = property(lambda self: self.info["url"])
    named_url = property(lambda self: self.info["named_url"])
    ca_file = property(lambda self: self.info["ca_file"])
    issuing_ca_file = property(lambda self: self.info["issuing_ca_file"])
    authority = property(lambda self: self.info["authority"])
    tenant = property(lambda self: self.info["tenant"])
    imds = property(lambda self: self.info["imds"])
    app_service = property(lambda self: self.info["app_service"])
    app_service_header = property(lambda self: self.info["app_service_header"])
    arc = property(lambda self: self.info["arc"])
    elsewhere = property(lambda self: self.info["elsewhere"])
    elsewhere_http = property(lambda self: self.info["elsewhere_http"])

    def identity(self, name="system"):
        return self.control("GET", "")["identities"][name]

    # ---- what it holds

    def add_certificate(self, name, **fields):
        """A new certificate or version; returns what it is: version, kid, sid, id, x5t, key and chain in PEM."""
        return self.control("POST", "certificates", {"name": name, **fields})

    def rotate(self, name, **fields):
        """The next version of a certificate that is there, with a new key of the same type."""
        return self.control("POST", "certificates", {"name": name, "rotate": True, **fields})

    def certificate(self, name, version=None):
        return self.control("GET", f"certificates/{name}" + (f"/{version}" if version else ""))

    def change(self, name, version=None, **fields):
        """Changes a version, the latest if none is named."""
        return self.control("PATCH", f"certificates/{name}" + (f"/{version}" if version else ""), fields)

    def remove_certificate(self, name, version=None):
        """As if it, or this version of it, had never been: 404, not soft-deleted."""
        self.control("DELETE", f"certificates/{name}" + (f"/{version}" if version else ""))

    def add_secret(self, name, value, content_type=None):
        return self.control("POST", "secrets", {"name": name, "value": value, "content_type": content_type})

    def add_key(self, name, key_type="ec-p256", **fields):
        return self.control("POST", "keys", {"name": name, "key_type": key_type, **fields})

    # ---- who may ask

    def allow(self, identity, *operations):
        return self.control("PATCH", f"identities/{identity}", {"allow": operations})

    def deny(self, identity, *operations):
        return self.control("PATCH", f"identities/{identity}", {"deny": operations})

    def change_identity(self, name, **fields):
        return self.control("PATCH", f"identities/{name}", fields)

    def federated_token(self, **fields):
        return self.control("POST", "federated-token", fields)["token"]

    def token(self, identity="system", audience="https://vault.azure.net", **claims):
        body = {"identity": identity, "audience": audience, "claims": claims}
        return self.control("POST", "token", body)["token"]

    def revoke_tokens(self):
        self.control("POST", "revoke")

    # ---- how it behaves

    def set(self, **settings):
        self.control("PATCH", "settings", settings)

    def network(self, mode, listener="vault"):
        """open, refuse, drop (no answer to SYN) or stall (connects, and is silent)."""
        self.set(network={listener: mode})

    def tls(self, mode, listener="vault"):
        self.set(tls={listener: mode})

    def fault(self, name=None, *, at=None, match=None, times=None, skip=None, **do):
        """A fault of the catalogue by its name, or one made of kind=… and its options. Returns its number."""
        rule = {key: value for key, value in
                {"name": name, "at": at, "match": match, "times": times, "skip": skip}.items() if value is not None}
        if do:
            rule["do"] = do
        return self.control("POST", "faults", rule)["id"]

    def hits(self, number):
        """How often the fault has struck."""
        return next(rule["hits"] for rule in self.control("GET", "faults")["faults"] if rule["id"] == number)

    def clear_faults(self, number=None):
        self.control("DELETE", f"faults/{number}" if number else "faults")

    # ---- what reached it

    def log(self):
        return self.control("GET", "log")["log"]

    def clear_log(self):
        self.control("DELETE", "log")

    def requests(self, at=None, method=None, path=None):
        """The requests so far: at a listener, with a method, whose path begins so."""
        return [entry for entry in self.log() if entry["kind"] == "request" and at in (None, entry["at"])
                and method in (None, entry["method"]) and entry["path"].startswith(path or "")]

    def count(self, at=None, method=None, path=None):
        """As len(requests(…)), for logs of many thousands."""
        return self.control("GET", "count", {"at": at, "method": method, "path": path})["count"]

    def connections(self, at):
        return [entry for entry in self.log() if entry["kind"] == "connection" and entry["at"] == at]
