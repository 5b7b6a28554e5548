# SPDX-License-Identifier: Apache-2.0
"""A disk that is ill (ill-disk.c): rules that a program it is preloaded into is under, changed at any time."""

import os
import struct

from broker import BUILD, SANITIZED

LIBRARY = BUILD / "tests/integration/ill-disk.so"
RULE = struct.Struct("=16s96sIIiiIII")
N_RULES = 8
ALWAYS = 1 << 31


class IllDisk:
    def __init__(self, folder):
        self.file = folder / "ill-disk"
        self.file.write_bytes(bytes(RULE.size * N_RULES))
        self.fd = os.open(self.file, os.O_RDWR)

    def environment(self, **more):
        """Of a program that is to be under it."""
        first = [os.environ["CERTBROKER_PRELOAD"]] if SANITIZED else []
        return {"LD_PRELOAD": ":".join([*first, str(LIBRARY)]), "ILL_DISK": str(self.file), **more}

    def rule(self, operation, path, error=0, first=1, times=ALWAYS, n_short=-1, hangs=False, place=0):
        """operation: open, write, sync, truncate, rename, unlink, mkdir."""
        rule = RULE.pack(operation.encode(), str(path).encode(), first, times, error, n_short, hangs, 0, 0)
        os.pwrite(self.fd, rule, place * RULE.size)

    def well(self):
        os.pwrite(self.fd, bytes(RULE.size * N_RULES), 0)

    def n_hit(self, place=0):
        """How many calls have felt it."""
        return RULE.unpack(os.pread(self.fd, RULE.size, place * RULE.size))[-1]

    def close(self):
        os.close(self.fd)
