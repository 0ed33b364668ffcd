"""A file or directory out of an executable's image: as a tar, or to this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.errors import AbsentError, RefusedError, UnsupportedError
from toolkit.executable.executable import Executable
from toolkit.executable.payload import filesystem_of, rootfs_of
from toolkit.files.atomic import atomic_file
from toolkit.files.atomic_directory import atomic_directory
from toolkit.files.user import change_owner, is_root
from toolkit.services.export.directory import check_tree_room, write_tree
from toolkit.services.export.layer import write_layer
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import InodeType


def copy_as_tar(
    executable: Executable, path: str, write: Callable[[bytes], Any], *, follow: bool
) -> None:
    """Give the tar of what is at `path` to `write`, its name at the front of all in it.

    Raises DockercError when nothing is there, or the payload is damaged.
    """
    filesystem, node = _find(executable, path, follow)
    write_layer(filesystem, node, write, _name(path))


def copy_to(executable: Executable, path: str, target: str, *, follow: bool) -> Counter[str]:
    """Write what is at `path` to this machine; returns what could not be kept, by kind.

    As with docker: into `target` if that is a directory, else as `target`; of `path/.` what is in
    it. Raises DockercError when that cannot be, or the payload is damaged.
    """
    filesystem, node = _find(executable, path, follow)
    place = Path(target)
    if place.is_dir() and (name := os.fsdecode(_name(path))):
        place /= name
    elif target.endswith("/") and not node.is_directory and not place.is_dir():
        raise AbsentError(f"there is no directory {target}")
    if node.is_directory:
        with atomic_directory(place) as directory:
            return write_tree(filesystem, node, directory, privileged=False)
    if node.kind is InodeType.SYMLINK:
        _write_symlink(node, place)
    elif node.is_file:
        _write_file(filesystem, node, place)
    else:
        raise UnsupportedError(f"its image's {path} is no file; `dockerc cp … -` gives it in a tar")
    return Counter()


def _find(executable: Executable, path: str, follow: bool) -> tuple[Filesystem, Node]:
    filesystem = filesystem_of(executable)
    # What is behind a slash can only be a directory, so that a symlink leads to one.
    follow = follow or path.endswith(("/", "/."))
    node = filesystem.find(os.fsencode(path), rootfs_of(filesystem), follow=follow)
    if node is None or (path.endswith("/") and not node.is_directory):
        raise AbsentError(f"its image has no {path}")
    return filesystem, node


def _name(path: str) -> bytes:
    """The last component; empty for the root, and where what is in a directory is meant."""
    if path == "." or path.endswith("/."):
        return b""
    name = path.rstrip("/").rpartition("/")[2]
    return b"" if name == ".." else os.fsencode(name)


def _write_file(filesystem: Filesystem, node: Node, place: Path) -> None:
    # Set-id bits would give rights on this machine that the image alone decides on.
    with atomic_file(place, node.mode & 0o777, sync=False, mtime=node.mtime) as file:
        check_tree_room(filesystem, node, file.fileno())
        for chunk in filesystem.content(node):
            if chunk.data is None:
                file.seek(chunk.size, os.SEEK_CUR)
            else:
                file.write(chunk.data)
        file.truncate(node.size)
        if is_root():
            change_owner(file.fileno(), node.uid, node.gid)


def _write_symlink(node: Node, place: Path) -> None:
    try:
        os.symlink(node.target, place)  # noqa: PTH211 - bytes
    except FileExistsError:
        raise RefusedError(f"{place}: something is there already; give another name") from None
