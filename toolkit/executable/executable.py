"""An executable: runtime stub, squashfs, footer (docs/format.md)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import DamagedError, DockercError, RefusedError, UnsupportedError
from toolkit.executable.footer import Footer, read_footer
from toolkit.executable.hash_tree import shape_of
from toolkit.executable.integrity import (
    Integrity,
    Kept,
    read_signed_block,
    tree_offset,
    write_integrity,
)
from toolkit.executable.payload_digest import SIZE as RECORD_SIZE
from toolkit.executable.payload_digest import decode_record
from toolkit.executable.signed_block import SignedBlock
from toolkit.files.atomic import atomic_file
from toolkit.files.copy import copy_range
from toolkit.limits import MAX_STUB
from toolkit.squashfs.structs import Superblock

ALIGNMENT = 4096
"""Where the squashfs starts is a multiple of this: pages map, and loop devices like it so."""
_MODE = 0o755


@dataclass(frozen=True)
class Executable:
    """An executable that was opened: its file, and what its footer and superblock say."""

    path: Path
    file: BinaryIO
    size: int
    footer: Footer
    superblock: Superblock

    @cached_property
    def machine(self) -> str | None:
        """The stub's machine as uname(2) names it; None when the stub is no ELF we know."""
        from toolkit.executable.elf import HEADER_SIZE, elf_machine

        return elf_machine(self.stub(HEADER_SIZE))

    def stub(self, limit: int) -> bytes:
        """The stub, at most `limit` bytes of it."""
        self.file.seek(0)
        return self.file.read(min(limit, self.footer.offset))

    def whole_stub(self) -> bytes:
        """All of the stub; raises DockercError when it has more than MAX_STUB bytes."""
        if self.footer.offset > MAX_STUB:
            raise RefusedError(
                f"{self.path}: its runtime has {self.footer.offset} bytes; at most {MAX_STUB} are"
                " copied; `dockerc replace` puts the current one in its place"
            )
        return self.stub(MAX_STUB)

    @property
    def payload_end(self) -> int:
        """Where the squashfs ends."""
        return self.footer.offset + self.superblock.bytes_used

    @property
    def padding(self) -> int:
        """Bytes between the squashfs and the footer."""
        return self.size - self.footer.size - self.payload_end

    @cached_property
    def digest(self) -> bytes | None:
        """The payload's SHA-256 as recorded at build; None where there is no record."""
        size = min(self.padding, RECORD_SIZE)
        self.file.seek(self.size - self.footer.size - size)
        return decode_record(self.file.read(size))

    @property
    def tree_offset(self) -> int:
        """Where its hash tree stands, if it has one."""
        return tree_offset(self.payload_end, self.footer.offset)

    @property
    def block_offset(self) -> int:
        """Where its signed block stands, if it has one."""
        return self.tree_offset + shape_of(self.superblock.bytes_used).size

    @cached_property
    def signed_block(self) -> SignedBlock | None:
        """The signed block; None where there is none. Raises DamagedError for a malformed one."""
        return read_signed_block(self.file, self.block_offset, self.size - self.footer.size)

    @property
    def is_signed(self) -> bool:
        """Whether there is a signature, of whatever worth."""
        try:
            return bool(self.signed_block and self.signed_block.signatures)
        except DamagedError:
            return True

    def kept(self) -> Kept:
        """What another executable with this payload keeps; no block that is malformed."""
        try:
            block = self.signed_block
        except DamagedError:
            block = None
        return Kept(self.file, self.tree_offset, block, self.digest)

    @property
    def stub_version(self) -> str:
        """The version of the stub as the signed block tells it; empty where that is not known."""
        try:
            block = self.signed_block
        except DamagedError:
            return ""
        return block.stub.version if block else ""


@dataclass(frozen=True)
class FooterFields:
    """What is written after a payload: the footer's flag, and what the payload is checked by."""

    require_mapped_uids: bool
    integrity: Integrity | None


@contextmanager
def open_executable(path: Path) -> Iterator[Executable]:
    """Open and check a file of any generation; raises DockercError when it is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnsupportedError(f"{path}: not a dockerc executable: it is no regular file")
        file = path.open("rb")
    except OSError as error:
        raise DockercError(f"{path}: cannot read it: {error.strerror}") from None
    with file:
        footer, superblock = read_footer(file, str(path))
        size = file.seek(0, 2)
        yield Executable(path, file, size, footer, superblock)


def write_executable(
    path: Path,
    stub: bytes,
    write_payload: Callable[[BinaryIO], FooterFields],
    *,
    sync: bool = True,
    like: os.stat_result | None = None,
    source: BinaryIO | None = None,
) -> Footer:
    """Write stub, payload and footer, atomically, mode 0755 less umask; returns the footer.

    `write_payload` appends the squashfs to the file it is given; `sync`, `like` and
    `source` are `atomic_file`'s.
    """
    stub += bytes(-len(stub) % ALIGNMENT)
    with atomic_file(path, _MODE, sync=sync, like=like, source=source) as file:
        file.write(stub)
        offset = file.tell()
        fields = write_payload(file)
        footer = Footer(offset, fields.require_mapped_uids)
        bytes_used = file.seek(0, 2) - offset
        # Payloads of other makers may end anywhere; a loop device needs its last sector whole.
        file.write(bytes(-file.tell() % ALIGNMENT))
        if fields.integrity:
            write_integrity(file, bytes_used, stub, footer.flags, fields.integrity)
        file.write(footer.encode())
    return footer


def copy_payload(executable: Executable, target: BinaryIO) -> None:
    """Append the squashfs to `target`: exactly its superblock's `bytes_used`."""
    size = executable.superblock.bytes_used
    copy_range(executable.file, executable.footer.offset, target, size)
