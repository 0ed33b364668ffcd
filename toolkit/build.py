"""The main job: an image's layers become packs, a tree, a squashfs, an executable."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from toolkit.bundle.config import config_bytes, requires_mapped_uids, runtime_config
from toolkit.errors import DockercError, UsageError, about
from toolkit.executable import write_executable
from toolkit.images.open import open_image
from toolkit.images.source import Image, Layer, Platform
from toolkit.layers.compress import Compressor
from toolkit.layers.content import read_file
from toolkit.layers.merge import merge
from toolkit.layers.pack import Pack, Packer
from toolkit.layers.stream import LayerStream
from toolkit.layers.tree import Inode, new_directory, walk
from toolkit.progress import Progress
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.writer import write_squashfs
from toolkit.stubs import read_stub, stub_machine
from toolkit.version import __version__

BLOCK_SIZE = 512 << 10
LEVEL = 9
_MAX_TIME = 0xFFFFFFFF


@dataclass(frozen=True)
class Built:
    """What a build made."""

    reference: str
    digest: str
    platform: Platform
    size: int
    left_out: Counter[str]
    """What the executable cannot hold, by kind."""


def build(
    reference: str, output: Path, platform: Platform, rootfull: bool, progress: Progress
) -> Built:
    """Build the executable `output` from the image; raises DockercError when it cannot be done."""
    stub = read_stub(stub_machine(platform.architecture))
    with ExitStack() as stack:
        compressor = stack.enter_context(Compressor(LEVEL))
        packers = Packers(compressor, output.resolve().parent, stack)
        image = stack.enter_context(open_image(reference, platform))
        with about(image.reference):
            packs = [
                _pack(image, number, layer, packers.new(), progress)
                for number, layer in enumerate(image.layers)
            ]
            tree = merge(packs)
        config = runtime_config(
            image.config,
            reference=image.reference,
            digest=image.digest,
            version=__version__,
            rootfull=rootfull,
            read_file=lambda path: read_file(tree, packs, path),
        )
        pack, content = packers.new().read_bytes(config_bytes(config))
        root = new_directory()
        assert root.children is not None
        root.children[b"config.json"] = Inode(InodeType.FILE, 0o644, content=content)
        root.children[b"rootfs"] = tree

        def write_payload(file: BinaryIO) -> bool:
            write_squashfs(
                file,
                root,
                [*packs, pack],
                block_size=BLOCK_SIZE,
                level=LEVEL,
                mkfs_time=_mkfs_time(image.config.get("created")),
            )
            return requires_mapped_uids(config) or _has_other_owners(tree)

        write_executable(output, stub, write_payload)
        left_out = sum((pack.left_out for pack in packs), Counter[str]())
        size = output.stat().st_size
        return Built(image.reference, image.digest, image.platform, size, left_out)


class Packers:
    """Makes one packer after another, their packs in temporary files beside the output.

    The files have no name: however the build ends, nothing of them is left.
    """

    def __init__(self, compressor: Compressor, directory: Path, stack: ExitStack) -> None:
        self._compressor, self._directory, self._stack = compressor, directory, stack
        self._made = 0

    def new(self) -> Packer:
        """The packer of the next layer."""
        try:
            temporary = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - the stack's
            file = self._stack.enter_context(temporary)
        except OSError as error:
            raise DockercError(
                f"cannot write into {self._directory}: {error.strerror}; choose another output"
            ) from None
        self._made += 1
        return Packer(self._made - 1, cast(BinaryIO, file), self._compressor, BLOCK_SIZE)


def _pack(image: Image, number: int, layer: Layer, packer: Packer, progress: Progress) -> Pack:
    what = f"layer {number + 1}/{len(image.layers)}"
    with progress.task(what, layer.size) as advance, image.open_layer(layer) as blob:
        counted = cast(BinaryIO, io.BufferedReader(_Counted(blob, advance), 1 << 18))
        with about(what), LayerStream(counted, layer.diff_id) as stream:
            return packer.read(stream)


class _Counted(io.RawIOBase):
    """A blob that tells how far it was read."""

    def __init__(self, blob: BinaryIO, advance: Callable[[int], None]) -> None:
        self._blob, self._advance = blob, advance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        data = self._blob.read(len(buffer))
        buffer[: len(data)] = data
        self._advance(len(data))
        return len(data)


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
        seconds = datetime.strptime(f"{str(created)[:19]}+0000", "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return 0
    return min(max(int(seconds), 0), _MAX_TIME)
