"""Reading a file of the merged tree back out of its pack: /etc/passwd, for one."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.layers.pack import Pack
from toolkit.limits import MAX_USERS
from toolkit.squashfs.structs import DATA_UNCOMPRESSED, InodeType
from toolkit.squashfs.tree import Content, Inode, look_up


def read_file(root: Inode, packs: list[Pack], path: str) -> bytes | None:
    """The bytes at `path`, symlinks followed inside the image; None when there is no such file.

    Files over MAX_USERS bytes count as none: what we read is text of a few kilobytes.
    """
    inode = look_up(root, path.encode("utf-8", "surrogateescape"))
    if inode is None or inode.kind is not InodeType.FILE or inode.content.size > MAX_USERS:
        return None
    return _content(inode.content, packs[inode.content.pack]) if inode.content.size else b""


def _content(content: Content, pack: Pack) -> bytes:
    data = b"".join(_blocks(pack, content.first_block, content.blocks))
    if content.fragment >= 0:
        (fragment,) = _blocks(pack, content.fragment, 1)
        data += fragment[content.fragment_offset :]
    return data[: content.size]


def _blocks(pack: Pack, first: int, count: int) -> Iterator[bytes]:
    """So many blocks that follow one another."""
    pack.file.seek(sum(word & (DATA_UNCOMPRESSED - 1) for word in pack.sizes[:first]))
    for word in pack.sizes[first : first + count]:
        yield decoded(pack, word)


def decoded(pack: Pack, word: int) -> bytes:
    """The block with this size word, where the pack's file is."""
    data = pack.file.read(word & (DATA_UNCOMPRESSED - 1))
    if word & DATA_UNCOMPRESSED:
        return data
    if not word:
        return bytes(pack.block_size)
    import zstandard

    return zstandard.ZstdDecompressor().decompress(data, max_output_size=pack.block_size)
