"""The start list of a payload, read: what `inspect` tells of it, and what `verify` checks."""

from __future__ import annotations

from typing import Any

from toolkit.bundle.profile import PAGE, Use
from toolkit.bundle.start_list import MAX_START_LIST, NAME, Entry, decode
from toolkit.errors import DamagedError
from toolkit.files.printable import show
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node


def start_list_of(filesystem: Filesystem) -> bytes | None:
    """The list as it stands; None where there is none. Raises DockercError when it is damaged."""
    node = filesystem.find(NAME, follow=False)
    if node is None or not node.is_file:
        return None
    return filesystem.read(node, MAX_START_LIST)


def start_facts(filesystem: Filesystem) -> list[dict[str, Any]] | None:
    """Of each program in the list what is prefetched; None where there is no list."""
    data = start_list_of(filesystem)
    if data is None:
        return None
    sections = decode(data)
    wanted = {program for program, _ in sections}
    paths: dict[int, bytes] = {}
    for path, node in filesystem.walk(filesystem.root) if wanted else ():
        if node.number in wanted:
            paths.setdefault(node.number, path.removeprefix(b"rootfs"))
    return [
        {
            "program": show(paths[program]) if program in paths else None,
            "names": sum(entry.use is not Use.READ for entry in entries),
            "files": len({entry.number for entry in entries if entry.use is Use.READ}),
            "bytes": PAGE * sum(count for entry in entries for _, count in entry.ranges),
        }
        for program, entries in sections
    ]


def check_start_list(filesystem: Filesystem) -> None:
    """Raise DamagedError unless each entry names what is there."""
    data = start_list_of(filesystem)
    if data is None:
        return
    sections = decode(data)
    paths = {b"rootfs/" * bool(e.path) + e.path for _, entries in sections for e in entries}
    numbers = {entry.number for _, entries in sections for entry in entries}
    numbers |= {program for program, _ in sections}
    by_path: dict[bytes, Node] = {}
    by_number: dict[int, Node] = {}
    for path, node in filesystem.walk(filesystem.root):
        if path in paths:
            by_path[path] = node
        if node.number in numbers:
            by_number[node.number] = node
        if path == b"rootfs":
            by_path[b""] = node
    for program, entries in sections:
        if program not in by_number or not by_number[program].is_file:
            raise DamagedError(f"its start list is for inode {program}, which is no file")
        for entry in entries:
            _check(entry, by_path, by_number)


def _check(entry: Entry, by_path: dict[bytes, Node], by_number: dict[int, Node]) -> None:
    if entry.use is Use.READ:
        node = by_number.get(entry.number)
        end = max((first + count for first, count in entry.ranges), default=0)
        if node is None or not node.is_file or end > -(-node.size // PAGE):
            raise DamagedError(f"its start list reads beyond inode {entry.number}")
        return
    node = by_path.get(b"rootfs/" * bool(entry.path) + entry.path)
    if (node.number if node else 0) != entry.number:
        raise DamagedError(f"its start list is wrong about /{show(entry.path)}")
    if entry.use is Use.LIST and (node is None or not node.is_directory):
        raise DamagedError(f"its start list lists /{show(entry.path)}, which is no directory")
