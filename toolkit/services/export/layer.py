"""A payload's tree as one layer: a PAX tar, from which `dockerc build` makes the same tree."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from typing import Any

from toolkit.errors import UnsupportedError
from toolkit.files.printable import show
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import InodeType, MetadataRef

_TYPES = {
    InodeType.DIRECTORY: tarfile.DIRTYPE,
    InodeType.FILE: tarfile.REGTYPE,
    InodeType.SYMLINK: tarfile.SYMTYPE,
    InodeType.BLOCK_DEVICE: tarfile.BLKTYPE,
    InodeType.CHAR_DEVICE: tarfile.CHRTYPE,
    InodeType.FIFO: tarfile.FIFOTYPE,
}
_BLOCK = 512
_XATTR = "SCHILY.xattr."
_HOLE = bytes(1 << 20)


def write_layer(
    filesystem: Filesystem, top: Node, write: Callable[[bytes], Any], prefix: bytes = b""
) -> None:
    """Give the tar of everything in `top` to `write`, piece by piece; sockets are left out.

    `prefix` is the name of `top` in it. The same tree gives the same bytes.
    """
    names: dict[MetadataRef, bytes] = {}
    for below, node in filesystem.walk(top):
        if node.kind not in _TYPES:
            continue
        path = prefix + b"/" + below if prefix and below else prefix or below
        first = names.setdefault(node.place, path) if node.nlink > 1 else path
        linked = first is not path and not node.is_directory
        write(_header(filesystem, path, node, first if linked else None))
        if node.is_file and not linked:
            for chunk in filesystem.content(node):
                if chunk.data is not None:
                    write(chunk.data)
                    continue
                for start in range(0, chunk.size, len(_HOLE)):
                    write(_HOLE[: chunk.size - start])
            write(bytes(-node.size % _BLOCK))
    write(bytes(2 * _BLOCK))


def _header(filesystem: Filesystem, path: bytes, node: Node, link: bytes | None) -> bytes:
    info = tarfile.TarInfo(_text(path) or "./")
    info.type = _TYPES[node.kind]
    info.mode, info.uid, info.gid, info.mtime = node.mode, node.uid, node.gid, node.mtime
    info.devmajor, info.devminor = node.device
    if link is not None:
        info.type, info.linkname = tarfile.LNKTYPE, _text(link)
    elif node.kind is InodeType.SYMLINK:
        info.linkname = _text(node.target)
    elif node.is_file:
        info.size = node.size
    if link is None:
        info.pax_headers = {
            _XATTR + _name(name): _text(value) for name, value in filesystem.xattrs(node)
        }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _name(data: bytes) -> str:
    try:
        return data.decode()
    except ValueError:
        raise UnsupportedError(
            f"an extended attribute of its image has a name that no tar can hold: {show(data)}"
        ) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
