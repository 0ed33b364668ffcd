"""Go's build information in a program, as `go version -m` reads it (Go's debug/buildinfo)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from toolkit.errors import DamagedError
from toolkit.packages.elf import Elf, Section
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import SourceFile

SECTION = b".go.buildinfo"
_MAGIC = b"\xff Go buildinf:"
_HEADER = 32
_POINTERS = 16
_Order = Literal["little", "big"]
_MAX_INFO = 4 << 20
_INLINE, _BIG_ENDIAN = 2, 1
_NAMELESS = "command-line-arguments"
"""The path of what was built from files rather than from a package."""
_FRAME = 16
"""Bytes of the marks before and after the text on modules."""


def modules(file: SourceFile, elf: Elf, section: Section) -> Iterator[Package]:
    """The program's module, those that it depends on, and the standard library."""
    data = file.read(section.offset, min(section.size, _MAX_INFO))
    if not data.startswith(_MAGIC) or len(data) < _HEADER:
        raise DamagedError("its build information of Go is damaged")
    if data[15] & _INLINE:
        version, after = _inline(data, _HEADER)
        text, _ = _inline(data, after)
    else:  # before Go 1.18
        order: _Order = "big" if data[15] & _BIG_ENDIAN else "little"
        word = data[14] if data[14] in (4, 8) else elf.word
        first, second = (
            int.from_bytes(data[at : at + word], order) for at in (_POINTERS, _POINTERS + word)
        )
        version = _pointed(file, elf, first, word, order)
        text = _pointed(file, elf, second, word, order)
    if release := version.decode("utf-8", "replace").partition(" ")[0].removeprefix("go"):
        yield _module(file, "stdlib", release)
    if len(text) > 2 * _FRAME and text[-_FRAME - 1 : -_FRAME] == b"\n":
        yield from _listed(file, text[_FRAME:-_FRAME].decode("utf-8", "replace"))


def _listed(file: SourceFile, text: str) -> Iterator[Package]:
    """Lines `mod` and `dep`: path, version, sum; `=>` replaces the one before. A program that was
    built without modules, as Debian's are, has only its own `path`."""
    found: list[tuple[str, str]] = []
    program = ""
    for line in text.split("\n"):
        kind, *rest = line.split("\t")
        if kind in ("mod", "dep", "=>") and rest and rest[0]:
            if kind == "=>" and found:
                found.pop()
            found.append((rest[0], rest[1] if len(rest) > 1 else ""))
        elif kind == "path" and rest and rest[0] != _NAMELESS:
            program = rest[0]
    if program and not found:
        found.append((program, ""))
    for path, version in found:
        yield _module(file, path, "" if version == "(devel)" else version)


def _module(file: SourceFile, path: str, version: str) -> Package:
    namespace, _, name = path.rpartition("/")
    return make_package(
        "golang", namespace, name, version, path=file.shown, layer=file.layer, shown_name=path
    )


def _inline(data: bytes, at: int) -> tuple[bytes, int]:
    """A string that stands behind its length, which is a varint of Go's."""
    length = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            raise DamagedError("its build information of Go is damaged")
        length |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            break
    if at + length > len(data):
        raise DamagedError("its build information of Go is cut short")
    return data[at : at + length], at + length


def _pointed(file: SourceFile, elf: Elf, address: int, word: int, order: _Order) -> bytes:
    """A string by the address of its header: an address and a length."""
    header = _memory(file, elf, address, 2 * word)
    start, length = (int.from_bytes(header[at : at + word], order) for at in (0, word))
    return _memory(file, elf, start, min(length, _MAX_INFO)) if length else b""


def _memory(file: SourceFile, elf: Elf, address: int, size: int) -> bytes:
    for section in elf.mapped:
        inside = address - section.address
        if inside >= 0 and inside + size <= section.size:
            return file.read(section.offset + inside, size)
    raise DamagedError("its build information of Go points out of the program")
