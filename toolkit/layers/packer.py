"""From a layer's tar to its pack: entries checked, files cut, small ones gathered in fragments."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterable
from typing import Any, BinaryIO

from toolkit.errors import DamagedError, RefusedError
from toolkit.layers import tar
from toolkit.layers.budget import Budget, cost
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.notes import named
from toolkit.layers.pack import Pack
from toolkit.layers.stream import LayerStream
from toolkit.limits import (
    MAX_BLOCKS,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_ID,
    MAX_NAME,
    MAX_TARGET,
    MAX_XATTRS,
)
from toolkit.squashfs.compress import BlockSource, BlockWriter, is_hole
from toolkit.squashfs.structs import XATTR_PREFIXES
from toolkit.squashfs.tree import Content

WHITEOUT_PREFIX = b".wh."
OPAQUE_WHITEOUT = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."
"""Names that aufs kept for itself; layer.md reserves them, nobody extracts them."""
_MAX_TEXT = 512 << 20
"""Bytes of names, targets and attributes of one layer: they stay in memory, and gzip makes a
thousand out of one."""
_OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
"""overlayfs would take these for its own and hide or redirect what they stand on."""
_RECKONED = 1 << 20
"""Bytes of memory from one reckoning to the next."""
_WINDOW = 24 << 20
"""Bytes of small files sorted together before they share fragments."""
_ELF = b"\x7fELF"
_CODE = frozenset((b"py", b"pyc", b"pm", b"pl", b"rb", b"js", b"mjs", b"cjs"))
"""Extensions of what an interpreter reads when a program starts."""
_START = re.compile(
    rb"(?:.*/)?ld-(?:linux|musl)[^/]*\.so\.[0-9]"
    rb"|etc/(?:ld\.so\.cache|nsswitch\.conf|passwd|group)"
)
"""The dynamic linker, and what it and libc read when programs start: they share a fragment."""
_Small = tuple[bytes, bytes, list[Entry]]
"""A small file's digest, its bytes, and all entries that have them."""
_MAX_TIME = 0xFFFFFFFF

_KINDS = {
    tar.REGULAR: EntryKind.FILE,
    tar.HARD_LINK: EntryKind.HARD_LINK,
    tar.SYMLINK: EntryKind.SYMLINK,
    tar.CHAR_DEVICE: EntryKind.CHAR_DEVICE,
    tar.BLOCK_DEVICE: EntryKind.BLOCK_DEVICE,
    tar.DIRECTORY: EntryKind.DIRECTORY,
    tar.FIFO: EntryKind.FIFO,
}


class Packer:
    """Reads one layer into a Pack; `data_hash`, a hashlib object, sees the file's bytes."""

    def __init__(
        self,
        number: int,
        file: BinaryIO,
        compressor: BlockSource,
        block_size: int,
        data_hash: Any = None,
        budget: Budget | None = None,
    ) -> None:
        self.pack = Pack(file, block_size)
        self._number = number
        self._block_size = block_size
        self._blocks = BlockWriter(file, compressor, data_hash)
        self._known: dict[bytes, Content] = {}
        self._small: dict[bytes, tuple[bytes, list[Entry]]] = {}
        self._small_bytes = 0
        self._text_bytes = 0
        self._budget = budget or Budget()

    def read(self, stream: LayerStream) -> Pack:
        """Pack the whole stream; raises DockercError on a damaged, hostile or oversized layer."""
        reader = tar.TarReader(stream)
        taken = stored = 0
        for item in reader:
            entry = self._entry(item)
            if entry is None:
                continue
            if len(self.pack.entries) >= MAX_ENTRIES:
                raise RefusedError(f"its tar has more than {MAX_ENTRIES} entries")
            self._text_bytes += len(entry.path) + len(entry.target) + _size(entry.xattrs)
            if self._text_bytes > _MAX_TEXT:
                raise RefusedError(f"the names and attributes of its tar exceed {_MAX_TEXT} bytes")
            self.pack.entries.append(entry)
            taken += cost(entry)
            if taken > _RECKONED:
                self._budget.take(taken, stream.stored - stored)
                taken, stored = 0, stream.stored
            if entry.kind is EntryKind.FILE and item.size:
                self._store(entry, item, reader)
        stream.finish()
        return self._finish()

    def _finish(self) -> Pack:
        self._fill_fragments(is_last=True)
        self._blocks.flush()
        self.pack.sizes = self._blocks.sizes
        return self.pack

    def _entry(self, item: tar.TarEntry) -> Entry | None:
        path = clean_path(item.name)
        parent, _, name = path.rpartition(b"/")
        if name.startswith(WHITEOUT_PREFIX):
            if name == OPAQUE_WHITEOUT:
                return Entry(parent, EntryKind.OPAQUE, 0, 0, 0, 0)
            if name.startswith(_AUFS_PREFIX) or name == WHITEOUT_PREFIX:
                return None
            hidden = parent + b"/" * bool(parent) + name[len(WHITEOUT_PREFIX) :]
            return Entry(hidden, EntryKind.WHITEOUT, 0, 0, 0, 0)
        kind = _KINDS.get(item.type)
        if kind is None:
            self.pack.left_out[f"entries of the unknown tar type {chr(item.type)!r}"] += 1
            return None
        if not path and kind is not EntryKind.DIRECTORY:
            raise DamagedError("its tar replaces the root directory by something else")
        if not (0 <= item.uid <= MAX_ID and 0 <= item.gid <= MAX_ID):
            raise DamagedError(f"an owner of its tar is out of range: {item.uid}:{item.gid}")
        target = b""
        if kind is EntryKind.SYMLINK:
            target = item.link
            if not 0 < len(target) <= MAX_TARGET:
                raise DamagedError(
                    f"a symlink's target in its tar has {len(target)} bytes; 1 to {MAX_TARGET}"
                    " are possible"
                )
            if b"\0" in target:
                raise DamagedError("a symlink's target in its tar holds a zero byte")
        elif kind is EntryKind.HARD_LINK:
            target = clean_path(item.link)
        return Entry(
            path,
            kind,
            item.mode,
            item.uid,
            item.gid,
            min(max(item.mtime, 0), _MAX_TIME),  # what squashfs can hold: 1970 to 2106
            target,
            self._device(item.device),
            self._xattrs(item.xattrs) if item.xattrs else (),
        )

    def _device(self, device: tuple[int, int]) -> tuple[int, int]:
        major, minor = device
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise DamagedError(f"a device number of its tar is out of range: {major},{minor}")
        return device

    def _xattrs(self, xattrs: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
        kept = []
        for name, value in sorted(xattrs):
            prefixed = any(name.startswith(p) and len(name) > len(p) for p in XATTR_PREFIXES)
            if prefixed and not name.startswith(_OVERLAY_XATTRS) and b"\0" not in name:
                kept.append((name, value))
            else:
                shown = name[:60].decode("utf-8", "backslashreplace")
                self.pack.left_out[named(self.pack.left_out, "extended attributes", shown)] += 1
        if _size(kept) > MAX_XATTRS:
            raise RefusedError(
                f"a file of its tar has {_size(kept)} bytes of extended attributes;"
                f" at most {MAX_XATTRS} are taken"
            )
        return tuple(kept)

    def _store(self, entry: Entry, item: tar.TarEntry, reader: tar.TarReader) -> None:
        count = -(-item.size // self._block_size)
        if len(self._blocks.sizes) + count > MAX_BLOCKS:
            raise RefusedError(
                f"its files have more than {MAX_BLOCKS} blocks; a larger --block-size makes fewer"
            )
        blocks = reader.blocks(item, self._block_size)
        if item.size < self._block_size:
            (block,) = blocks
            # A file of zeros is a hole: a fragment made of nothing else could not be stored.
            if not isinstance(block, int) and not is_hole(block):
                self._store_small(entry, block)
                return
            blocks = iter([1])
        hasher = hashlib.blake2b(digest_size=16)
        first = len(self._blocks.sizes)
        holes = array("Q")
        for block in blocks:
            if isinstance(block, int):
                at = len(self._blocks.sizes) - first
                holes.extend(range(at, at + block))
                self._blocks.add_holes(block)
            else:
                self._blocks.add(block)
                hasher.update(block)
        hasher.update(holes)  # last, so that no data can pass for it: the sizes tell it apart
        entry.content = Content(item.size, hasher.digest(), self._number, first, count, -1, 0)

    def _store_small(self, entry: Entry, data: bytes) -> None:
        """Keep a small file for a fragment, or find its equal."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        if known := self._known.get(digest):
            entry.content = known
        elif small := self._small.get(digest):
            small[1].append(entry)
        else:
            self._small[digest] = (data, [entry])
            self._small_bytes += len(data)
            if self._small_bytes >= _WINDOW:
                self._fill_fragments()

    def _fill_fragments(self, *, is_last: bool = False) -> None:
        """Code apart: who wants a piece of it must decode its fragment up to there."""
        start: list[_Small] = []
        code: list[_Small] = []
        others: list[_Small] = []
        for digest, (data, entries) in self._small.items():
            path = entries[0].path
            chosen = start if _is_start(path) else code if _is_code(path, data) else others
            chosen.append((digest, data, entries))
        self._share(sorted(code, key=_extension), self._block_size // 2)
        self._share(sorted(others, key=_extension), self._block_size)
        # From wherever in the layer, as long as they fit into one; the linker, which is the largest
        # and needed first, behind the others.
        if is_last or sum(len(data) for _, data, _ in start) > self._block_size // 2:
            self._share(sorted(start, key=lambda small: len(small[1])), self._block_size // 2)
            start.clear()
        self._small = {digest: (data, entries) for digest, data, entries in start}
        self._small_bytes = sum(len(data) for data, _ in self._small.values())

    def _share(self, files: list[_Small], limit: int) -> None:
        """Fragments of `limit` bytes; larger files, which are smaller than a block, stand alone."""
        fragment: list[bytes] = []
        number, used = len(self._blocks.sizes), 0
        for digest, data, entries in files:
            if fragment and used + len(data) > limit:
                self._blocks.add(b"".join(fragment))
                fragment.clear()
                number, used = number + 1, 0
            content = Content(len(data), digest, self._number, 0, 0, number, used)
            self._known[digest] = content
            for entry in entries:
                entry.content = content
            fragment.append(data)
            used += len(data)
        if fragment:
            self._blocks.add(b"".join(fragment))


def _size(xattrs: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in xattrs)


def clean_path(name: bytes) -> bytes:
    """The name as seen from the root: slashes, `.` and `..` resolved as text, nothing above it.

    What umoci does before it looks at the filesystem. Raises DockercError for names that no
    filesystem or squashfs can hold.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            if len(part) > MAX_NAME:
                raise DamagedError(
                    f"a name in its tar has {len(part)} bytes; {MAX_NAME} are possible"
                )
            parts.append(part)
    if len(parts) > MAX_DEPTH:
        raise RefusedError(f"a path in its tar is {len(parts)} directories deep")
    if b"\0" in name:
        raise DamagedError("a name in its tar holds a zero byte")
    return b"/".join(parts)


def _is_start(path: bytes) -> bool:
    return _START.fullmatch(path) is not None


def _is_code(path: bytes, data: bytes) -> bool:
    return data.startswith(_ELF) or _suffix(path) in _CODE


def _extension(small: _Small) -> bytes:
    """To sort by, which compresses best; else in tar's order, which loads best."""
    return _suffix(small[2][0].path)


def _suffix(path: bytes) -> bytes:
    name = path.rpartition(b"/")[2]
    return name.rpartition(b".")[2] if b"." in name[1:] else b""
