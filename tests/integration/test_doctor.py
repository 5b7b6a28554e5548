# SPDX-License-Identifier: Apache-2.0
"""`doctor openssl`: what keeps programs from the provider is found, and said, though OpenSSL is silent about it."""
import contextlib
import json
import os
import pty
import shutil
import subprocess

import pytest

from broker import BUILD, CLI, MODULES, PATIENCE

SECTIONS = """
openssl_conf = init
[init]
providers = providers
{init}
[providers]
{providers}
[default_section]
activate = 1
[certbroker_section]
module = {module}
{section}
[properties]
default_properties = provider=certbroker
"""
BOTH = "default = default_section\ncertbroker = certbroker_section"


@pytest.fixture
def config(folder):
    """Writes an openssl.cnf, by default one that is right."""
    folder.chmod(0o755)

    def write(module=f"{MODULES}/certbroker.so", init="", providers=BOTH, section="activate = 1"):
        path = folder / "openssl.cnf"
        path.write_text(SECTIONS.format(module=module, init=init, providers=providers, section=section))
        return path
    return write


def doctor(path, *arguments, status=1, **environment):
    """The one check of this file: its verdict and words."""
    done = subprocess.run([CLI, "--json", "doctor", "openssl", *arguments], capture_output=True, check=False,
                          timeout=30 * PATIENCE, env={"OPENSSL_CONF": str(path), **environment})
    assert done.returncode == status, done.stderr.decode()
    check, = json.loads(done.stdout)["checks"]
    assert check["config"] == str(path)
    return check["verdict"], check["text"]


def built(folder, name, text):
    (folder / f"{name}.c").write_text(text)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / f"{name}.so", folder / f"{name}.c"], check=True)
    return folder / f"{name}.so"


@pytest.fixture
def without_library(folder):
    """The module where it does not find libcertbroker, as in a folder that the loader does not search."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(f"{MODULES}/certbroker.so", elsewhere)
    return elsewhere


def test_all_is_well(config):
    assert doctor(config(), status=0)[0] == "ok"


def test_library_is_not_found(config, without_library):
    """Nor is it for having been found by who asks: neither linked into him nor by his environment."""
    verdict, text = doctor(config(without_library / "certbroker.so"), LD_LIBRARY_PATH=f"{BUILD}/client/lib")
    assert verdict == "fails"
    assert "libcertbroker.so.1: cannot open shared object file" in text
    assert "ldconfig" in text


def test_backend_check_tells_what_programs_would_meet(broker, without_library):
    broker.import_new("client", "ec-p256")
    broker.create_backend("orders", "client")
    done = broker.cli("backend", "check", "orders", OPENSSL_MODULES=str(without_library))
    assert done.returncode == 1
    assert b"libcertbroker.so.1: cannot open shared object file" in done.stderr


@pytest.mark.parametrize("how, words", [
    ({"module": "/nowhere/certbroker.so"}, "cannot be loaded: "),
    ({"providers": "default = default_section"}, "does not name the provider"),
    ({"providers": "certbroker = certbroker_section"}, "provider default is not active"),
    ({"section": ""}, "activate = 1"),
    ({"init": "alg_section = properties"}, "default_properties"),
], ids=["no-module", "not-named", "without-default", "not-activated", "one-for-all"])
def test_wrong_config(config, how, words):
    verdict, text = doctor(config(**how))
    assert verdict == "fails"
    assert words in text


def test_no_config(folder):
    assert doctor(folder / "nowhere.cnf") == ("fails", "It cannot be read: No such file or directory.")


def test_user_who_may_not_read_it(config, folder):
    path = config()
    assert doctor(path, "--user", "nobody", status=0)[0] == "ok"
    path.chmod(0o600)
    assert doctor(path, "--user", "nobody") == ("fails", "It cannot be read: Permission denied.")
    path.chmod(0o644)
    module = folder / "certbroker.so"
    shutil.copy(f"{MODULES}/certbroker.so", module)
    module.chmod(0o600)
    verdict, text = doctor(config(module), "--user", "nobody")
    assert verdict == "fails"
    assert "Permission denied" in text


def test_module_of_another_version_or_kind(config, folder):
    """A file that is no provider; one that ends its program while it is loaded."""
    verdict, text = doctor(config(built(folder, "other", "int nothing;")))
    assert verdict == "fails"
    assert "cannot be loaded" in text
    module = built(folder, "ends", "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }")
    done = subprocess.run([CLI, "doctor", "openssl"], capture_output=True, check=False,
                          env={"OPENSSL_CONF": str(config(module))}, timeout=30 * PATIENCE)
    assert done.returncode == 1
    assert b"signal 6" in done.stderr


def test_no_terminal_for_another_user(config, folder):
    """What runs as him he can trace: it has no terminal of root's to type at (TIOCSTI), nor one to write to."""
    told = folder / "told"
    told.touch()
    told.chmod(0o666)
    module = built(folder, "tells", f"""
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) void tell(void) {{
        FILE *to = fopen("{told}", "a");
        fprintf(to, "%d %d %d\\n", (int)getuid(), isatty(2), open("/dev/tty", O_RDWR) >= 0);
        fclose(to);
}}""")
    module.chmod(0o755)
    for arguments, expected in (((), "0 1 1"), (("--user", "nobody"), "65534 0 0")):
        told.write_text("")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(CLI, [str(CLI), "doctor", "openssl", *arguments], {"OPENSSL_CONF": str(config(module))})
        with contextlib.suppress(OSError):
            while os.read(terminal, 4096):
                pass
        os.close(terminal)
        os.waitpid(pid, 0)
        assert set(told.read_text().split("\n")) == {expected, ""}


def test_words_of_another_user(config, folder):
    """Whatever a program of his says in place of ours, it moves no cursor of root's."""
    answer = json.dumps({"openssl": "3\x1b]0;a\x07", "library": "l\x1b[2J\n", "config": "c\x1b[1m", "config-error": "e\x1b[31m"})
    module = built(folder, "says", f"""
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) void say(void) {{ puts({json.dumps(answer)}); fflush(stdout); _exit(0); }}""")
    module.chmod(0o755)
    done = subprocess.run([CLI, "doctor", "openssl", "--user", "nobody"], capture_output=True, check=False,
                          env={"OPENSSL_CONF": str(config(module))}, timeout=30 * PATIENCE)
    assert done.returncode == 1 and b"e" in done.stdout
    assert not set(done.stdout + done.stderr) & set(b"\x1b\x07"), (done.stdout, done.stderr)


def test_usual_ways(config, folder):
    """Without $OPENSSL_CONF: the file that is installed, and the system's, which need not name the provider."""
    done = subprocess.run([CLI, "--json", "doctor", "openssl"], capture_output=True, check=False, env={},
                          timeout=30 * PATIENCE)
    shipped, system = json.loads(done.stdout)["checks"]
    assert shipped["config"].endswith("/share/certbroker/openssl.cnf")
    assert system["config"].endswith("/openssl.cnf")
    assert system["verdict"] == ("ok" if system["found"]["named"] else "note")
    assert done.returncode == (1 if "fails" in (shipped["verdict"], system["verdict"]) else 0)


def test_users(config):
    """Only root asks for another, and only for one that there is."""
    path = config()
    for user, before, status in (("nobody-at-all", [], 3), ("daemon", ["setpriv", "--reuid=65534"], 4)):
        done = subprocess.run([*before, CLI, "doctor", "openssl", "--user", user], capture_output=True, check=False,
                              env={"OPENSSL_CONF": str(path), "PATH": os.environ["PATH"]}, timeout=30 * PATIENCE)
        assert done.returncode == status, done.stderr
