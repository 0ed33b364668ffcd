"""Whether an executable is what its digest record, signed block and hash tree say."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator

from toolkit.errors import DamagedError, DockercError
from toolkit.executable.executable import ALIGNMENT, Executable
from toolkit.executable.hash_tree import BLOCK, check_hash_tree
from toolkit.executable.integrity import stub_part
from toolkit.executable.payload import config_text
from toolkit.executable.payload_digest import SIZE as RECORD_SIZE
from toolkit.executable.signed_block import SIZE, SignedBlock
from toolkit.files.copy import pieces
from toolkit.limits import MAX_STUB

Tell = Callable[[str], None]


def check_integrity(executable: Executable, tell: Tell) -> SignedBlock | None:
    """Tell of every fault, and return the signed block, if there is a well-formed one.

    Raises OSError.
    """
    try:
        block = executable.signed_block
    except DamagedError as error:
        tell(str(error))
        block = None
    else:
        if block is None and executable.digest and executable.padding >= ALIGNMENT + RECORD_SIZE:
            tell("its signed block is damaged: there are other bytes in its place")
    for fault in _payload_faults(executable, block):
        tell(fault)
    if block:
        _check_fields(executable, block, tell)
    return block


def _payload_faults(executable: Executable, block: SignedBlock | None) -> Iterator[str]:
    offset, size = executable.footer.offset, executable.superblock.bytes_used
    tree, payload = _Changed(executable.tree_offset), _Changed(offset)
    digest = b""
    if block is None or block.payload.bytes_used != size:
        whole = hashlib.sha256()
        for piece in pieces(executable.file, offset, size):
            whole.update(piece)
        digest = whole.digest()
    else:
        part = block.payload
        for found in check_hash_tree(executable.file, offset, size, part.salt, part.root):
            if isinstance(found, bytes):
                digest = found
            else:
                (tree if found.in_tree else payload).add(found.number)
    recorded = executable.digest
    if recorded not in (digest, None):
        assert recorded is not None
        yield (
            f"its payload was changed after it was built: its SHA-256 is {digest.hex()},"
            f" {recorded.hex()} was recorded{payload.words(': ')}"
        )
    elif payload.count:
        yield f"its payload is not the one of its hash tree{payload.words(': ')}"
    if tree.count:
        yield f"its hash tree was changed{tree.words(': ')}"


class _Changed:
    """Blocks of the payload or of the tree that are not as they were."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._first = self.count = 0

    def add(self, number: int) -> None:
        if not self.count:
            self._first = number
        self.count += 1

    def words(self, before: str) -> str:
        """Where they are; nothing if there are none."""
        if not self.count:
            return ""
        start = self._offset + self._first * BLOCK
        where = f"{before}bytes {start} to {start + BLOCK} of the file"
        return f"{where} and {self.count - 1} more blocks" if self.count > 1 else where


def _check_fields(executable: Executable, block: SignedBlock, tell: Tell) -> None:
    part = block.payload
    if part.bytes_used != executable.superblock.bytes_used:
        tell(
            f"its signed block is of a payload of {part.bytes_used} bytes; this one has"
            f" {executable.superblock.bytes_used}"
        )
    if part.flags != executable.footer.flags:
        tell(f"its footer's flags are {executable.footer.flags}, not {part.flags} as was recorded")
    # That it cannot be read is told by whoever looks at the files.
    with contextlib.suppress(DockercError):
        if hashlib.sha256(config_text(executable)).digest() != part.config_digest:
            tell("its config.json is not the one that was recorded: its SHA-256 is another")
    if executable.digest is None:
        tell("its digest record is damaged: there are other bytes in its place")
    end = executable.block_offset + SIZE + RECORD_SIZE + executable.footer.size
    if end != executable.size:
        tell(f"it has {executable.size} bytes, not {end} as its signed block says")
    if not is_stub_as_recorded(executable, block):
        tell("its runtime is not the one that was recorded: its SHA-256 is another")


def is_stub_as_recorded(executable: Executable, block: SignedBlock) -> bool:
    """Whether the stub is the one that the block tells of."""
    if executable.footer.offset > MAX_STUB:
        return False
    actual = stub_part(executable.stub(MAX_STUB), block.stub.version)
    return actual == block.stub
