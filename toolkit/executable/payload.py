"""What every command wants of a payload first: its config.json, and its tree."""

from __future__ import annotations

import json
from typing import Any

from toolkit.errors import AbsentError, DamagedError, RefusedError
from toolkit.executable.executable import Executable
from toolkit.files.json_document import nests_deeper
from toolkit.limits import MAX_CONFIG, MAX_NESTING
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.read.lookup import SquashfsReader


def config_text(executable: Executable) -> bytes:
    """config.json as it stands; raises DockercError, or the library's errors, on damage."""
    reader = SquashfsReader(executable.file, executable.footer.offset, executable.superblock)
    return reader.read("config.json", MAX_CONFIG)


def config_of(executable: Executable) -> dict[str, Any]:
    """config.json as an object; raises DockercError when it is none."""
    try:
        config = json.loads(config_text(executable))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"its config.json is no JSON: {error}") from None
    if not isinstance(config, dict):
        raise DamagedError("its config.json is no JSON object")
    if nests_deeper(config, MAX_NESTING):
        raise RefusedError("its config.json is nested too deeply")
    return config


def filesystem_of(executable: Executable) -> Filesystem:
    """The payload as a tree."""
    return Filesystem(executable.file, executable.footer.offset, executable.superblock)


def find_in_image(executable: Executable, path: str) -> tuple[Filesystem, Node | None]:
    """The node at a path of the image, symlinks followed inside of it; None when there is none.

    Raises DockercError when the payload has no rootfs.
    """
    filesystem = filesystem_of(executable)
    top = rootfs_of(filesystem)
    return filesystem, filesystem.find(path.encode("utf-8", "surrogateescape"), top)


def rootfs_of(filesystem: Filesystem) -> Node:
    """The image's root directory; raises DockercError when there is none."""
    top = filesystem.find(b"rootfs", follow=False)
    if top is None or not top.is_directory:
        raise AbsentError("its payload has no directory rootfs")
    return top
