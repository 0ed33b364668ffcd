"""Whether a payload is whole: every inode, name, block and fragment is there and decodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DockercError, about
from toolkit.executable import Executable
from toolkit.payload import config_of, filesystem_of, rootfs_of
from toolkit.seal import payload_digest
from toolkit.squashfs.blocks import little_endian, stored_size
from toolkit.squashfs.filesystem import Filesystem, Node, Place, show
from toolkit.squashfs.structs import NO_FRAGMENT, NO_TABLE


@dataclass
class Verified:
    """What was checked."""

    inodes: int = 0
    names: int = 0
    blocks: int = 0
    fragments: int = 0
    bytes: int = 0
    """Of decoded data."""
    digest: bool = False
    """Whether a digest was recorded; it is right then."""


def verify(executable: Executable) -> Verified:
    """Check all there is; raises DockercError, or the library's errors, at the first fault."""
    found = Verified()
    if executable.digest is not None:
        offset, size = executable.footer.offset, executable.superblock.bytes_used
        actual = payload_digest(executable.file, offset, size)
        if actual != executable.digest:
            raise DockercError(
                f"its payload was changed after it was built: its SHA-256 is {actual.hex()},"
                f" {executable.digest.hex()} was recorded"
            )
        found.digest = True
    config_of(executable)
    filesystem = filesystem_of(executable)
    rootfs_of(filesystem)
    fragments = _check_fragments(filesystem, found)
    _check_tree(filesystem, found, fragments)
    return found


def _check_fragments(filesystem: Filesystem, found: Verified) -> list[int]:
    """Decode each once; returns their lengths."""
    lengths = []
    for number in range(filesystem.superblock.fragments):
        with about(f"fragment {number}"):
            data = filesystem.blocks.data(
                *filesystem.fragment(number), filesystem.superblock.block_size
            )
        lengths.append(len(data))
        found.bytes += len(data)
    found.fragments = len(lengths)
    return lengths


def _check_tree(filesystem: Filesystem, found: Verified, fragments: list[int]) -> None:
    superblock = filesystem.superblock
    names: dict[Place, int] = {}
    numbers: dict[int, Node] = {}
    decoded: set[tuple[int, int]] = set()
    for path, node in filesystem.walk(filesystem.root):
        found.names += 1
        first = node.place not in names
        names[node.place] = names.get(node.place, 0) + 1
        if not first:
            continue
        with about(f"/{show(path)}"):
            if not 0 < node.number <= superblock.inodes:
                raise DockercError(f"its number is {node.number} of {superblock.inodes}")
            if numbers.setdefault(node.number, node) is not node:
                raise DockercError(f"it shares its number {node.number} with another file")
            filesystem.xattrs(node)
            if node.is_file:
                _check_file(filesystem, node, found, fragments, decoded)
    for node in numbers.values():
        if not node.is_directory and node.nlink != names[node.place]:
            raise DockercError(f"inode {node.number} claims {node.nlink} names, not those it has")
    found.inodes = len(numbers)
    if found.inodes != superblock.inodes:
        raise DockercError(f"it claims {superblock.inodes} files and names {found.inodes}")
    if superblock.export_table != NO_TABLE:
        table = filesystem.blocks.lookup_table(superblock.export_table, 8 * superblock.inodes)
        for number, reference in enumerate(little_endian("Q", table), 1):
            place = numbers[number].place
            if reference != place.block << 16 | place.offset:
                raise DockercError(f"its export table is wrong about inode {number}")


def _check_file(
    filesystem: Filesystem,
    node: Node,
    found: Verified,
    fragments: list[int],
    decoded: set[tuple[int, int]],
) -> None:
    size, left, start = filesystem.superblock.block_size, node.size, node.start
    for word in filesystem.words(node):
        wanted = min(size, left)
        # Files of equal content share their blocks; one look is enough.
        if stored_size(word) and (start, word) not in decoded:
            decoded.add((start, word))
            found.blocks += 1
            found.bytes += wanted
            if len(filesystem.blocks.data(start, word, size)) != wanted:
                raise DockercError(f"its block at {start} is not of its size")
        start += stored_size(word)
        left -= wanted
    if node.fragment != NO_FRAGMENT and left:
        if node.fragment >= len(fragments):
            raise DockercError(f"there is no fragment {node.fragment}")
        if node.fragment_offset + left > fragments[node.fragment]:
            raise DockercError("it runs past the end of its fragment")


def verify_reference(executable: Executable, reference: str, other: Path) -> None:
    """Compare with the image itself, of which `other` was just built.

    Raises DockercError that names what differs first.
    """
    from toolkit.comparison import compare_trees
    from toolkit.executable import open_executable

    with open_executable(other) as built:
        for change in compare_trees(executable, built):
            what = "is not in the image" if change.after is None else "is missing"
            if change.fields:
                what = f"differs in {', '.join(change.fields)}"
            raise DockercError(f"it is not {reference}: /{show(change.path)} {what}")
