#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The generator of the D-Bus tables: what it makes, and what it refuses to make anything of."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "daemon/broker/bus/generate-interface.py"
XML = [ROOT / "include/org.certbroker1.xml", ROOT / "daemon/broker/bus/standard.xml"]

METHOD = """<method name="Do">{access}<arg name="id" type="{type}" direction="in"/></method>"""
ACCESS = """<annotation name="org.certbroker1.Access" value="{}"/>"""


class Generate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def generate(self, *paths):
        self.header, self.source = self.folder / "out.h", self.folder / "out.c"
        return subprocess.run(
            [sys.executable, GENERATOR, "--header", self.header, "--source", self.source, *paths],
            capture_output=True, text=True, check=False)

    def generate_members(self, members):
        path = self.folder / "in.xml"
        path.write_text(f'<node><interface name="a.b.Thing">{members}</interface></node>')
        return self.generate(path)

    def refused(self, members, word):
        done = self.generate_members(members)
        self.assertEqual(done.returncode, 1, members)
        self.assertIn(word, done.stderr)
        self.assertFalse(self.source.exists())

    def test_our_interface(self):
        done = self.generate(*XML)
        self.assertEqual(done.returncode, 0, done.stderr)
        source = self.source.read_text()
        self.assertIn('.in_signature = "sshha{sv}"', source)
        self.assertIn('.in_names = "generation, algorithm, input"', source)
        self.assertIn("METHOD_CERTIFICATE_SIGN_TLS", self.header.read_text())
        self.assertNotIn("<!--", source)

    def test_a_method_is_made(self):
        done = self.generate_members(METHOD.format(access=ACCESS.format("manage-all"), type="a{s(tv)}"))
        self.assertEqual(done.returncode, 0, done.stderr)
        source = self.source.read_text()
        self.assertIn("ACCESS_MANAGE_ALL", source)
        self.assertIn('"a{s(tv)}"', source)

    def test_no_access_is_no_method(self):
        self.refused(METHOD.format(access="", type="s"), "who may call it")

    def test_unknown_access(self):
        self.refused(METHOD.format(access=ACCESS.format("everybody"), type="s"), "everybody")

    def test_access_twice(self):
        self.refused(METHOD.format(access=ACCESS.format("any") * 2, type="s"), "twice")

    def test_what_creates_takes_a_name(self):
        self.refused(METHOD.format(access=ACCESS.format("create-backend"), type="t"), "first argument")

    def test_wrong_signatures(self):
        for wrong in ("", "z", "a", "ss", "(s", "()", "a{vs}", "a{s}", "a{sss}", "a{"):
            self.refused(METHOD.format(access=ACCESS.format("any"), type=wrong), "generate-interface: ")

    def test_member_twice(self):
        self.refused(METHOD.format(access=ACCESS.format("any"), type="s") * 2, "twice")

    def test_property_that_is_not_for_bulk_emits_nothing(self):
        self.refused('<property name="P" type="s" access="read">'
                     '<annotation name="org.certbroker1.Bulk" value="false"/></property>', "bulk")

    def test_property_of_no_access(self):
        self.refused('<property name="P" type="s" access="write"/>', "access")

    def test_unknown_element(self):
        self.refused("<methode/>", "methode")

    def test_no_xml(self):
        path = self.folder / "in.xml"
        path.write_text("<node>")
        self.assertEqual(self.generate(path).returncode, 1)


if __name__ == "__main__":
    unittest.main()
