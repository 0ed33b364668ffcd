"""The main job: an image's layers become packs, a tree, a squashfs, an executable."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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
from toolkit.images.source import Image, Layer, Platform
from toolkit.layers.content import read_file
from toolkit.layers.data_map import DataMap
from toolkit.layers.merge import apply_pack, merge
from toolkit.layers.notes import folded
from toolkit.layers.pack import Pack
from toolkit.services.cache import Cache
from toolkit.services.image_names import prune, remember
from toolkit.services.layer_history import created_by, layer_history
from toolkit.services.pack_layers import Packing, Parameters, has_pack
from toolkit.services.progress import Progress
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, new_directory, walk
from toolkit.squashfs.write.image import write_squashfs
from toolkit.version import __version__

if TYPE_CHECKING:
    from toolkit.layers.added import AddedFile

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

    def as_json(self) -> dict[str, Any]:
        """For programs (docs/building.md)."""
        return {**asdict(self), "platform": str(self.platform), "left_out": dict(self.left_out)}


@dataclass(frozen=True)
class PlannedLayer:
    """A layer, and whether its pack is in the cache."""

    diff_id: str
    size: int | None
    cached: bool


@dataclass(frozen=True)
class Plan:
    """What a build would begin with."""

    reference: str
    digest: str
    platform: Platform
    layers: tuple[PlannedLayer, ...]

    def as_json(self) -> dict[str, Any]:
        """For programs (docs/building.md)."""
        return {**asdict(self), "platform": str(self.platform)}


def plan(
    reference: str, platform: Platform, access: Access, parameters: Parameters, cache: Cache | None
) -> Plan:
    """Find the image and what is cached of it; raises DockercError as `build` would."""
    stub_machine(platform.architecture)
    with open_image(reference, platform, access) as image:
        layers = tuple(
            PlannedLayer(layer.diff_id, layer.size, has_pack(cache, parameters, layer))
            for layer in image.layers
        )
        return Plan(image.reference, image.digest, image.platform, layers)


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
    added: Sequence[AddedFile] = (),
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
            added=added,
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
    added: Sequence[AddedFile] = (),
) -> Built:
    """The same, from an image that is open already."""
    stub = read_stub(stub_machine(image.platform.architecture))
    with Packing(parameters, cache, output.resolve().parent) as packing:
        with about(image.reference):
            packs = packing.pack_layers(image, progress)
            tree = merge(packs)
        layers, history = image.layers, image.config
        if added:
            packs, layers, history = _with_added(packing, packs, tree, image, added)
        config = runtime_config(
            image.config,
            reference=image.reference,
            digest=image.digest,
            version=__version__,
            rootfull=rootfull,
            baked=baked,
            read_file=lambda path: read_file(tree, packs, path),
        )
        config["annotations"][LAYERS] = layer_history(tree, layers, history)
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
            remember(cache, image)
            prune(cache)
        return Built(
            image.reference,
            image.digest,
            image.platform,
            output.stat().st_size,
            _size_in(image),
            config["annotations"][ARGS],
            len(image.layers),
            packing.cached,
            folded(sum((pack.left_out for pack in packs), Counter[str]())),
        )


def _with_added(
    packing: Packing, packs: list[Pack], tree: Inode, image: Image, added: Sequence[AddedFile]
) -> tuple[list[Pack], tuple[Layer, ...], Mapping[str, Any]]:
    """Packs, layers and config of the image with one more layer, which `tree` gets as well."""
    pack, layer = packing.pack_added(added, tree, len(packs))
    with about("--add-file"):
        apply_pack(tree, pack)
    made = [*created_by(image.config, len(image.layers)), "dockerc build --add-file"]
    history = [{"created_by": text} for text in made]
    return [*packs, pack], (*image.layers, layer), {**image.config, "history": history}


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
