"""An RPM header as a database keeps it (RPM's manual, "RPM header format", without the magic)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from toolkit.errors import DamagedError

MAX_HEADER = 8 << 20
"""Bytes: those of a package with 50,000 files."""
_MAX_FILES = 100_000
_MAX_ENTRIES = 4096
_INTRO = struct.Struct(">II")
_ENTRY = struct.Struct(">IIII")
_INT32, _STRING, _STRINGS, _I18N = 4, 6, 8, 9
_TEXT = (_STRING, _STRINGS, _I18N)
NAME, VERSION, RELEASE, EPOCH = 1000, 1001, 1002, 1003
LICENSE, ARCH, SOURCE_RPM = 1014, 1022, 1044
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118


@dataclass(frozen=True)
class Header:
    """Texts and numbers by tag; those that a package lacks are not there."""

    texts: dict[int, str]
    epoch: int | None
    store: bytes
    entries: Mapping[int, tuple[int, int, int]]
    """By tag: kind, offset in the store, and how many."""

    def files(self) -> Iterator[bytes]:
        """The paths of the package's files, without the leading slash."""
        if any(tag not in self.entries for tag in (_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES)):
            return
        directories = list(self._strings(_DIR_NAMES))
        _, at, count = self.entries[_DIR_INDEXES]
        for number, name in enumerate(self._strings(_BASE_NAMES)):
            directory = _number(self.store, (_INT32, at + 4 * number, count - number))
            if directory is None or directory >= len(directories):
                raise DamagedError("a file of a header in it is in no directory")
            yield (directories[directory] + name).lstrip(b"/")

    def _strings(self, tag: int) -> Iterator[bytes]:
        _, at, count = self.entries[tag]
        for _ in range(min(count, _MAX_FILES)):
            text = _string(self.store, at)
            at += len(text) + 1
            yield text


def parse_header(data: bytes) -> Header:
    """Raises DockercError when it is damaged."""
    if len(data) < _INTRO.size:
        raise DamagedError("a header in it is cut short")
    count, size = _INTRO.unpack_from(data)
    start = _INTRO.size + count * _ENTRY.size
    if count > _MAX_ENTRIES or start + size > len(data):
        raise DamagedError("a header in it is malformed")
    store = data[start : start + size]
    entries = {}
    for number in range(count):
        tag, kind, offset, values = _ENTRY.unpack_from(data, _INTRO.size + number * _ENTRY.size)
        entries[tag] = kind, offset, values
    texts = {}
    for tag in (NAME, VERSION, RELEASE, LICENSE, ARCH, SOURCE_RPM):
        if tag in entries and entries[tag][0] in _TEXT:
            texts[tag] = _string(store, entries[tag][1]).decode("utf-8", "replace")
    return Header(texts, _number(store, entries.get(EPOCH)), store, entries)


def _string(store: bytes, at: int) -> bytes:
    end = store.find(b"\0", at)
    if end < 0:
        raise DamagedError("a text of a header in it does not end")
    return store[at:end]


def _number(store: bytes, entry: tuple[int, int, int] | None) -> int | None:
    if entry is None or entry[0] != _INT32 or not entry[2] or entry[1] + 4 > len(store):
        return None
    return int.from_bytes(store[entry[1] : entry[1] + 4], "big")
