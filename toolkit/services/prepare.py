"""Preparing a payload that is there already for the starts in a profile: `dockerc edit`."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from toolkit.bundle.profile import Profile
from toolkit.bundle.start_list import NAME, encode, resolve
from toolkit.errors import AbsentError, DockercError, UnsupportedError
from toolkit.executable.executable import Executable
from toolkit.executable.payload import filesystem_of
from toolkit.layers.data_map import DataMap
from toolkit.layers.hot_files import pack_hot_files
from toolkit.layers.pack import Pack, pack_file
from toolkit.layers.payload_pack import pack_of
from toolkit.services.pack_layers import Parameters
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import COMPRESSION_ZSTD, InodeType
from toolkit.squashfs.tree import Inode
from toolkit.squashfs.write.image import write_squashfs
from toolkit.squashfs.write.inodes import inode_numbers


def write_prepared(
    executable: Executable, config: bytes, profile: Profile, file: BinaryIO, scratch: Path
) -> int:
    """Append to `file` the executable's payload with this config.json, prepared for the profile.

    Returns how many of the profile's paths are not there. `scratch` is a
    directory for nameless files. Raises DockercError.
    """
    old = executable.superblock
    if old.compression != COMPRESSION_ZSTD:
        raise UnsupportedError("its payload is not compressed with zstd: build it anew")
    pack, root = pack_of(filesystem_of(executable), executable.file, executable.footer.offset)
    assert root.children is not None
    image = root.children.get(b"rootfs")
    if image is None or image.children is None:
        raise AbsentError("its payload has no directory rootfs")
    level = Parameters().level
    with ExitStack() as stack:
        compressor = stack.enter_context(Compressor(level, old.block_size))

        def scratch_file() -> BinaryIO:
            try:
                return cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile(dir=scratch)))
            except OSError as error:
                raise DockercError(f"cannot write into {scratch}: {error.strerror}") from None

        packs: list[Pack] = [pack]

        def put(name: bytes, data: bytes) -> None:
            assert root.children is not None
            inode = root.children.setdefault(name, Inode(InodeType.FILE, 0o644))
            more, inode.content = pack_file(
                data, len(packs), scratch_file(), compressor, old.block_size
            )
            packs.append(more)

        resolved = resolve(profile, image, old.block_size)
        hot_pack, hot = pack_hot_files(
            resolved.hot, image, packs, scratch_file(), compressor, old.block_size
        )
        packs.append(hot_pack)
        put(b"config.json", config)
        root.children.setdefault(NAME, Inode(InodeType.FILE, 0o644))
        put(NAME, encode(resolved, inode_numbers(root)))
        data = DataMap(packs, old.block_size, hot)
        write_squashfs(
            file, root, data, block_size=old.block_size, level=level, mkfs_time=old.mkfs_time
        )
    return resolved.missing
