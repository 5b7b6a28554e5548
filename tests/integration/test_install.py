# SPDX-License-Identifier: Apache-2.0
"""What `meson install` puts where, with the names that others rely on; and that a program can be built against it."""

import json
import pathlib
import re
import subprocess

import pytest

from broker import BUILD, PATIENCE


@pytest.fixture
def installed(folder):
    """The folder of an installation, and the prefix below it."""
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", folder], check=True,
                   stdout=subprocess.DEVNULL, timeout=60 * PATIENCE)
    options = json.loads(subprocess.run(["meson", "introspect", "--buildoptions", BUILD], check=True,
                                        capture_output=True).stdout)
    options = {o["name"]: o["value"] for o in options}
    return pathlib.Path(f"{folder}{options['prefix']}"), options


def test_names(installed):
    prefix, options = installed
    library = prefix / options["libdir"]
    for path in (prefix / "bin/certbroker", prefix / "bin/certbrokerd", prefix / "libexec/certbroker-source",
                 library / "libcertbroker.so.1", library / "libcertbroker.so", library / "pkgconfig/certbroker.pc",
                 library / "ossl-modules/certbroker.so", prefix / "include/certbroker/certbroker.h",
                 prefix / "share/dbus-1/interfaces/org.certbroker1.xml",
                 prefix / "share/dbus-1/system.d/org.certbroker1.conf", prefix / "share/certbroker/openssl.cnf",
                 prefix / "lib/systemd/system/certbrokerd.service", prefix / "lib/sysusers.d/certbroker.conf",
                 prefix / "lib/tmpfiles.d/certbroker.conf", prefix / options["sysconfdir"] / "certbroker/certbroker.conf"):
        assert path.exists(), path
    # nothing outside of the prefix
    top = pathlib.Path(str(prefix)[:-len(options["prefix"])])
    assert [p for p in top.rglob("*") if not p.is_dir() and prefix not in p.parents] == []


def test_nothing_of_the_build_is_left_in_it(installed):
    """Programs find their libraries below the prefix, not in the build tree."""
    prefix, options = installed
    for path in (prefix / "bin/certbroker", prefix / "libexec/certbroker-source", prefix / "bin/certbrokerd",
                 prefix / options["libdir"] / "ossl-modules/certbroker.so"):
        dynamic = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
        for where in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic):
            assert where == f"{options['prefix']}/{options['libdir']}", (path, where)


def test_a_source_cannot_be_read(installed):
    """Else whoever has its user could look into its memory until it is hardened; the kernel's rule is for the program's file."""
    prefix, _ = installed
    assert (prefix / "libexec/certbroker-source").stat().st_mode & 0o777 == 0o711


def test_what_is_not_linked(installed):
    """The broker links no PKCS#11 and no HTTP; a source's process no D-Bus."""
    prefix, _ = installed

    def needed(path):
        dynamic = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
        return re.findall(r"\(NEEDED\).*\[lib(.*?)\.so", dynamic)

    assert not {"p11-kit", "curl", "ssl"} & set(needed(prefix / "bin/certbrokerd"))
    assert not {"dbus-1", "sqlite3", "systemd"} & set(needed(prefix / "libexec/certbroker-source"))


def test_interface_is_the_one_definition(installed):
    prefix, _ = installed
    here = pathlib.Path(__file__).parents[2] / "include/org.certbroker1.xml"
    assert (prefix / "share/dbus-1/interfaces/org.certbroker1.xml").read_bytes() == here.read_bytes()


def test_program_against_the_library(installed, folder):
    prefix, options = installed
    source = folder / "p.c"
    source.write_text("#include <certbroker/certbroker.h>\n"
                      "int main(void) { cb_client *c = 0; int r = cb_client_new(\"system\", &c);\n"
                      "        cb_client_free(c); return r; }\n")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "certbroker"], check=True, capture_output=True,
                           text=True, env={"PATH": "/usr/bin:/bin", "PKG_CONFIG_SYSROOT_DIR": str(folder),
                                           "PKG_CONFIG_PATH": str(prefix / options["libdir"] / "pkgconfig")})
    sanitize = [] if options["b_sanitize"] == "none" else [f"-fsanitize={options['b_sanitize']}"]
    subprocess.run(["gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *sanitize, source, "-o",
                    folder / "p", *flags.stdout.split(), f"-Wl,-rpath,{prefix / options['libdir']}"], check=True)
    subprocess.run([folder / "p"], check=True, timeout=30 * PATIENCE)
