"""The files of an image or an executable as one kind of tree, each with its layer and content."""

from __future__ import annotations

import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.bundle.annotations import LAYERS, PROFILE, STORED
from toolkit.errors import DamagedError, DockercError, RefusedError, about
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of
from toolkit.files.json_document import Document, parse_json
from toolkit.images.source import Image
from toolkit.layers.content import decoded
from toolkit.layers.merge import merge
from toolkit.layers.pack import Pack
from toolkit.layers.payload_pack import pack_of
from toolkit.limits import MAX_LAYERS
from toolkit.packages.source import SourceFile
from toolkit.services.cache import Cache
from toolkit.services.image_names import prune, remember
from toolkit.services.pack_layers import Packing, Parameters
from toolkit.services.progress import Progress
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.structs import SUPERBLOCK_SIZE, InodeType
from toolkit.squashfs.tree import Content, Inode, look_up
from toolkit.squashfs.write.image import OPTIONS_SIZE

_KEPT_BLOCKS = 16
_MAX_DECODED = 4 << 30
"""Bytes of all blocks that are decoded: a few bytes can stand for a block."""
_FREE, _MAX_OVERLAP = 64 << 20, 32
"""Bytes that are read of any image, and times more that all its data may be: a block is read again
when others came in between, but those of a hostile payload can lie in one another."""
_MAX_STORED = 1 << 48


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a layer; an executable may know none of it."""

    diff_id: str
    size: int | None
    """Bytes of the compressed layer in the image."""
    created_by: str


class ImageFiles:
    """A tree, the packs with its data, and which layer each file is from."""

    def __init__(
        self,
        root: Inode,
        packs: Sequence[Pack],
        layers: Sequence[LayerFacts],
        layer_of: Callable[[Content], int | None],
        decode: Callable[[int, int], bytes],
        *,
        keeps_layers: bool,
        data_size: int,
    ) -> None:
        self.root, self.packs, self.layers, self.layer_of = root, packs, layers, layer_of
        self.keeps_layers = keeps_layers
        """Whether the packs are the layers, with all that later ones remove."""
        self._decode = decode
        self._tails: Counter[tuple[int, int]] | None = None
        self._blocks: dict[tuple[int, int], bytes] = {}
        self._decoded = 0
        self._left = _FREE + _MAX_OVERLAP * data_size

    def walk(self) -> Iterator[SourceFile]:
        """Every regular file under each of its names, names in byte order."""
        for path, inode in self.inodes():
            if inode.kind is InodeType.FILE:
                yield self.source(path, inode)

    def inodes(self) -> Iterator[tuple[bytes, Inode]]:
        """Everything below the root with its path, directories before what is in them."""
        waiting = [(b"", self.root)]
        while waiting:
            path, inode = waiting.pop()
            if path:
                yield path, inode
            start = path + b"/" if path else b""
            if inode.children is not None:
                waiting += [
                    (start + name, child)
                    for name, child in sorted(inode.children.items(), reverse=True)
                ]

    def find(self, path: bytes) -> SourceFile | None:
        """The regular file at a path, symlinks followed; raises DockercError on a loop of them."""
        inode = look_up(self.root, path)
        if inode is None or inode.kind is not InodeType.FILE:
            return None
        return self.source(path, inode)

    def source(self, path: bytes, inode: Inode) -> SourceFile:
        """The file as those see it who read package databases."""
        content = inode.content
        return SourceFile(
            path,
            content.size,
            bool(inode.mode & 0o111),
            self.layer_of(content) if content.size else None,
            lambda offset, size: self._read(content, offset, size),
        )

    def stored(self, content: Content) -> int:
        """Bytes of its blocks, and its part of the fragment that it shares."""
        if self._tails is None:
            self._tails = self._count_tails()
        pack = self.packs[content.pack]
        words = pack.sizes[content.first_block : content.first_block + content.blocks]
        total = sum(map(stored_size, words))
        if content.fragment >= 0:
            tail = content.size % pack.block_size
            shared = self._tails[content.pack, content.fragment]
            total += stored_size(pack.sizes[content.fragment]) * tail // shared if shared else 0
        return total

    def _count_tails(self) -> Counter[tuple[int, int]]:
        """Of each fragment the bytes of the files in it, equal ones once."""
        tails: Counter[tuple[int, int]] = Counter()
        contents = {id(inode.content): inode.content for _, inode in self.inodes()}
        for content in contents.values():
            if content.fragment >= 0:
                size = content.size % self.packs[content.pack].block_size
                tails[content.pack, content.fragment] += size
        return tails

    def _read(self, content: Content, offset: int, size: int) -> bytes:
        block_size = self.packs[content.pack].block_size
        end = min(offset + size, content.size)
        pieces = []
        while offset < end:
            number, inside = divmod(offset, block_size)
            length = min(block_size - inside, end - offset)
            if number < content.blocks:
                block = self._block(content.pack, content.first_block + number)
            else:
                block = self._block(content.pack, content.fragment)
                inside += content.fragment_offset
            piece = block[inside : inside + length]
            if len(piece) < length:
                raise DamagedError("a block of it is shorter than it should be")
            pieces.append(piece)
            offset += length
        return b"".join(pieces)

    def _block(self, pack: int, block: int) -> bytes:
        if (known := self._blocks.pop((pack, block), None)) is not None:
            self._blocks[pack, block] = known  # the last to be dropped
            return known
        if len(self._blocks) >= _KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._decoded += self.packs[pack].block_size
        self._left -= stored_size(self.packs[pack].sizes[block])
        if self._left < 0:
            raise DamagedError("its blocks overlap")
        if self._decoded > _MAX_DECODED:
            raise RefusedError(f"more than {_MAX_DECODED} bytes of its files would have to be read")
        found = self._decode(pack, block)
        self._blocks[pack, block] = found
        return found


@contextmanager
def image_files(image: Image, cache: Cache | None, progress: Progress) -> Iterator[ImageFiles]:
    """Those of an image; its layers' packs stay in the cache. Raises DockercError."""
    with Packing(Parameters(), cache, Path(tempfile.gettempdir())) as packing:
        with about(image.reference):
            packs = packing.pack_layers(image, progress)
            root = merge(packs)
        if cache:
            remember(cache, image)
            prune(cache)

        def decode(number: int, block: int) -> bytes:
            pack = packs[number]
            pack.file.seek(pack.offsets[block])
            return decoded(pack, pack.sizes[block])

        layers = _layers_of_image(image)
        size = sum(sum(map(stored_size, pack.sizes)) for pack in packs)
        yield ImageFiles(
            root, packs, layers, lambda content: content.pack, decode,
            keeps_layers=True, data_size=size,
        )  # fmt: skip


def executable_files(executable: Executable) -> ImageFiles:
    """Those of an executable's image; raises DockercError on damage."""
    filesystem = filesystem_of(executable)
    offset = executable.footer.offset
    pack, top = pack_of(filesystem, executable.file, offset)
    root = (top.children or {}).get(b"rootfs")
    if root is None or root.children is None:
        raise DamagedError("its payload has no directory rootfs")
    size = executable.superblock.block_size

    def decode(_: int, block: int) -> bytes:
        word = pack.sizes[block]
        if not stored_size(word):
            return bytes(size)
        return filesystem.blocks.data(pack.offsets[block] - offset, word, size)

    layers, ends = _layers_of_executable(config_of(executable))

    def layer_of(content: Content) -> int | None:
        block = content.first_block if content.blocks else content.fragment
        number = bisect_right(ends, pack.offsets[block] - offset)
        return number if number < len(ends) else None

    return ImageFiles(
        root, [pack], layers, layer_of, decode,
        keeps_layers=False, data_size=executable.superblock.inode_table,
    )  # fmt: skip


def _layers_of_image(image: Image) -> list[LayerFacts]:
    from toolkit.services.layer_history import created_by

    made = created_by(image.config, len(image.layers))
    return [
        LayerFacts(layer.diff_id, layer.size, text)
        for layer, text in zip(image.layers, made, strict=True)
    ]


def _layers_of_executable(config: dict[str, Any]) -> tuple[list[LayerFacts], array[int]]:
    """What it says of its layers, and where the data of each ends in the payload.

    The data of layers follow one another in an executable that was made without a profile, and
    all that came later is behind them. The annotation is the payload's word: it can be wrong, and
    then files are told to be of other layers, but nothing worse.
    """
    try:
        annotations = Document(config, "its config.json").text_map("annotations")
        layers = parse_json(annotations.get(LAYERS, "[]").encode(), "its list of layers")
        stored = parse_json(annotations.get(STORED, "[]").encode(), "its list of sizes")
    except DockercError:
        return [], array("Q")
    layers, stored = (
        each[:MAX_LAYERS] if isinstance(each, list) else [] for each in (layers, stored)
    )
    facts = [_facts(each if isinstance(each, dict) else {}) for each in layers]
    ends = array("Q", [SUPERBLOCK_SIZE + OPTIONS_SIZE])
    for size in stored:
        if not isinstance(size, int) or not 0 <= size <= _MAX_STORED:
            return facts, array("Q")
        ends.append(ends[-1] + size)
    return facts, ends[1:] if PROFILE not in annotations else array("Q")


def _facts(members: dict[str, Any]) -> LayerFacts:
    digest, made, size = (members.get(key) for key in ("diff_id", "created_by", "size"))
    return LayerFacts(
        digest if isinstance(digest, str) else "",
        size if isinstance(size, int) else None,
        made if isinstance(made, str) else "",
    )
