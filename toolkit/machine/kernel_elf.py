"""The kernel proper of x86 (vmlinux), as QEMU boots it without a bzImage's code around it.

QEMU enters an ELF file that has a note of Xen's with the address of its 32-bit entry ("PVH"; the
kernel's arch/x86/platform/pvh/head.S, Xen's docs/misc/pvh.pandoc). So nothing has to be
decompressed in the machine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_NOTE = struct.Struct("<III")
_START = b"\x7fELF\x02\x01\x01"
_X86_64 = 62
_LOAD, _NOTES = 1, 4
_ENTRY = 18
"""XEN_ELFNOTE_PHYS32_ENTRY of Xen's public/elfnote.h."""
MAX_SEGMENTS = 64
"""Of an ELF file; a kernel has five."""


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    virtual: int
    physical: int
    size: int
    memory: int
    alignment: int


def bootable(vmlinux: bytes) -> bytes | None:
    """What QEMU needs of it, a third smaller; None for what has no such entry, or is malformed.

    Left out are zeros at the ends of segments, which are memory that is not set; symbols; and the
    relocations behind the file.
    """
    if len(vmlinux) < _HEADER.size or vmlinux[:7] != _START:
        return None
    _, _, machine, _, entry, start, _, flags, _, size, count, *_ = _HEADER.unpack_from(vmlinux)
    if machine != _X86_64 or size != _SEGMENT.size or not 0 < count <= MAX_SEGMENTS:
        return None
    if start + count * size > len(vmlinux):
        return None
    segments = [
        _Segment(*_SEGMENT.unpack_from(vmlinux, start + each * size)) for each in range(count)
    ]
    if any(each.offset + each.size > len(vmlinux) for each in segments):
        return None
    notes = [vmlinux[s.offset : s.offset + s.size] for s in segments if s.kind == _NOTES]
    if not any(_has_entry(each) for each in notes):
        return None
    return _compact(vmlinux, [s for s in segments if s.kind in (_LOAD, _NOTES)], entry, flags)


def _has_entry(notes: bytes) -> bool:
    return any(name == b"Xen\0" and kind == _ENTRY for name, kind in _notes(notes))


def _notes(data: bytes) -> Iterator[tuple[bytes, int]]:
    position = 0
    while position + _NOTE.size <= len(data):
        name_size, size, kind = _NOTE.unpack_from(data, position)
        position += _NOTE.size
        yield data[position : position + name_size], kind
        position += -(-name_size // 4) * 4 + -(-size // 4) * 4


def _compact(vmlinux: bytes, segments: list[_Segment], entry: int, flags: int) -> bytes:
    contents = []
    table = b""
    position = _HEADER.size + len(segments) * _SEGMENT.size
    for each in segments:
        content = vmlinux[each.offset : each.offset + each.size]
        if each.kind == _LOAD:
            content = content.rstrip(b"\0")
        contents.append(content)
        kept = each._replace(offset=position, size=len(content), alignment=4)
        table += _SEGMENT.pack(*kept)
        position += len(content)
    header = _HEADER.pack(
        _START.ljust(16, b"\0"), 2, _X86_64, 1, entry, _HEADER.size, 0, flags,
        _HEADER.size, _SEGMENT.size, len(segments), 0, 0, 0,
    )  # fmt: skip
    return b"".join((header, table, *contents))
