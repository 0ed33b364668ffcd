"""Layers and squashfs images made, mounted and read by tests of several rooms."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import dockerc

from toolkit.errors import DockercError
from toolkit.layers.data_map import DataMap
from toolkit.layers.merge import merge
from toolkit.layers.pack import Pack
from toolkit.layers.packer import Packer
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.tree import new_directory
from toolkit.squashfs.write.image import write_squashfs

as_root = pytest.mark.root("mounts and owners want root")


def squashfs_of(layout: Path, place: Path) -> Path:
    dockerc("build", f"oci:{layout}:latest", "-o", place / "app")
    dockerc("extract", place / "app", place / "app.sqfs")
    return place / "app.sqfs"


@contextmanager
def kernel_mount(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


ELSEWHERE = 12345
"""A user id that owns nothing."""


def as_ordinary_user(work: Callable[[], None]) -> None:
    """Run this in a child that is nobody in particular: the tool's files may be root's alone."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(ELSEWHERE, ELSEWHERE, ELSEWHERE)
            os.setresuid(ELSEWHERE, ELSEWHERE, ELSEWHERE)
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Whole(io.BytesIO):
    """A layer's tar in memory, as a LayerStream would give it."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise DockercError("cut short")
        return data

    def skip(self, size: int) -> None:
        self.read(size)

    def discard(self, size: int) -> None:
        super().read(size)

    def at_end(self) -> bool:
        return self.tell() == len(self.getbuffer())

    def finish(self) -> None:
        pass

    @property
    def stored(self) -> int:
        return self.tell()


def write_image(layers: list[bytes], output: Path, block_size: int = 1 << 16) -> None:
    packs: list[Pack] = []
    with Compressor(1) as compressor, tempfile.TemporaryDirectory() as scratch:
        for number, layer in enumerate(layers):
            packed = Path(scratch, str(number)).open("w+b")  # noqa: SIM115 - read again below
            packer = Packer(number, packed, compressor, block_size)
            packs.append(packer.read(Whole(layer)))  # type: ignore[arg-type]
        root = new_directory()
        assert root.children is not None
        root.children[b"rootfs"] = merge(packs)
        with output.open("wb") as image:
            data = DataMap(packs, block_size)
            write_squashfs(image, root, data, block_size=block_size, level=1, mkfs_time=0)
        for pack in packs:
            pack.file.close()
