"""An executable: runtime stub, squashfs, footer (docs/format.md)."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from toolkit.atomic import atomic_file
from toolkit.copy import copy_range
from toolkit.errors import DockercError
from toolkit.footer import Footer, read_footer
from toolkit.squashfs.structs import Superblock
from toolkit.stubs import read_stub

ALIGNMENT = 4096
"""Where the squashfs starts is a multiple of this: pages map, and loop devices like it so."""
_MODE = 0o755
_ELF_HEADER = 20
_ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
"""e_machine of elf(5), in uname(2)'s words, which also name the stubs."""


@dataclass(frozen=True)
class Executable:
    """An executable that was opened: its file, and what its footer and superblock say."""

    path: Path
    file: BinaryIO
    size: int
    footer: Footer
    superblock: Superblock

    @property
    def machine(self) -> str | None:
        """The stub's machine as uname(2) names it; None when the stub is no ELF we know."""
        self.file.seek(0)
        return elf_machine(self.file.read(min(_ELF_HEADER, self.footer.offset)))

    @property
    def padding(self) -> int:
        """Bytes between the squashfs and the footer."""
        return self.size - self.footer.size - self.footer.offset - self.superblock.bytes_used


@contextmanager
def open_executable(path: Path) -> Iterator[Executable]:
    """Open and check a file of any generation; raises DockercError when it is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DockercError(f"{path}: not a dockerc executable: it is no regular file")
        file = path.open("rb")
    except OSError as error:
        raise DockercError(f"{path}: cannot read it: {error.strerror}") from None
    with file:
        footer, superblock = read_footer(file, str(path))
        size = file.seek(0, 2)
        yield Executable(path, file, size, footer, superblock)


def write_executable(path: Path, stub: bytes, write_payload: Callable[[BinaryIO], bool]) -> Footer:
    """Write stub, payload and footer, atomically, mode 0755 less umask; returns the footer.

    `write_payload` appends the squashfs to the file it is given and tells whether it requires
    mapped user ids.
    """
    with atomic_file(path, _MODE) as file:
        file.write(stub + bytes(-len(stub) % ALIGNMENT))
        offset = file.tell()
        footer = Footer(offset, write_payload(file))
        file.seek(0, 2)
        # Payloads of other makers may end anywhere; a loop device needs its last sector whole.
        file.write(bytes(-file.tell() % ALIGNMENT) + footer.encode())
    return footer


def copy_payload(executable: Executable, target: BinaryIO) -> None:
    """Append the squashfs to `target`: exactly its superblock's `bytes_used`."""
    size = executable.superblock.bytes_used
    copy_range(executable.file, executable.footer.offset, target, size)


def replace_stub(path: Path, new: Path) -> None:
    """Write `new`: the payload of `path` and its footer's demands under our current stub.

    The architecture is the old stub's; raises DockercError when that is none of ours.
    """
    with open_executable(path) as executable:
        if executable.machine is None:
            raise DockercError(f"{path}: its runtime is for no architecture that we know")

        def write_payload(file: BinaryIO) -> bool:
            copy_payload(executable, file)
            return executable.footer.require_mapped_uids

        write_executable(new, read_stub(executable.machine), write_payload)


def elf_machine(header: bytes) -> str | None:
    """The machine of a 64-bit little-endian ELF's first 20 bytes (elf(5)), or None."""
    if len(header) < _ELF_HEADER or header[:6] != b"\x7fELF\x02\x01":
        return None
    return _ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))
