# SPDX-License-Identifier: Apache-2.0
"""hangfs.py FOLDER OPERATION...: a file system of one file, some of whose operations are never answered.

It speaks FUSE by itself, for a few messages of it are enough, and ends as a process that is killed does: what hung
ends with it.
"""

import contextlib
import ctypes
import os
import pathlib
import stat
import struct
import subprocess
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, BATCH_FORGET = 1, 2, 3, 14, 15, 18, 25, 26, 42
SIZE = 100
DEVICE = "/dev/fuse"


class HangFs:
    """A file of a neighbour's, who answers what he likes. Needs root, to mount it."""

    def __init__(self, folder, *hanging):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.process = subprocess.Popen([sys.executable, __file__, str(self.folder), *map(str, hanging)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert said == "mounted\n", said

    def open(self):
        return os.open(self.folder / "file", os.O_RDONLY | os.O_CLOEXEC)

    def wait_for(self, operation):
        """Until it is asked for this."""
        for line in self.process.stdout:
            if line == f"{operation}\n":
                return
        raise AssertionError(f"it was never asked for {operation}")

    def close(self):
        self.process.kill()
        self.process.communicate()
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@contextlib.contextmanager
def hanging_file(folder, *hanging):
    fs = HangFs(folder, *hanging)
    try:
        yield fs
    finally:
        fs.close()


def attributes(inode, mode, size):
    return struct.pack("<QQQQQQIIIIIIIIII", inode, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def answer(operation, node):
    if operation == INIT:
        return struct.pack("<IIIIHHIIHHIIIIII", 7, 31, 0, 0, 12, 10, 65536, 1, 32, 0, 0, 0, 0, 0, 0, 0)
    if operation == LOOKUP:
        return struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2, 0o100444, SIZE)
    if operation == GETATTR:
        return struct.pack("<QII", 0, 0, 0) + (attributes(1, 0o40755, 0) if node == 1 else
                                              attributes(2, 0o100444, SIZE))
    if operation == OPEN:
        return struct.pack("<QII", 1, 1, 0)  # FOPEN_DIRECT_IO
    if operation == READ:
        return b"x" * SIZE
    return b"" if operation in (FLUSH, RELEASE) else None


def mount(folder):
    """The device to answer on. A container has no node of it in its /dev, but may make one."""
    with contextlib.suppress(FileExistsError):
        os.mknod(DEVICE, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if ctypes.CDLL(None, use_errno=True).mount(b"hangfs", folder.encode(), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), folder)
    return device


def main():
    folder, hanging = sys.argv[1], {int(a) for a in sys.argv[2:]}
    try:
        device = mount(folder)
    except OSError as error:
        print(f"it mounts a file system of its own, which takes root, {DEVICE} and a kernel that has fuse; in a container, "
              f"--device {DEVICE} --cap-add SYS_ADMIN: {error}", flush=True)
        return
    print("mounted", flush=True)
    while True:
        request = os.read(device, 1 << 20)
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        print(operation, flush=True)
        if operation in hanging or operation in (FORGET, BATCH_FORGET):
            continue
        data = answer(operation, node)
        error = -38 if data is None else 0
        data = data or b""
        os.write(device, struct.pack("<IiQ", 16 + len(data), error, unique) + data)


if __name__ == "__main__":
    main()
