"""ELF files as far as their sections: where one is, and what is in it."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

from toolkit.errors import DamagedError
from toolkit.packages.source import SourceFile

_MAX_SECTIONS = 4096
_MAX_NAMES = 1 << 20
_NOTHING_STORED = 8
"""SHT_NOBITS."""


class Section(NamedTuple):
    """Offset and size in the file, and where it is when it runs."""

    offset: int
    size: int
    address: int


class Elf(NamedTuple):
    """`order` is struct's letter for the order of bytes."""

    order: str
    word: int
    """Bytes of an address."""
    sections: dict[bytes, Section]
    mapped: list[Section]
    """All that have an address."""


def read_elf(file: SourceFile, wanted: Collection[bytes]) -> Elf | None:
    """None when it is no ELF file with sections; raises DockercError when it is damaged."""
    header = file.read(0, 64)
    if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] not in (1, 2):
        return None
    order, wide = (">" if header[5] == 2 else "<"), header[4] == 2
    at = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", header, 40 if wide else 32)[0]
    size, count, names_at = struct.unpack_from(f"{order}HHH", header, 58 if wide else 46)
    form = struct.Struct(f"{order}{'IIQQQQ' if wide else 'IIIIII'}")
    if not at or not count:
        return None
    if size < form.size or count > _MAX_SECTIONS or names_at >= count:
        raise DamagedError("its section headers are malformed")
    table = file.read(at, size * count)
    if len(table) < size * count:
        raise DamagedError("its section headers are cut short")
    # Name, type, flags, address, offset, size.
    headers = [form.unpack_from(table, number * size) for number in range(count)]
    _, _, _, _, start, length = headers[names_at]
    names = file.read(start, min(length, _MAX_NAMES))
    sections: dict[bytes, Section] = {}
    mapped = []
    for name, kind, _, address, offset, length in headers:
        section = Section(offset, length, address)
        if kind == _NOTHING_STORED:
            continue
        if address:
            mapped.append(section)
        text = names[name : names.find(b"\0", name)]
        if text in wanted:
            sections.setdefault(text, section)
    return Elf(order, 8 if wide else 4, sections, mapped)
