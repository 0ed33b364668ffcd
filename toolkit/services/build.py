"""The main job: an image's layers become packs, a tree, a squashfs, an executable."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from toolkit.bundle.annotations import ARGS, LAYERS
from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.config import config_bytes, requires_mapped_uids, runtime_config
from toolkit.errors import UsageError, about
from toolkit.executable.executable import FooterFields, write_executable
from toolkit.executable.payload_digest import payload_digest
from toolkit.executable.stub import read_stub, stub_machine
from toolkit.files.atomic import check_writable
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.images.open import open_image
from toolkit.images.source import Image, Platform
from toolkit.layers.content import read_file
from toolkit.layers.data_map import DataMap
from toolkit.layers.merge import merge
from toolkit.layers.notes import folded
from toolkit.services.cache import Cache
from toolkit.services.layer_history import layer_history
from toolkit.services.pack_layers import Packing, Parameters
from toolkit.services.progress import Progress
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, new_directory, walk
from toolkit.squashfs.write.image import write_squashfs
from toolkit.version import __version__

_MAX_TIME = 0xFFFFFFFF


@dataclass(frozen=True)
class Built:
    """What a build made."""

    reference: str
    digest: str
    platform: Platform
    size: int
    size_in: int | None
    """Bytes of the layers as the image stores them; None where its transport cannot tell."""
    args: str
    """Whose its arguments are, one of annotations.ARGS_RULES."""
    layers: int
    cached: int
    """Layers that did not have to be read."""
    left_out: Counter[str]
    """What the executable cannot hold, by kind."""


def build(
    reference: str,
    output: Path,
    platform: Platform,
    *,
    rootfull: bool,
    baked: BakedOptions,
    parameters: Parameters,
    cache: Cache | None,
    progress: Progress,
    access: Access = DEFAULT_ACCESS,
) -> Built:
    """Build the executable `output` from the image; raises DockercError when it cannot be done."""
    stub_machine(platform.architecture)
    check_writable(output)
    with open_image(reference, platform, access) as image:
        return build_opened(
            image,
            output,
            rootfull=rootfull,
            baked=baked,
            parameters=parameters,
            cache=cache,
            progress=progress,
        )


def build_opened(
    image: Image,
    output: Path,
    *,
    rootfull: bool,
    baked: BakedOptions,
    parameters: Parameters,
    cache: Cache | None,
    progress: Progress,
) -> Built:
    """The same, from an image that is open already."""
    stub = read_stub(stub_machine(image.platform.architecture))
    with Packing(parameters, cache, output.resolve().parent) as packing:
        with about(image.reference):
            packs = packing.pack_layers(image, progress)
            tree = merge(packs)
        config = runtime_config(
            image.config,
            reference=image.reference,
            digest=image.digest,
            version=__version__,
            rootfull=rootfull,
            baked=baked,
            read_file=lambda path: read_file(tree, packs, path),
        )
        config["annotations"][LAYERS] = layer_history(tree, image.layers, image.config)
        pack, content = packing.pack_bytes(config_bytes(config), len(packs))
        root = new_directory()
        assert root.children is not None
        root.children[b"config.json"] = Inode(InodeType.FILE, 0o644, content=content)
        root.children[b"rootfs"] = tree

        def write_payload(file: BinaryIO) -> FooterFields:
            offset = file.tell()
            superblock = write_squashfs(
                file,
                root,
                DataMap([*packs, pack], parameters.block_size),
                block_size=parameters.block_size,
                level=parameters.level,
                mkfs_time=_mkfs_time(image.config.get("created")),
            )
            return FooterFields(
                requires_mapped_uids(config) or _has_other_owners(tree),
                payload_digest(file, offset, superblock.bytes_used),
            )

        write_executable(output, stub, write_payload)
        if cache:
            cache.prune()
        return Built(
            image.reference,
            image.digest,
            image.platform,
            output.stat().st_size,
            _size_in(image),
            config["annotations"][ARGS],
            len(packs),
            packing.cached,
            folded(sum((pack.left_out for pack in packs), Counter[str]())),
        )


def _size_in(image: Image) -> int | None:
    sizes = [layer.size for layer in image.layers]
    return None if None in sizes else sum(filter(None, sizes))


def _has_other_owners(root: Inode) -> bool:
    return any(inode.uid or inode.gid for inode in walk(root))


def _mkfs_time(created: object) -> int:
    """The superblock's time: SOURCE_DATE_EPOCH, else the image's, so that builds are repeatable."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None:
        if not epoch.isdigit() or int(epoch) > _MAX_TIME:
            raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}; it must be seconds since 1970")
        return int(epoch)
    try:
        # Python 3.10 reads neither a `Z` nor nanoseconds.
        time = datetime.fromisoformat(str(created)[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    return min(max(int(time.timestamp()), 0), _MAX_TIME)
