"""Editing an executable: another config.json, everything else as it is."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.config import config_bytes, requires_mapped_uids
from toolkit.bundle.edit import edited_config
from toolkit.executable.executable import (
    Executable,
    FooterFields,
    open_executable,
    write_executable,
)
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.executable.payload_digest import payload_digest
from toolkit.limits import MAX_USERS
from toolkit.squashfs.read.lookup import reading
from toolkit.squashfs.write.rewrite import rewrite_file


def edit(path: Path, new: Path, baked: BakedOptions) -> None:
    """Write `new`: the executable `path` with `baked` over its configuration.

    Stub and data blocks are copied as they are. Raises DockercError when the payload is damaged
    or the options do not fit it.
    """
    with open_executable(path) as executable, reading(str(path)):
        config = edited_config(config_of(executable), baked, lambda name: _read(executable, name))

        def write_payload(file: BinaryIO) -> FooterFields:
            start = file.tell()
            superblock = rewrite_file(
                filesystem_of(executable),
                executable.file,
                executable.footer.offset,
                b"config.json",
                config_bytes(config),
                file,
            )
            mapped = executable.footer.require_mapped_uids or requires_mapped_uids(config)
            return FooterFields(mapped, payload_digest(file, start, superblock.bytes_used))

        write_executable(new, executable.whole_stub(), write_payload)


def _read(executable: Executable, name: str) -> bytes | None:
    filesystem = filesystem_of(executable)
    node = filesystem.find(name.encode("utf-8", "surrogateescape"), rootfs_of(filesystem))
    if node is None or not node.is_file or node.size > MAX_USERS:
        return None
    return filesystem.read(node, MAX_USERS)
