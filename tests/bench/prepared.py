# SPDX-License-Identifier: Apache-2.0
"""What the measurements begin with: their options, the build that is measured, and the tests' harness on the path."""

import argparse
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]


def options(doc, **more):
    """--build and `more` (name = default: a number; its help is in doc). To be called before the harness is imported."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=TOP / "build", type=pathlib.Path, help="default: ./build")
    for name, default in more.items():
        parser.add_argument(f"--{name}", default=default, type=type(default), metavar="N", help=f"default: {default}")
    found = parser.parse_args()
    os.environ["CERTBROKER_BUILD"] = str(found.build.resolve())
    sys.path.insert(0, str(TOP / "tests/integration"))
    return found


def build(chosen, *targets):
    """Installs what is missing, and builds it, tests included."""
    subprocess.run([TOP / ".ci/install", "build", "run", "vault", "test"], check=True)
    subprocess.run(["meson", "configure", chosen.build, "-Dtests=enabled"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", chosen.build, "all", *targets], check=True, stdout=subprocess.DEVNULL)
