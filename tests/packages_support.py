"""Files of an image as the readers of package databases get them, out of a dictionary."""

from __future__ import annotations

import random
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO

from toolkit.packages.inventory import Inventory, take_inventory
from toolkit.packages.source import SourceFile


def source(path: str, data: bytes, layer: int | None = None) -> SourceFile:
    """A file that anybody may execute."""

    def read_at(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return SourceFile(path.encode(), len(data), True, layer, read_at)


class Tree:
    """The files of an image by path; `layers` says which layer one is from."""

    def __init__(self, files: Mapping[str, bytes], layers: Mapping[str, int] | None = None) -> None:
        self._files = {
            path: source(path, data, (layers or {}).get(path)) for path, data in files.items()
        }

    def find(self, path: bytes) -> SourceFile | None:
        return self._files.get(path.decode("utf-8", "surrogateescape"))

    def inventory(self) -> Inventory:
        return take_inventory(self._files.values(), self)


def purls(files: Mapping[str, bytes]) -> list[str]:
    """The package URLs in these files, where nothing is to be noted."""
    inventory = Tree(files).inventory()
    assert inventory.notes == []
    return [package.purl for package in inventory.packages]


def elf(sections: Mapping[bytes, bytes], order: str = "<", wide: bool = True) -> bytes:
    """A program of these sections, which are at their offsets plus 0x1000 when it runs, for x86-64
    or whatever else there is of its kind."""
    body = bytearray(64)
    names, headers = bytearray(b"\0"), [(0, 0, 0, 0, 0, 0)]
    for name, data in {**sections, b".shstrtab": b""}.items():
        names += name + b"\0"
        kind = 1
        if name == b".shstrtab":
            kind, data = 3, bytes(names)
        at = len(body)
        body += data
        headers.append((len(names) - len(name) - 1, kind, 0, 0x1000 + at, at, len(data)))
    body += bytes(max(0, 20_000 - len(body)))
    table = len(body)
    form, rest = ("IIQQQQ", "IIQQ") if wide else ("IIIIII", "IIII")
    for header in headers:
        body += struct.pack(order + form + rest, *header, 0, 0, 0, 0)
    segment_at, size = len(body), struct.calcsize("<" + form + rest)
    # All of it is loaded, to be read and written.
    if wide:
        segment = struct.pack(order + "IIQQQQQQ", 1, 6, 0, 0x1000, 0, table, table, 0x1000)
    else:
        segment = struct.pack(order + "IIIIIIII", 1, 0, 0x1000, 0, table, table, 6, 0x1000)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    counts = 64 if wide else 52, len(segment), 1, size, len(headers), len(headers) - 1
    head = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(2, 62 if wide else 3, 1, 0, segment_at, table, 0, *counts),
    )
    body[: len(ident + head)] = ident + head
    return bytes(body + segment)


def archive(members: Mapping[str, bytes]) -> bytes:
    """A zip archive, the same each time."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def rpm_header(texts: Mapping[int, str], epoch: int | None = None) -> bytes:
    """A header as RPM's database keeps it."""
    store, entries = bytearray(), []
    for tag, text in texts.items():
        entries.append((tag, 6, len(store), 1))
        store += text.encode() + b"\0"
    if epoch is not None:
        store += bytes(-len(store) % 4)
        entries.append((1003, 4, len(store), 1))
        store += struct.pack(">I", epoch)
    index = b"".join(struct.pack(">IIII", *entry) for entry in entries)
    return struct.pack(">II", len(entries), len(store)) + index + bytes(store)


def ndb(blobs: list[bytes]) -> bytes:
    """RPM's own database format, of these headers."""
    page = bytearray(struct.pack("<4sIIII", b"RpmP", 0, 1, 1, len(blobs) + 1).ljust(32, b"\0"))
    body, at = bytearray(), 4096 // 16
    for number, blob in enumerate(blobs, 1):
        held = struct.pack("<4sIII", b"BlbS", number, 1, len(blob)) + blob
        held += bytes(-len(held) % 16)
        page += struct.pack("<4sIII", b"Slot", number, at, len(held) // 16)
        at += len(held) // 16
        body += held
    while len(page) < 4096:
        page += struct.pack("<4sIII", b"Slot", 0, 0, 0)
    return bytes(page + body)


def go_info(version: str, modules: str) -> bytes:
    """Build information of Go 1.18 and newer."""

    def text(data: bytes) -> bytes:
        length, coded = len(data), bytearray()
        while length > 127:
            coded.append(length & 127 | 128)
            length >>= 7
        return bytes(coded) + bytes([length]) + data

    framed = b"0" * 16 + modules.encode() + b"1" * 16 if modules else b""
    head = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16)
    return head + text(version.encode()) + text(framed)


def mutant(data: bytes, chance: random.Random) -> bytes:
    """The data with a few bytes changed, removed or doubled."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if not changed:
            return b""
        at = chance.randrange(len(changed)) if chance.random() < 0.5 else _interesting(data, chance)
        kind = chance.randrange(4)
        at = min(at, len(changed) - 1)
        if kind == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at : at + 4] = chance.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x80"))
        elif kind == 2:
            del changed[at : at + chance.randrange(1, 40)]
        else:
            changed[at:at] = changed[chance.randrange(len(changed)) :][: chance.randrange(40)]
    return bytes(changed)


def _interesting(data: bytes, chance: random.Random) -> int:
    """Near the start or the end, where most formats have their numbers."""
    near = min(len(data), 300)
    return (
        chance.randrange(near) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(near)
    )
