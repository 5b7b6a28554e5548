# SPDX-License-Identifier: Apache-2.0
"""What `meson install` puts where, with the names that others rely on; and that a program can be built against it."""

import json
import pathlib
import re
import subprocess

import pytest

from broker import BUILD, PATIENCE


def install(build, *options):
    return subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", *options], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * PATIENCE)


@pytest.fixture
def installed(folder):
    """The folder of an installation, and the prefix below it."""
    done = install(BUILD, "--destdir", folder)
    assert done.returncode == 0, done.stdout
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
                 prefix / "share/certbroker/certbroker.conf",
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


def test_configuration_that_is_there_is_kept(installed, folder):
    """Also a link that leads nowhere; and what was installed is what certbrokerd takes."""
    prefix, options = installed
    path = prefix / options["sysconfdir"] / "certbroker/certbroker.conf"
    example = prefix / "share/certbroker/certbroker.conf"
    assert path.stat().st_mode & 0o777 == 0o644
    assert re.search(r"stands\n?.* (/\S*/certbroker\.conf);", path.read_text()).group(1) == \
        f"{options['prefix']}/share/certbroker/certbroker.conf"
    checked = subprocess.run([BUILD / "daemon/broker/certbrokerd", "--config", path, "--check-config"], check=False,
                             capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    path.write_text("# mine\n")
    path.chmod(0o600)
    example.write_text("# of an older version\n")
    assert install(BUILD, "--destdir", folder).returncode == 0
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("# mine\n", 0o600)
    assert "audit-max-size" in example.read_text()
    path.unlink()
    path.symlink_to("elsewhere.conf")
    assert install(BUILD, "--destdir", folder).returncode == 0
    assert path.readlink() == pathlib.Path("elsewhere.conf") and not path.exists()
    assert [p.name for p in path.parent.iterdir() if not p.is_dir()] == ["certbroker.conf"]
