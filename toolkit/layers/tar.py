"""Reading a tar stream: ustar, PAX and GNU headers, sparse files, nothing seeked, all bounded.

Sources: POSIX.1-2017 pax "Interchange Format" and the GNU tar manual, "Basic Tar Format", "Sparse
Formats". Where they leave room we do as Go's archive/tar, which made most images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.errors import DamagedError, RefusedError
from toolkit.files.printable import show
from toolkit.layers.byte_stream import ByteStream
from toolkit.layers.sparse import (
    Segment,
    check_sparse_map,
    old_gnu_map,
    pax_map,
    pax_map_in_data,
)
from toolkit.limits import MAX_FILE_SIZE

BLOCK = 512
MAX_EXTENDED_HEADER = 4 << 20
"""Bytes of one PAX or GNU long-name header; xattrs are at most 64 KiB each."""
MAX_HEADERS_IN_A_ROW = 16
_FREE_EXTENDED = 32 << 20
"""Bytes of extended headers that any tar may have."""
_MAX_RATIO = 50
"""Bytes of them more for each byte that is stored; those of real files compress to a tenth."""

REGULAR, HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = b"0123456"
_REGULAR_TYPES = frozenset(b"0\x007S")
_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK, _GNU_SPARSE = b"xgLKS"
_ZERO_BLOCK = bytes(BLOCK)
_SCHILY_XATTR = b"SCHILY.xattr."


@dataclass(slots=True)
class TarEntry:
    """One entry. Names are bytes as stored; `type` is the typeflag, unknown ones included."""

    name: bytes
    type: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    link: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    segments: list[Segment] | None = None
    """Where a sparse file has data; None when it is not sparse."""
    stored: int = 0
    """Bytes of content in the stream, padding not counted."""


class TarReader:
    """Iterate for the entries; between two steps `blocks` gives the current entry's content."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._unread = 0
        self._padding = 0
        self._extended = 0

    def __iter__(self) -> Iterator[TarEntry]:
        while (entry := self._next()) is not None:
            yield entry
            self._stream.skip(self._unread)
            self._stream.discard(self._padding)  # the last entry's may be missing

    def blocks(self, entry: TarEntry, size: int) -> Iterator[bytes | int]:
        """The content in blocks of `size` bytes, the last one shorter; a number is so many blocks
        of hole, since a header of a few bytes can claim millions."""
        if entry.segments is None:
            while self._unread:
                yield self._take(min(size, self._unread))
            return
        segments = iter([*entry.segments, Segment(entry.size, 0)])
        start, length = next(segments)
        position = 0
        while position < entry.size:
            blocks = (start - position) // size
            if start == entry.size:
                blocks = -(-(entry.size - position) // size)
            if blocks > 0:
                yield blocks
                position += blocks * size
                continue
            end = min(position + size, entry.size)
            block: bytearray | None = None
            while start < end:
                if length:
                    if block is None:
                        block = bytearray(end - position)
                    piece = min(length, end - start)
                    block[start - position : start - position + piece] = self._take(piece)
                    start, length = start + piece, length - piece
                if not length:
                    start, length = next(segments)
            yield 1 if block is None else bytes(block)
            position += size

    def _take(self, size: int) -> bytes:
        self._unread -= size
        return self._stream.read(size)

    def _next(self) -> TarEntry | None:
        # Two blocks of zeros end an archive (POSIX pax). Docker, podman and umoci take the end of
        # the stream for it, too, after an entry or the first of the two.
        if self._stream.at_end():
            return None
        extension = _Extension()
        for _ in range(MAX_HEADERS_IN_A_ROW):
            header = self._stream.read(BLOCK)
            if header == _ZERO_BLOCK:
                if self._stream.at_end() or self._stream.read(BLOCK) == _ZERO_BLOCK:
                    return None
                raise DamagedError("a lone block of zeros stands amid its tar headers")
            _check_sum(header)
            kind, size = header[156], _number(header[124:136])
            if kind in (_PAX, _PAX_GLOBAL, _GNU_NAME, _GNU_LINK):
                if not 0 <= size <= MAX_EXTENDED_HEADER:
                    raise DamagedError(f"an extended tar header claims {size} bytes")
                # To read them takes far more time than to unpack them.
                self._extended += size
                if self._extended > _FREE_EXTENDED + _MAX_RATIO * self._stream.stored:
                    raise RefusedError(
                        "its tar has too many extended headers for its size: taken for an attack"
                    )
                data = self._stream.read(size)
                self._stream.skip(-size % BLOCK)
                extension.add(kind, data)
            else:
                return self._entry(header, extension)
        raise RefusedError("its tar has extended headers without end")

    def _entry(self, header: bytes, extension: _Extension) -> TarEntry:
        pax = extension.records
        kind = header[156]
        size = _decimal(pax, b"size", _number(header[124:136]))
        name = extension.name or pax.get(b"path") or _ustar_name(header)
        entry = TarEntry(
            name=pax.get(b"GNU.sparse.name") or name,
            type=REGULAR if kind in _REGULAR_TYPES else kind,
            mode=_number(header[100:108]) & 0o7777,
            uid=_decimal(pax, b"uid", _number(header[108:116])),
            gid=_decimal(pax, b"gid", _number(header[116:124])),
            mtime=_decimal(pax, b"mtime", _number(header[136:148])),
            size=size,
            link=extension.link or pax.get(b"linkpath") or _text(header[157:257]),
            device=(0, 0),
            xattrs=extension.xattrs(),
        )
        if entry.type in (CHAR_DEVICE, BLOCK_DEVICE):
            entry.device = (_number(header[329:337]), _number(header[337:345]))
        if entry.type == REGULAR and entry.name.endswith(b"/"):
            entry.type = DIRECTORY  # from before tar had a type for them
        # Go's rule: what has no content has none in the stream either, whatever its size says.
        entry.stored = 0 if entry.type in _HEADER_ONLY else size
        if not 0 <= size <= MAX_FILE_SIZE:
            raise RefusedError(f"its tar has an entry of {size} bytes: {show(entry.name)}")
        self._unread, self._padding = entry.stored, -entry.stored % BLOCK
        if entry.type == REGULAR:
            self._find_segments(entry, header, pax)
        return entry

    def _find_segments(self, entry: TarEntry, header: bytes, pax: dict[bytes, bytes]) -> None:
        if header[156] == _GNU_SPARSE:
            entry.size = _number(header[483:495])
            # Its further map blocks stand before the content and are not counted in its size.
            entry.segments = old_gnu_map(header, self._stream, _number)
        elif pax.get(b"GNU.sparse.major") == b"1":
            entry.size = _decimal(pax, b"GNU.sparse.realsize", -1)
            entry.segments, used = pax_map_in_data(self._stream, entry.stored)
            self._unread -= used
        elif b"GNU.sparse.map" in pax:
            entry.size = _decimal(pax, b"GNU.sparse.size", -1)
            entry.segments = pax_map(pax[b"GNU.sparse.map"])
        else:
            return
        if not 0 <= entry.size <= MAX_FILE_SIZE:
            raise RefusedError(
                f"{show(entry.name)} claims to be a sparse file of {entry.size} bytes;"
                f" at most {MAX_FILE_SIZE} are taken"
            )
        check_sparse_map(entry.segments, entry.size, self._unread, show(entry.name))


_HEADER_ONLY = frozenset((HARD_LINK, SYMLINK, CHAR_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO))


@dataclass(slots=True)
class _Extension:
    """What the headers before an entry say of it."""

    name: bytes | None = None
    link: bytes | None = None
    records: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, kind: int, data: bytes) -> None:
        if kind == _GNU_NAME:
            self.name = _text(data)
        elif kind == _GNU_LINK:
            self.link = _text(data)
        elif kind == _PAX:
            self.records = _pax_records(data)
        # Global records (comments, as git writes them) say nothing of a single entry.

    def xattrs(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(
            (key[len(_SCHILY_XATTR) :], value)
            for key, value in self.records.items()
            if key.startswith(_SCHILY_XATTR)
        )


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """`LENGTH KEY=VALUE\\n`, LENGTH counting itself. The sparse 0.0 pairs become a 0.1 map."""
    records: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 20)
        length = data[position:space] if space > 0 else b""
        end = position + int(length) if length.isdigit() else 0
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise DamagedError("a PAX header of its tar is malformed")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise DamagedError("a PAX header of its tar has a record without a value")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        elif value or key.startswith(_SCHILY_XATTR):
            records[key] = value
        else:
            records.pop(key, None)  # an empty value deletes what a header before said
        position = end
    if pairs:
        records[b"GNU.sparse.map"] = b",".join(pairs)
    return records


def _check_sum(header: bytes) -> None:
    """The sum counts its own eight bytes as spaces; old writers summed signed bytes."""
    told = _number(header[148:156])
    unsigned = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if told == unsigned:
        return
    high = sum(byte > 127 for byte in header[:148]) + sum(byte > 127 for byte in header[156:])
    if told != unsigned - 256 * high:
        raise DamagedError("a tar header's checksum is wrong: the layer is damaged or no tar")


def _number(data: bytes) -> int:
    """An octal field, or GNU's base-256 when the first bit is set (two's complement)."""
    if data[0] & 0x80:
        value = int.from_bytes(data, "big") & ((1 << (8 * len(data) - 1)) - 1)
        return value - (1 << (8 * len(data) - 1)) if data[0] & 0x40 else value
    text = data.strip(b" \0")
    if not text:
        return 0
    try:
        return int(text.partition(b"\0")[0], 8)
    except ValueError:
        raise DamagedError("a tar header has an invalid number: the layer is damaged") from None


def _decimal(pax: dict[bytes, bytes], key: bytes, default: int) -> int:
    """A PAX number; a time's fraction is dropped, as squashfs has none."""
    value = pax.get(key)
    if value is None:
        return default
    whole, _, fraction = value.partition(b".")
    digits = whole[1:] if whole[:1] == b"-" else whole
    if not digits.isdigit() or len(digits) > 20 or (fraction and not fraction.isdigit()):
        raise DamagedError(f"a PAX header of its tar has a bad {key.decode()}: {show(value)}")
    return int(whole)


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _ustar_name(header: bytes) -> bytes:
    name = _text(header[:100])
    # GNU headers ("ustar  ") keep times where POSIX ones keep the name's first part.
    if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
        return prefix + b"/" + name
    return name
