"""RPM's database in a hash of Berkeley DB: Packages, up to RPM 4.15 (Berkeley DB's db_page.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import DamagedError
from toolkit.packages.rpm.header import MAX_HEADER
from toolkit.packages.source import SourceFile

_MAGIC = 0x061561
_PAGE_HEADER = 26
_HASH_PAGES = (2, 13)
"""P_HASH_UNSORTED and P_HASH."""
_OVERFLOW_PAGE = 7
_VALUE, _BIG_VALUE = 1, 3
"""H_KEYDATA and H_OFFPAGE."""
_MAX_PAGES = 1 << 20


def is_database(file: SourceFile) -> bool:
    """Whether it is a hash of Berkeley DB's."""
    return file.read(12, 4) in (_MAGIC.to_bytes(4, "little"), _MAGIC.to_bytes(4, "big"))


def headers(file: SourceFile) -> Iterator[bytes]:
    """Every package's header; raises DockercError when it is damaged."""
    start = file.read(0, 72)
    order = "<" if start[12:16] == _MAGIC.to_bytes(4, "little") else ">"
    if len(start) < 72:
        raise DamagedError("it is cut short")
    size, last = struct.unpack_from(f"{order}I", start, 20)[0], struct.unpack_from(
        f"{order}I", start, 32
    )[0]  # fmt: skip
    if size not in (512 << power for power in range(8)) or last >= _MAX_PAGES or start[24]:
        raise DamagedError("it is malformed, or encrypted")
    database = _Database(file, order, size)
    for number in range(1, last + 1):
        yield from database.values(number)


@dataclass
class _Database:
    file: SourceFile
    order: str
    size: int
    read: int = 0
    """Overflow pages so far: no two values share one."""

    def page(self, number: int) -> bytes:
        page = self.file.read(number * self.size, self.size)
        if len(page) < self.size:
            raise DamagedError("a page of it lies past its end")
        return page

    def values(self, number: int) -> Iterator[bytes]:
        page = self.page(number)
        if page[25] not in _HASH_PAGES:
            return
        count = self.number("H", page, 20)
        if _PAGE_HEADER + 2 * count > self.size:
            raise DamagedError("a page of it is malformed")
        offsets = struct.unpack_from(f"{self.order}{count}H", page, _PAGE_HEADER)
        # Keys and values take turns; an item ends where the one before it begins.
        for index in range(1, count, 2):
            at, end = offsets[index], offsets[index - 1]
            if not _PAGE_HEADER <= at < end <= self.size:
                raise DamagedError("an item of it is malformed")
            if page[at] == _BIG_VALUE and end - at >= 12:
                first, length = struct.unpack_from(f"{self.order}II", page, at + 4)
                yield self.overflow(first, length)
            elif page[at] == _VALUE and end - at > 8:  # else the number that the next one gets
                yield page[at + 1 : end]

    def overflow(self, number: int, length: int) -> bytes:
        if length > MAX_HEADER:
            raise DamagedError(f"a package in it has {length} bytes")
        pieces, left = [], length
        while left > 0:
            page = self.page(number)
            self.read += 1
            held = self.number("H", page, 22)
            if page[25] != _OVERFLOW_PAGE or not 0 < held <= self.size - _PAGE_HEADER:
                raise DamagedError("an overflow page of it is damaged")
            if self.read > self.file.size // self.size:
                raise DamagedError("its overflow pages make a loop")
            pieces.append(page[_PAGE_HEADER : _PAGE_HEADER + min(held, left)])
            left -= held
            number = self.number("I", page, 16)
        return b"".join(pieces)

    def number(self, form: str, page: bytes, at: int) -> int:
        return int(struct.unpack_from(self.order + form, page, at)[0])
