"""Editing an executable: another config.json, everything else as it is."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from toolkit.bundle.annotations import PROFILE
from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.config import config_bytes, requires_mapped_uids
from toolkit.bundle.edit import edited_config
from toolkit.bundle.profile import Profile
from toolkit.executable.executable import (
    Executable,
    FooterFields,
    open_executable,
    write_executable,
)
from toolkit.executable.integrity import Integrity
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.limits import MAX_USERS
from toolkit.squashfs.read.lookup import reading
from toolkit.squashfs.write.rewrite import rewrite_file


def edit(path: Path, new: Path, baked: BakedOptions, profile: Profile | None = None) -> int:
    """Write `new`: the executable `path` with `baked` over its configuration.

    Stub and data blocks are copied as they are; with a profile, blocks are put in another order,
    and the number of its paths that are not there is returned. Raises DockercError when the payload
    is damaged or the options do not fit it.
    """
    missing = 0
    with open_executable(path) as executable, reading(str(path)):
        config = edited_config(config_of(executable), baked, lambda name: _read(executable, name))

        if profile:
            config["annotations"][PROFILE] = profile.digest

        def write_payload(file: BinaryIO) -> FooterFields:
            nonlocal missing
            text = config_bytes(config)
            if profile:
                from toolkit.services.prepare import write_prepared

                missing = write_prepared(executable, text, profile, file, new.resolve().parent)
            else:
                rewrite_file(
                    filesystem_of(executable),
                    executable.file,
                    executable.footer.offset,
                    b"config.json",
                    text,
                    file,
                )
            mapped = executable.footer.require_mapped_uids or requires_mapped_uids(config)
            return FooterFields(mapped, Integrity(text, executable.stub_version))

        write_executable(new, executable.whole_stub(), write_payload, source=executable.file)
    return missing


def _read(executable: Executable, name: str) -> bytes | None:
    filesystem = filesystem_of(executable)
    node = filesystem.find(name.encode("utf-8", "surrogateescape"), rootfs_of(filesystem))
    if node is None or not node.is_file or node.size > MAX_USERS:
        return None
    return filesystem.read(node, MAX_USERS)
