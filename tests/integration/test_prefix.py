# SPDX-License-Identifier: Apache-2.0
"""The provider in a prefix and a library directory where no loader looks, as a program that is not ours loads it."""

import pathlib
import subprocess

from broker import PATIENCE

TOP = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ("client/lib/libcertbroker.so.1.0.0", "client/provider/certbroker.so")


def run(*command):
    return subprocess.run([str(word) for word in command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=100 * PATIENCE)


def build_for(folder):
    """A build for another prefix, of what a host of gateways needs."""
    build, prefix = folder / "build", folder / "opt"
    for command in (["meson", "setup", build, TOP, f"--prefix={prefix}", "--libdir=lib64", "--buildtype=plain",
                     "-Dtests=disabled", "-Dpkcs11=disabled", "-Dazure=disabled", "-Dman=disabled"],
                    ["ninja", "-C", build, *TARGETS]):
        done = run(*command)
        assert done.returncode == 0, done.stdout
    return build, prefix


def install(build):
    return run("meson", "install", "-C", build, "--no-rebuild", "--tags", "gateway")


def providers(prefix):
    return subprocess.run(["openssl", "list", "-providers"], check=True, capture_output=True, text=True,
                          env={"OPENSSL_CONF": str(prefix / "share/certbroker/openssl.cnf")}).stdout.split()


def test_module_is_found(folder):
    """The installation ends well where OpenSSL has loaded it, and else fails and says why it could not."""
    build, prefix = build_for(folder)
    done = install(build)
    assert done.returncode == 0, done.stdout
    assert "certbroker" in providers(prefix)

    module, library = prefix / "lib64/ossl-modules/certbroker.so", prefix / "lib64/libcertbroker.so.1.0.0"
    finish = [TOP / "client/provider/finish-install", prefix / "share/certbroker/openssl.cnf", module, prefix / "lib64"]
    said = run(*finish)
    assert said.returncode == 0 and said.stdout.startswith("finish-install: OpenSSL loads the provider"), said.stdout

    library.rename(prefix / "aside")
    assert "certbroker" not in providers(prefix), "of which OpenSSL says nothing"
    said = run(*finish)
    assert said.returncode == 1 and f"{module} does not find libcertbroker.so.1" in said.stdout, said.stdout
    assert f"echo {prefix}/lib64 >/etc/ld.so.conf.d/certbroker.conf && ldconfig" in said.stdout
    (prefix / "aside").rename(library)

    module.write_bytes(b"")
    said = run(*finish)
    assert said.returncode == 1 and "file too short" in said.stdout, said.stdout
    assert "no gateway can read its key" in said.stdout
    module.unlink()
    said = run(*finish)
    assert said.returncode == 1 and f"there is no {module}" in said.stdout, said.stdout

    configuration = build / "client/provider/openssl.cnf"
    configuration.write_text(configuration.read_text().replace("providers = provider_sect", "providers = no_sect"))
    done = install(build)
    assert done.returncode == 1, "what follows the command after `&&` is not done"
    assert "the provider is not there" in done.stdout and "the module alone is loaded" in done.stdout, done.stdout
