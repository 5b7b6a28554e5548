# SPDX-License-Identifier: Apache-2.0
"""What a cut of the power may leave on a disk, by the diary that ill-disk.c keeps.

What was synced is there. Of what was written since each page may be there or not, the last of them in part; a file may
have grown and be zeros where a page is missing. Names are their directory's: of what was made, renamed and removed since
that was synced the first so many steps are there, for a journal keeps the order of these, but neither with the data nor
with other directories.
"""

import dataclasses
import json
import pathlib
import struct

ENTRY = struct.Struct("=16sQqIII4x")
MARK = "mark"
PAGE = 4096
SECTOR = 512


@dataclasses.dataclass
class Entry:
    operation: str
    inode: int
    offset: int
    path: str
    new: str
    data: bytes


def mark(diary, what):
    """The program has said by now that this is done."""
    data = json.dumps(what).encode()
    with open(diary, "ab", buffering=0) as file:
        file.write(ENTRY.pack(MARK.encode(), 0, 0, 0, 0, len(data)) + data)


def read(diary):
    data = pathlib.Path(diary).read_bytes()
    at, entries = 0, []
    while at < len(data):
        operation, inode, offset, n_path, n_new, n_data = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        path, new, written = (data[at:at + n_path].decode(), data[at + n_path:at + n_path + n_new].decode(),
                              data[at + n_path + n_new:at + n_path + n_new + n_data])
        at += n_path + n_new + n_data
        entries.append(Entry(operation.rstrip(b"\0").decode(), inode, offset, path, new, written))
    return entries


def apply(content, entry, start=0, end=None):
    """A write, or a part of it, or a truncation."""
    if entry.operation == "truncate":
        del content[entry.offset:]
        content.extend(bytes(entry.offset - len(content)))
        return
    data = entry.data[start:end]
    at = entry.offset + start
    content.extend(bytes(max(0, at - len(content))))
    content[at:at + len(data)] = data


class File:
    def __init__(self):
        self.durable = bytearray()
        self.pending = []

    def sync(self):
        for entry in self.pending:
            apply(self.durable, entry)
        self.pending = []


def pages_of(entry):
    """Where a write is cut: at the pages of the file."""
    first = PAGE - entry.offset % PAGE
    bounds = [0, *range(first, len(entry.data), PAGE), len(entry.data)]
    return list(zip(bounds, bounds[1:]))


class Disk:
    """As it is after so many entries."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.directories = {str(self.folder)}
        self.files = {}    # inode: File, as programs see them
        self.names = {}    # path: File, likewise
        self.durable = {}  # path: File, or None for a directory
        self.pending = {}  # directory: steps

    def step(self, path, operation, *arguments):
        self.pending.setdefault(str(pathlib.Path(path).parent), []).append((operation, *arguments))

    def note(self, entry):
        operation, path = entry.operation, entry.path
        if operation == "create":
            file = self.files[entry.inode] = self.names[path] = File()
            self.step(path, "put", path, file)
        elif operation == "mkdir":
            self.directories.add(path)
            self.step(path, "put", path, None)
        elif operation == "rename":
            self.names[entry.new] = self.names.pop(path)
            self.step(path, "rename", path, entry.new)
        elif operation == "unlink":
            self.names.pop(path, None)
            self.step(path, "remove", path)
        elif operation in ("write", "truncate"):
            self.files[entry.inode].pending.append(entry)
        elif operation == "sync" and path in self.directories:
            for step in self.pending.pop(path, []):
                take_step(self.durable, step)
        elif operation == "sync":
            self.files[entry.inode].sync()

    def leave(self, target, names, data):
        """Makes a state of it: names(n) of n steps are there, data(n) of n pages, each by itself."""
        there = dict(self.durable)
        for steps in self.pending.values():
            for step in steps[:names(len(steps))]:
                take_step(there, step)
        for path, file in sorted(there.items(), key=lambda item: item[0]):
            place = pathlib.Path(target) / pathlib.Path(path).relative_to(self.folder)
            if file is None:
                place.mkdir(mode=0o700, exist_ok=True)
            elif place.parent.is_dir():
                place.touch(mode=0o600)
                place.write_bytes(content_of(file, data))


def take_step(names, step):
    operation, path = step[0], step[1]
    if operation == "put":
        names[path] = step[2]
    elif operation == "remove":
        names.pop(path, None)
    elif path in names:
        names[step[2]] = names.pop(path)


def content_of(file, data):
    content = bytearray(file.durable)
    for entry in file.pending:
        parts = pages_of(entry) if entry.operation == "write" else [(0, None)]
        chosen = data(len(parts))
        for (start, end), part in zip(parts, chosen):
            if part == 1 or (part and end is None):
                apply(content, entry, start, end)
            elif part:  # torn
                apply(content, entry, start, start + int((end - start) * part) // SECTOR * SECTOR)
    return bytes(content)


def nothing(n):
    return [0] * n


def everything(n):
    return [1] * n


def chance(random):
    """Of pages: each by itself, and now and then one of them torn."""
    return lambda n: [random.choice((0, 1, 1, random.random())) for _ in range(n)]
