"""Two executables side by side: what differs, down to the bytes of their files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from toolkit.bundle.annotations import STORED
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node

_PACKED = f"annotations.{STORED}"
"""Says how it was packed, as the sizes of blocks do, and not what is in it."""
_FIELDS = ("kind", "mode", "uid", "gid", "mtime", "nlink", "target", "device")


@dataclass(frozen=True)
class Change:
    """A path that is not the same in both trees: `before` None is added, `after` None removed.

    `fields` tells in what the two differ, when both are there.
    """

    path: bytes
    before: Node | None
    after: Node | None
    fields: tuple[str, ...] = ()


def compare_facts(left: Executable, right: Executable) -> dict[str, dict[str, list[Any]]]:
    """What differs of footer, stub and config.json: by part, by field, the two values."""
    parts = {
        "footer": [_footer(left), _footer(right)],
        "stub": [_stub(left), _stub(right)],
        "config": [dict(_flat(config_of(left))), dict(_flat(config_of(right)))],
    }
    return {
        part: {
            name: [before.get(name), after.get(name)]
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name) and name != _PACKED
        }
        for part, (before, after) in parts.items()
    }


def compare_trees(left: Executable, right: Executable) -> Iterator[Change]:
    """The paths of the images that differ, in the order of a walk."""
    ours, theirs = filesystem_of(left), filesystem_of(right)
    before, after = ours.walk(rootfs_of(ours)), theirs.walk(rootfs_of(theirs))
    old, new = next(before, None), next(after, None)
    while old or new:
        if new is None or (old is not None and _order(old[0]) < _order(new[0])):
            assert old is not None
            yield Change(old[0], old[1], None)
            old = next(before, None)
        elif old is None or _order(new[0]) < _order(old[0]):
            yield Change(new[0], None, new[1])
            new = next(after, None)
        else:
            if fields := tuple(_differences(ours, old[1], theirs, new[1])):
                yield Change(old[0], old[1], new[1], fields)
            old, new = next(before, None), next(after, None)


def _order(path: bytes) -> list[bytes]:
    return path.split(b"/")


def _differences(ours: Filesystem, old: Node, theirs: Filesystem, new: Node) -> Iterator[str]:
    for field in _FIELDS:
        # Links of a directory follow from what is in it.
        if getattr(old, field) != getattr(new, field) and not (
            field == "nlink" and old.is_directory
        ):
            yield field
    if sorted(ours.xattrs(old)) != sorted(theirs.xattrs(new)):
        yield "xattrs"
    if old.is_file and new.is_file and not _same_content(ours, old, theirs, new):
        yield "content"


def _same_content(ours: Filesystem, old: Node, theirs: Filesystem, new: Node) -> bool:
    if old.size != new.size:
        return False
    if ours.superblock.block_size == theirs.superblock.block_size:
        # Cut alike, so that a block is enough to compare with another.
        pairs = zip(ours.content(old), theirs.content(new), strict=True)
        return all((a.data or bytes(a.size)) == (b.data or bytes(b.size)) for a, b in pairs)
    mine, other = bytearray(), bytearray()
    streams = ours.content(old), theirs.content(new)
    for left in streams[0]:
        mine += left.data or bytes(left.size)
        while len(other) < len(mine) and (right := next(streams[1], None)):
            other += right.data or bytes(right.size)
        common = min(len(mine), len(other))
        if mine[:common] != other[:common]:
            return False
        del mine[:common], other[:common]
    return True


def _footer(executable: Executable) -> dict[str, Any]:
    footer = executable.footer
    return {
        "generation": footer.generation,
        "offset": footer.offset,
        "require_mapped_uids": footer.require_mapped_uids,
    }


def _stub(executable: Executable) -> dict[str, Any]:
    import hashlib

    digest = hashlib.sha256()
    executable.file.seek(0)
    left = executable.footer.offset
    while left and (chunk := executable.file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    return {"architecture": executable.machine, "sha256": digest.hexdigest()}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """A JSON value's leaves under names like `process.args`; lists are leaves."""
    if not isinstance(value, dict):
        yield name, value
        return
    for key, member in value.items():
        yield from _flat(member, f"{name}.{key}" if name else key)
