# SPDX-License-Identifier: Apache-2.0
"""Managers of some ids each, as other users of this host, on connections that stay; and what is in a SoftHSM token, byte
by byte."""

import hashlib
import json
import pwd
import shutil
import subprocess

import dbus

from broker import ERROR, HERE, PYTHON, ROOT, Failure, backend_path, certificate_path, die_with_parent

MANAGER = "org.certbroker1.Manager"


class Refused(dbus.exceptions.DBusException):
    pass


class Manager:
    """One user's connection. What fails raises Failure, as the broker's own calls do."""

    def __init__(self, broker, user):
        script = broker.folder / "caller.py"
        shutil.copy(HERE / "caller.py", script)
        script.chmod(0o644)
        self.user, self.uid = user, pwd.getpwnam(user).pw_uid
        self.process = subprocess.Popen(
            ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups", PYTHON, str(script),
             broker.bus_address, "-"], env=broker.environment(), cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent)

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)

    def begin(self, path, interface, method, signature="", *arguments):
        self.process.stdin.write(json.dumps([[path, interface, method, signature, *arguments]]) + "\n")
        self.process.stdin.flush()

    def end(self):
        [result] = json.loads(self.process.stdout.readline())
        if "error" in result:
            raise Failure(Refused(result["message"], name=result["error"]))
        return result["value"]

    def call(self, *arguments):
        self.begin(*arguments)
        return self.end()

    def manager(self, method, signature, *arguments):
        return self.call(ROOT, MANAGER, method, signature, *arguments)

    def certificate(self, id, method, signature="", *arguments):
        return self.call(certificate_path(id), "org.certbroker1.Certificate", method, signature, *arguments)

    def backend(self, name, method, signature="", *arguments):
        return self.call(backend_path(name), "org.certbroker1.Backend", method, signature, *arguments)

    def import_bundle(self, id, bundle, passphrase=b"secret", source="hsm", **options):
        return self.manager("ImportCertificate", "sshha{sv}", id, source, {"memfd": bundle.hex()},
                            {"memfd": passphrase.hex()}, options)

    def generate(self, id, source="hsm", key_type="ec-p256", **options):
        return self.manager("GenerateKey", "sssa{sv}", id, source, key_type, options)

    def register(self, id, uri, **options):
        return self.manager("RegisterCertificate", "ssa{sv}", id, uri, options)

    def install(self, id, chain, **options):
        return self.certificate(id, "InstallCertificate", "ha{sv}", {"memfd": chain.hex()}, options)

    def delete(self, id, destroy=False):
        return self.certificate(id, "Delete", "a{sv}", {"destroy-key": True} if destroy else {})

    def export(self, id):
        return self.certificate(id, "Export", "sh", "pem", {"memfd": b"".hex()})


def token_files(broker):
    """Each object of the token as it lies there: its file's name and what is in it."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in broker.tokens.glob("*/*.object") if path.name != "token.object"}
