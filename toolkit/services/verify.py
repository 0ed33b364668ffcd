"""Whether a payload is whole: every inode, name, block and fragment is there and decodes."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import DamagedError, DockercError
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.executable.signed_block import SignedBlock
from toolkit.files.printable import show
from toolkit.limits import MAX_ENTRIES
from toolkit.services.integrity import check_integrity
from toolkit.services.start_lists import check_start_list
from toolkit.squashfs.read.blocks import little_endian, stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import NO_FRAGMENT, NO_TABLE
from toolkit.version import __version__

_MAX_FAULTS = 20
"""Told of one payload; the others are counted."""
_DIRECTORY = 0xFFFFFFFF
"""In the place of the names that it claims: its links follow from what is in it."""
_MAY_DIFFER = ("reference", "digest", "version", "layers", "profile")
"""Annotations of ours that tell where the image was taken from, by what tool, for which starts."""
_THE_IMAGE_S = ("process.args", "process.env", "process.cwd", "process.user.", "annotations.")
"""What every version of the tool takes from the image; the rest are its own defaults."""
_TOLD = 10
"""Fields of a configuration that are named."""


@dataclass
class Verified:
    """What was checked, and what is wrong with it."""

    inodes: int = 0
    names: int = 0
    blocks: int = 0
    fragments: int = 0
    bytes: int = 0
    """Of decoded data."""
    digest: bool = False
    """Whether a digest was recorded."""
    signed_block: SignedBlock | None = None
    """The one that was found, if it is well-formed."""
    faults: list[str] = field(default_factory=list)
    """A sentence for each; empty of what is whole."""
    more: int = 0
    """Faults beyond those."""

    def tell(self, fault: str) -> None:
        """Note a fault, or count it when there are many."""
        if len(self.faults) < _MAX_FAULTS:
            self.faults.append(fault)
        else:
            self.more += 1


def verify(executable: Executable) -> Verified:
    """Check all there is, and go on behind each fault.

    Raises DockercError, or the library's errors, where nothing can be looked at.
    """
    found = Verified()
    found.digest = executable.digest is not None
    found.signed_block = check_integrity(executable, found.tell)
    filesystem = filesystem_of(executable)
    try:
        rootfs_of(filesystem)
        _Check(filesystem, found).run()
        config_of(executable)
        if not found.faults:
            check_start_list(filesystem)
    except DockercError as error:
        found.tell(str(error))
    return found


class _Check:
    """One walk through a filesystem; each block is decoded once, however many files share it."""

    def __init__(self, filesystem: Filesystem, found: Verified) -> None:
        self._filesystem, self._found = filesystem, found
        inodes = filesystem.superblock.inodes
        if inodes > MAX_ENTRIES:
            raise DamagedError(f"its squashfs claims {inodes} files")
        # By inode number: names that were met, names that it claims, and where it is.
        self._names, self._claims = (array("I", bytes(4 * (inodes + 1))) for _ in range(2))
        self._places = array("Q", bytes(8 * (inodes + 1)))
        self._blocks: dict[tuple[int, int], int | str] = {}
        """The length of each that was decoded, or what is wrong with it."""
        self._fragments: list[int | str] = []
        self._stored = 0

    def run(self) -> None:
        """Tell of every fault; raises DockercError where there is no going on."""
        for number in range(self._filesystem.superblock.fragments):
            self._fragments.append(self._decode(*self._filesystem.fragment(number)))
        self._found.fragments = len(self._fragments)
        before = len(self._blocks)
        for path, node in self._filesystem.walk(self._filesystem.root, damaged=self._tell):
            self._found.names += 1
            try:
                if self._is_new(node):
                    self._check_node(node)
            except DockercError as error:
                self._tell(path, error)
        self._found.blocks = len(self._blocks) - before
        self._found.inodes = len(self._places) - self._names.count(0)
        if not self._found.faults:  # else they do not add up for sure
            self._check_sums()

    def _tell(self, path: bytes, error: DockercError) -> None:
        self._found.tell(f"/{show(path)}: {error}")

    def _decode(self, start: int, word: int) -> int | str:
        known = self._blocks.get((start, word))
        if known is None:
            # Files share whole blocks; blocks that share bytes are many more than there are.
            self._stored += stored_size(word)
            if self._stored > self._filesystem.superblock.inode_table:
                raise DamagedError("its blocks overlap")
            try:
                size = self._filesystem.superblock.block_size
                known = len(self._filesystem.blocks.data(start, word, size))
                self._found.bytes += known
            except DockercError as error:
                known = str(error)
            self._blocks[start, word] = known
        return known

    def _is_new(self, node: Node) -> bool:
        """Whether it was met under no other name; raises DockercError when its number is wrong."""
        number, inodes = node.number, self._filesystem.superblock.inodes
        if not 0 < number <= inodes:
            raise DamagedError(f"its number is {number} of {inodes}")
        self._names[number] += 1
        if self._names[number] == 1:
            self._claims[number], self._places[number] = node.nlink, node.place.reference
            if node.is_directory:
                self._claims[number] = _DIRECTORY
            return True
        if self._places[number] != node.place.reference:
            raise DamagedError(f"it shares its number {number} with another file")
        return False

    def _check_node(self, node: Node) -> None:
        self._filesystem.xattrs(node)
        if node.is_file:
            self._check_file(node)

    def _check_file(self, node: Node) -> None:
        size, left, start = self._filesystem.superblock.block_size, node.size, node.start
        for word in self._filesystem.words(node):
            wanted = min(size, left)
            if stored_size(word) and _length(self._decode(start, word)) != wanted:
                raise DamagedError(f"its block at {start} is not of its size")
            start += stored_size(word)
            left -= wanted
        if node.fragment != NO_FRAGMENT and left:
            if node.fragment >= len(self._fragments):
                raise DamagedError(f"there is no fragment {node.fragment}")
            if node.fragment_offset + left > _length(self._fragments[node.fragment]):
                raise DamagedError("it runs past the end of its fragment")

    def _check_sums(self) -> None:
        superblock = self._filesystem.superblock
        for number, fragment in enumerate(self._fragments):
            if isinstance(fragment, str):  # which no file uses
                raise DamagedError(f"fragment {number}: {fragment}")
        for number, (names, claims) in enumerate(zip(self._names, self._claims, strict=True)):
            if names and claims not in (_DIRECTORY, names):
                raise DamagedError(f"inode {number} claims {claims} names, not those it has")
        if self._found.inodes != superblock.inodes:
            raise DamagedError(
                f"it claims {superblock.inodes} files and names {self._found.inodes}"
            )
        if superblock.export_table != NO_TABLE:
            table = self._filesystem.blocks.lookup_table(
                superblock.export_table, 8 * superblock.inodes
            )
            for number, reference in enumerate(little_endian("Q", table), 1):
                if reference != self._places[number]:
                    raise DamagedError(f"its export table is wrong about inode {number}")


def _length(decoded: int | str) -> int:
    if isinstance(decoded, str):
        raise DockercError(decoded)
    return decoded


def verify_reference(executable: Executable, reference: str, other: Path) -> str:
    """Compare with the image itself, of which `other` was just built; returns a sentence.

    Raises DockercError that names what differs first. The configuration of another tool's payload
    is that tool's work as much as the image's, and cannot be compared.
    """
    from toolkit.executable.executable import open_executable
    from toolkit.services.compare import compare_trees

    with open_executable(other) as built:
        for change in compare_trees(executable, built):
            what = "is not in the image" if change.after is None else "is missing"
            if change.fields:
                what = f"differs in {', '.join(change.fields)}"
            raise DockercError(f"it is not {reference}: /{show(change.path)} {what}")
        if version_of(executable) is None:
            return (
                f"its files are those of {reference}; its configuration, which another tool wrote,"
                " was not compared"
            )
        _compare_configurations(executable, built, reference)
        return f"it is {reference}, files and configuration"


def version_of(executable: Executable) -> str | None:
    """The version of the tool that made it; None when that was another tool."""
    return _annotation(executable, "version")


def is_rootfull(executable: Executable) -> bool:
    """Whether it was built with --rootfull."""
    return _annotation(executable, "rootfull") == "true"


def _annotation(executable: Executable, name: str) -> str | None:
    annotations = config_of(executable).get("annotations")
    value = annotations.get(f"dev.dockerc.{name}") if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def _compare_configurations(executable: Executable, built: Executable, reference: str) -> None:
    from toolkit.services.compare import compare_facts

    facts = compare_facts(executable, built)
    ours = {f"annotations.dev.dockerc.{name}" for name in _MAY_DIFFER}
    differing = [name for name in facts["config"] if name not in ours]
    if version_of(executable) != __version__:
        differing = [name for name in differing if name.startswith(_THE_IMAGE_S)]
    if "require_mapped_uids" in facts["footer"]:
        differing.append("the footer's require_mapped_uids")
    if differing:
        raise DockercError(
            f"it is not {reference}: its configuration differs in {', '.join(differing[:_TOLD])}"
            + (f" and {len(differing) - _TOLD} more" if len(differing) > _TOLD else "")
        )
