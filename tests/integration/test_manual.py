# SPDX-License-Identifier: Apache-2.0
"""The manual pages: they render without a warning, and name every command, option, setting and function there is."""

import pathlib
import re
import subprocess

import pytest

from broker import CLI, DAEMON

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/man").glob("*.scd"))
WANTED = ["certbroker-provider.7", "certbroker-setup.8", "certbroker.1", "certbroker.conf.5", "certbrokerd.8", "libcertbroker.3"]


def rendered(source, folder):
    """The page as groff, and as a reader sees it."""
    page = folder / source.stem
    page.write_bytes(subprocess.run(["scdoc"], input=source.read_bytes(), capture_output=True, check=True).stdout)
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", str(page)], capture_output=True, text=True, check=True,
                          env={"PATH": "/usr/bin:/bin", "MANWIDTH": "2000", "LC_ALL": "C.UTF-8", "MANPAGER": "cat",
                               "HOME": str(folder)})
    assert not done.stderr.strip(), done.stderr
    return re.sub(r".\x08", "", done.stdout)


@pytest.fixture
def text(folder):
    return lambda name: rendered(ROOT / f"docs/man/{name}.scd", folder)


def test_pages_render_without_warnings(folder):
    assert [p.stem for p in PAGES] == WANTED
    for source in PAGES:
        page = rendered(source, folder)
        name, section = source.stem.rsplit(".", 1)
        assert page.startswith(f"{name}({section})") and "SEE ALSO" in page
        assert not re.search(r"\*\*|__|(?<![\w.])_\w", page), "markup that was not understood"


def complete(*words):
    return subprocess.run([CLI, "--complete", *words], capture_output=True, text=True, check=True,
                          env={"CERTBROKER_BUS": "unix:path=/nonexistent"}).stdout.split()


def verbs():
    for noun in complete(""):
        options = complete(noun, "--")
        if "--help" in options and len(complete(noun, "")) == 0:
            yield (noun,)
        for verb in complete(noun, ""):
            yield noun, verb


def test_every_command_and_option_is_in_certbroker_1(text):
    first, setup = (" ".join(text(name).split()) for name in ("certbroker.1", "certbroker-setup.8"))
    found = list(verbs())
    assert len(found) > 30, found
    for command in found:
        page = first + setup if command[0] == "setup" else first  # which has a page of its own
        assert re.search(rf"certbroker {' '.join(command)}[ ,]", page), command
        for option in complete(*command, "--"):
            assert option in page, (command, option)


def test_every_option_is_in_certbrokerd_8(text):
    page = text("certbrokerd.8")
    for option in re.findall(r"--[a-z-]+", subprocess.run([DAEMON, "--help"], capture_output=True, text=True,
                                                          check=True).stdout):
        assert option in page, option


def settings():
    """As the readers' tables have them."""
    for name in ("broker", "source", "grant"):
        code = (ROOT / f"daemon/broker/config/{name}.c").read_text()
        yield from re.findall(r'\{\s*"([a-z-]+)",\s*read_', code)


def test_every_setting_is_in_certbroker_conf_5(text):
    page = text("certbroker.conf.5")
    found = set(settings())
    assert {"audit-sync", "pin-file", "refresh", "burst", "verify-signatures", "imds-endpoint"} <= found
    for setting in found | {"driver"}:
        assert re.search(rf"^ +(\S+, )*{setting}(, \S+)*$", page, re.MULTILINE), setting


def test_every_function_is_in_libcertbroker_3(text):
    page = text("libcertbroker.3")
    header = (ROOT / "include/certbroker/certbroker.h").read_text()
    found = re.findall(r"^CB_API [^;(]*?(cb_\w+)\(", header, re.MULTILINE)
    assert len(found) > 25
    for function in found:
        assert f"{function}()" in page, function
