# SPDX-License-Identifier: Apache-2.0
"""Prints FILE TEST for each test function of the files given: one case, one meson test."""

import ast
import pathlib
import sys

for name in sys.argv[1:]:
    for node in ast.parse(pathlib.Path(name).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            print(pathlib.Path(name).name, node.name)
