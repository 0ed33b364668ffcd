"""The main job: an image's layers become packs, a tree, a squashfs, an executable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from toolkit.bundle.annotations import ARGS, LAYERS, PROFILE, STORED
from toolkit.bundle.baked import BakedOptions
from toolkit.bundle.config import config_bytes, requires_mapped_uids, runtime_config
from toolkit.bundle.start_list import NAME as START_LIST
from toolkit.bundle.start_list import Resolved, encode, resolve
from toolkit.errors import DockercError, about
from toolkit.executable.executable import FooterFields, write_executable
from toolkit.executable.integrity import Integrity
from toolkit.executable.stub import read_stub, stub_machine, with_pinned_key
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
from toolkit.services.image_time import image_time
from toolkit.services.layer_history import created_by, layer_history
from toolkit.services.pack_layers import Packing, Parameters, has_pack, remote_name
from toolkit.services.progress import Progress
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Content, Inode, new_directory, walk
from toolkit.squashfs.write.image import write_squashfs
from toolkit.squashfs.write.inodes import inode_numbers
from toolkit.version import __version__

if TYPE_CHECKING:
    from toolkit.bundle.profile import Profile
    from toolkit.layers.added import AddedFile
    from toolkit.services.remote_cache import RemoteCaches


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
    fetched: int
    """Layers that did not have to be compressed, as a remote cache had their blocks."""
    largest_id: int
    """Of the owners of files, users and groups."""
    left_out: Counter[str]
    """What the executable cannot hold, by kind."""
    missing: int
    """Paths of the profile that the image does not have as they were recorded."""
    not_stored: str = ""
    """Why a remote cache did not get all packs."""

    def as_json(self) -> dict[str, Any]:
        """For programs (docs/building.md)."""
        members = {**asdict(self), "platform": str(self.platform), "left_out": dict(self.left_out)}
        del members["not_stored"]
        return members


@dataclass(frozen=True)
class PlannedLayer:
    """A layer, whether its pack is in the cache, and which remote cache has it otherwise."""

    diff_id: str
    size: int | None
    cached: bool
    cache_from: str | None


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
    reference: str,
    platform: Platform,
    access: Access,
    parameters: Parameters,
    cache: Cache | None,
    remote: RemoteCaches | None,
) -> Plan:
    """Find the image and what is cached of it; raises DockercError as `build` would."""
    stub_machine(platform.architecture)

    def planned(layer: Layer) -> PlannedLayer:
        is_cached = has_pack(cache, parameters, layer)
        place = None
        if remote and not is_cached:
            place = remote.has(remote_name(parameters, layer))
        return PlannedLayer(layer.diff_id, layer.size, is_cached, place)

    with open_image(reference, platform, access) as image:
        layers = tuple(map(planned, image.layers))
        if remote:
            remote.tell_misses()
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
    profile: Profile | None = None,
    pinned: bytes | None = None,
    remote: RemoteCaches | None = None,
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
            profile=profile,
            pinned=pinned,
            remote=remote,
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
    profile: Profile | None = None,
    pinned: bytes | None = None,
    remote: RemoteCaches | None = None,
) -> Built:
    """The same, from an image that is open already. `pinned`: the key that it starts only with."""
    stub = read_stub(stub_machine(image.platform.architecture))
    stub = with_pinned_key(stub, pinned) if pinned else stub
    with Packing(parameters, cache, output.resolve().parent, remote) as packing:
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
        config["annotations"][STORED] = _stored(tree, packs, parameters.block_size)
        largest_id = max(max(each.uid, each.gid) for each in walk(tree))
        payload = _Payload(packing, packs, tree)
        if profile:
            config["annotations"][PROFILE] = profile.digest
            payload.prepare(profile, parameters.block_size)
        text = config_bytes(config)
        payload.add(b"config.json", text)
        payload.add_start_list()

        def write_payload(file: BinaryIO) -> FooterFields:
            write_squashfs(
                file, payload.root, DataMap(payload.packs, parameters.block_size, payload.hot),
                block_size=parameters.block_size, level=parameters.level,
                mkfs_time=image_time(image.config.get("created")),
            )  # fmt: skip
            return FooterFields(requires_mapped_uids(config) or largest_id > 0, Integrity(text))

        write_executable(output, stub, write_payload)
        _remember(cache, image)
        return Built(
            image.reference,
            image.digest,
            image.platform,
            output.stat().st_size,
            _size_in(image),
            config["annotations"][ARGS],
            len(image.layers),
            packing.cached,
            packing.fetched,
            largest_id,
            folded(sum((pack.left_out for pack in packs), Counter[str]())),
            payload.started.missing if payload.started else 0,
            _store_packs(packing, image, packs),
        )


def _store_packs(packing: Packing, image: Image, packs: list[Pack]) -> str:
    """Why the remote caches did not get all packs: no reason to throw the executable away."""
    try:
        packing.store_packs(image, packs)
    except DockercError as error:
        return str(error)
    return ""


def _stored(tree: Inode, packs: list[Pack], block_size: int) -> str:
    """A JSON array of the bytes that each pack gives to the payload, if no profile puts some in
    front."""
    data = DataMap(packs, block_size)
    data.want(walk(tree))
    return json.dumps(data.wanted_sizes(), separators=(",", ":"))


def _remember(cache: Cache | None, image: Image) -> None:
    if cache:
        remember(cache, image)
        prune(cache)


class _Payload:
    """The tree of the bundle, and the packs with its data."""

    def __init__(self, packing: Packing, packs: list[Pack], tree: Inode) -> None:
        self.root = new_directory()
        self.packs = [*packs]
        self.hot: list[Content] = []
        """What is in front."""
        self.started: Resolved | None = None
        self._packing, self._tree = packing, tree
        self._children[b"rootfs"] = tree

    @property
    def _children(self) -> dict[bytes, Inode]:
        assert self.root.children is not None
        return self.root.children

    def prepare(self, profile: Profile, block_size: int) -> None:
        """Put what the profile names in front."""
        self.started = resolve(profile, self._tree, block_size)
        pack, self.hot = self._packing.pack_hot_files(self.started.hot, self._tree, self.packs)
        self.packs.append(pack)

    def add(self, name: bytes, data: bytes) -> None:
        """A file beside the image's root."""
        inode = self._children.setdefault(name, Inode(InodeType.FILE, 0o644))
        pack, inode.content = self._packing.pack_bytes(data, len(self.packs))
        self.packs.append(pack)

    def add_start_list(self) -> None:
        """The start list, once all other files are there: it has the numbers of inodes."""
        if self.started:
            self._children[START_LIST] = Inode(InodeType.FILE, 0o644)
            self.add(START_LIST, encode(self.started, inode_numbers(self.root)))


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
