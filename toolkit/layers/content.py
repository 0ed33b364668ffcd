"""Reading a file of the merged tree back out of its pack: /etc/passwd, for one."""

from __future__ import annotations

from toolkit.layers.entry import Content
from toolkit.layers.pack import Pack
from toolkit.layers.tree import Inode, look_up
from toolkit.squashfs.structs import DATA_UNCOMPRESSED, InodeType

_MAX_SIZE = 16 << 20


def read_file(root: Inode, packs: list[Pack], path: str) -> bytes | None:
    """The bytes at `path`, symlinks followed inside the image; None when there is no such file.

    Files over 16 MiB count as none: what we read is text of a few kilobytes.
    """
    inode = look_up(root, path.encode("utf-8", "surrogateescape"))
    if inode is None or inode.kind is not InodeType.FILE or inode.content.size > _MAX_SIZE:
        return None
    return _content(inode.content, packs[inode.content.pack]) if inode.content.size else b""


def _content(content: Content, pack: Pack) -> bytes:
    blocks = range(content.first_block, content.first_block + content.blocks)
    data = b"".join(_block(pack, number) for number in blocks)
    if content.fragment >= 0:
        data += _block(pack, content.fragment)[content.fragment_offset :]
    return data[: content.size]


def _block(pack: Pack, number: int) -> bytes:
    word = pack.sizes[number]
    start = sum(size & (DATA_UNCOMPRESSED - 1) for size in pack.sizes[:number])
    pack.file.seek(start)
    data = pack.file.read(word & (DATA_UNCOMPRESSED - 1))
    if word & DATA_UNCOMPRESSED:
        return data
    if not word:
        return bytes(pack.block_size)
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data, max_output_size=pack.block_size)
