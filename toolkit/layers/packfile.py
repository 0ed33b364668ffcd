"""A pack as a file: its blocks as they are, then an index of everything else, then a trailer.

    | blocks | index | trailer: magic, bytes of blocks, bytes of index, BLAKE2b-256 of both |

The index is the number of blocks, their size words, and everything else, compressed with zstd.

The file is private to the cache and may change with any version; a reader that finds another magic
or digest has no pack. Everything else is kept in columns, so that a million entries stay cheap to
decode. It is decoded only if we, or somebody who is trusted, have written it; the size words can be
read of any file (known_blocks.py).
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from toolkit.files.copy import pieces
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.pack import Pack
from toolkit.squashfs.structs import DATA_UNCOMPRESSED
from toolkit.squashfs.tree import EMPTY, Content

MAGIC = b"dcpack05"
_TRAILER = struct.Struct("<8sQQ32s")
_LENGTH = struct.Struct("<Q")
_WORD_SIZE = 4
_SIZE_MASK = DATA_UNCOMPRESSED - 1
_DIGEST_SIZE = 16
_MAX_INDEX = 4 << 30
_INDEX_LEVEL = 3


def seal(pack: Pack, data_hash: Any) -> None:
    """Append index and trailer to the pack's file; `data_hash` has seen its blocks."""
    import zstandard

    data_size = pack.file.tell()
    words = _swapped(pack.sizes).tobytes()
    index = _LENGTH.pack(len(pack.sizes)) + words
    index += zstandard.ZstdCompressor(level=_INDEX_LEVEL).compress(_encode(pack))
    data_hash.update(index)
    pack.file.write(index)
    pack.file.write(_TRAILER.pack(MAGIC, data_size, len(index), data_hash.digest()))
    pack.file.flush()


def new_hash() -> Any:
    """The hash that `seal` wants to have seen the blocks."""
    return hashlib.blake2b(digest_size=32)


def load(file: BinaryIO, number: int, block_size: int, *, is_whole: bool = False) -> Pack | None:
    """The pack in `file`, as number `number` of its image; None when it is damaged or foreign.

    `is_whole` tells that a digest of the whole file was compared already. Raises OSError when the
    file cannot be read.
    """
    trailer = _read_trailer(file)
    if trailer is None:
        return None
    data_size, index_size, digest = trailer
    seen = new_hash()
    for piece in pieces(file, 0, 0 if is_whole else data_size):
        seen.update(piece)
    file.seek(data_size)
    index = file.read(index_size)
    seen.update(index)
    if not is_whole and seen.digest() != digest:
        return None

    import zstandard

    sizes = _size_words(index)
    rest = index[_LENGTH.size + len(sizes) * sizes.itemsize :]
    data = zstandard.ZstdDecompressor().decompress(rest, max_output_size=_MAX_INDEX)
    return _decode(data, Pack(file, block_size, sizes=sizes), number)


def load_sizes(file: BinaryIO) -> array[int] | None:
    """The size words of a pack that nobody vouches for; None where they do not fit its blocks.

    Takes no more memory than the file is long. Raises OSError when the file cannot be read.
    """
    trailer = _read_trailer(file)
    if trailer is None:
        return None
    data_size, index_size, _ = trailer
    file.seek(data_size)
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size or _LENGTH.unpack(head)[0] > index_size // _WORD_SIZE:
        return None
    sizes = _size_words(head + file.read(_LENGTH.unpack(head)[0] * _WORD_SIZE))
    return sizes if sum(word & _SIZE_MASK for word in sizes) == data_size else None


def _read_trailer(file: BinaryIO) -> tuple[int, int, bytes] | None:
    """The bytes of blocks and index, which together are the file, and the digest."""
    end = file.seek(0, 2)
    if end < _TRAILER.size:
        return None
    file.seek(end - _TRAILER.size)
    magic, data_size, index_size, digest = _TRAILER.unpack(file.read(_TRAILER.size))
    if magic != MAGIC or data_size + index_size + _TRAILER.size != end:
        return None
    return data_size, index_size, digest


def _size_words(index: bytes) -> array[int]:
    (count,) = _LENGTH.unpack_from(index)
    return _column("I", index[_LENGTH.size : _LENGTH.size + count * _WORD_SIZE])


def _encode(pack: Pack) -> bytes:
    entries = pack.entries
    contents: dict[int, int] = {}
    listed: list[Content] = []
    which = array("q")
    for entry in entries:
        content = entry.content
        if content is EMPTY:
            which.append(-1)
            continue
        number = contents.setdefault(id(content), len(listed))
        if number == len(listed):
            listed.append(content)
        which.append(number)
    with_xattrs = [(i, e.xattrs) for i, e in enumerate(entries) if e.xattrs]
    xattrs = [
        (number, name.hex(), value.hex()) for number, pairs in with_xattrs for name, value in pairs
    ]
    columns = [
        array("B", [e.kind for e in entries]),
        array("H", [e.mode for e in entries]),
        array("I", [e.uid for e in entries]),
        array("I", [e.gid for e in entries]),
        array("I", [e.mtime for e in entries]),
        array("I", [e.device[0] for e in entries]),
        array("I", [e.device[1] for e in entries]),
        which,
        array("Q", [c.size for c in listed]),
        array("I", [c.first_block for c in listed]),
        array("I", [c.blocks for c in listed]),
        array("q", [c.fragment for c in listed]),
        array("I", [c.fragment_offset for c in listed]),
    ]
    sections = [
        b"\0".join([e.path for e in entries]),
        b"\0".join([e.target for e in entries]),
        b"".join([c.digest for c in listed]),
        json.dumps([xattrs, pack.left_out]).encode(),
        *(_swapped(column).tobytes() for column in columns),
    ]
    return b"".join(_LENGTH.pack(len(section)) + section for section in sections)


def _decode(data: bytes, pack: Pack, number: int) -> Pack:
    sections = _sections(data)
    paths = next(sections).split(b"\0")
    targets = next(sections).split(b"\0")
    digests = next(sections)
    xattrs, left_out = json.loads(next(sections))
    kinds, modes, uids, gids, mtimes, majors, minors, which = (
        _column(code, next(sections)) for code in "BHIIIIIq"
    )
    content_columns = [_column(code, next(sections)) for code in "QIIqI"]
    contents = [
        Content(size, digests[at : at + _DIGEST_SIZE], number, first, blocks, fragment, offset)
        for at, size, first, blocks, fragment, offset in zip(
            range(0, len(digests), _DIGEST_SIZE), *content_columns, strict=True
        )
    ]
    kind_of = {int(kind): kind for kind in EntryKind}
    pack.entries = [
        Entry(
            paths[i], kind_of[kinds[i]], modes[i], uids[i], gids[i], mtimes[i], targets[i],
            (majors[i], minors[i]), (), EMPTY if which[i] < 0 else contents[which[i]],
        )
        for i in range(len(kinds))
    ]  # fmt: skip
    for index, name, value in xattrs:
        pack.entries[index].xattrs += ((bytes.fromhex(name), bytes.fromhex(value)),)
    pack.left_out = Counter(left_out)
    return pack


def _sections(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        yield data[position : position + length]
        position += length


def _column(code: str, data: bytes) -> array[int]:
    column: array[int] = array(code)
    column.frombytes(data)
    return _swapped(column)


def _swapped(column: array[int]) -> array[int]:
    """Little-endian on every machine."""
    if sys.byteorder == "little":
        return column
    swapped = column[:]
    swapped.byteswap()
    return swapped
