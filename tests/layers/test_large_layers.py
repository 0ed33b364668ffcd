"""Layers that are large, or claim to be: built right, and in bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from images_support import CONFIG, LAYER, Layout, on
from layout import directory, entry, file, tar_of, write_layout
from support import dockerc, need
from tree_support import as_root, kernel_mount, squashfs_of

pytestmark = pytest.mark.slow

LIMIT = 200 << 20
"""Bytes of memory for each of these builds; the largest image is to take no more than 250 MiB."""


def build_within(layout: Path, output: Path) -> None:
    """Build it in less memory than that."""
    code = (
        "from toolkit.cli import main\n"
        "try: main()\n"
        "finally: print([l for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
    )
    words = ["build", "-q", "--no-cache", f"oci:{layout}", "--arch", "amd64", "-o", output]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    )
    _, peak, unit = done.stdout.split()
    assert unit == "kB" and int(peak) << 10 < LIMIT, f"{int(peak) >> 10} MiB"


def frames(compress: Callable[[bytes], bytes], start: bytes, piece: bytes, count: int) -> bytes:
    """What compresses to little, without ever having been whole."""
    return compress(start) + compress(piece) * count + compress(bytes(1024))


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 9, mtime=0),
    "zstd": zstandard.ZstdCompressor().compress,
    "plain": lambda data: data,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_memory_is_bounded_whatever_a_layer_unfolds_to(
    layout: Layout, tmp_path: Path, name: str
) -> None:
    """A gibibyte of zeros in a megabyte; plain, a third of that which does not compress."""
    piece, count = bytes(32 << 20), 32
    if name == "plain":
        piece, count = os.urandom(1 << 20) * 32, 10
    info = entry("large")
    info.size = len(piece) * count
    start = info.tobuf()
    digest = hashlib.sha256(start)
    for _ in range(count):
        digest.update(piece)
    digest.update(bytes(1024))
    config = {
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["x"]},
        "rootfs": {"diff_ids": [f"sha256:{digest.hexdigest()}"]},
    }  # fmt: skip
    layers = [layout.blob(LAYER, frames(COMPRESSIONS[name], start, piece, count))]
    image = layout.manifest(config=layout.document(CONFIG, config), layers=layers)
    layout.write(on(image, "amd64"))
    build_within(layout.path, tmp_path / "app")
    told = dockerc("ls", "-l", tmp_path / "app", "/large").stdout
    assert str(info.size) in told


@as_root
def test_a_sparse_file_of_five_gibibytes(tmp_path: Path) -> None:
    need("tar", "cmp")
    path = tmp_path / "sparse"
    with path.open("wb") as sparse:
        for position in (0, (3 << 30) - 5, (5 << 30) - 5000):
            sparse.seek(position)
            sparse.write(b"data" * 1000)
        sparse.truncate(5 << 30)
    tar = ["tar", "-C", tmp_path, "-cS", "--format=posix", "--hole-detection=seek", "sparse"]
    layer = subprocess.run(tar, check=True, capture_output=True).stdout
    layout = write_layout(tmp_path / "layout", [layer])
    build_within(layout, tmp_path / "app")
    assert (tmp_path / "app").stat().st_size < 1 << 20
    dockerc("extract", tmp_path / "app", tmp_path / "app.sqfs")
    with kernel_mount(tmp_path / "app.sqfs", tmp_path / "mount") as mount:
        assert (mount / "rootfs/sparse").stat().st_blocks <= 4 * 1024, "more than has data"
        subprocess.run(["cmp", path, mount / "rootfs/sparse"], check=True)


@as_root
def test_a_hundred_thousand_files_in_one_directory(tmp_path: Path) -> None:
    need("unsquashfs")
    names = [f"{number:x}-{'n' * (number % 60)}" for number in range(100_000)]
    full = {name: name.encode() for name in names[::1000]}
    layer = tar_of(directory("d"), *(file(f"d/{name}", full.get(name, b"")) for name in names))
    layout = write_layout(tmp_path / "layout", [layer])
    build_within(layout, tmp_path / "app")
    image = squashfs_of(layout, tmp_path)
    with kernel_mount(image, tmp_path / "mount") as mount:
        # In the order of the listing, which the kernel's look-up by name relies on.
        listed = os.listdir(mount / "rootfs/d")  # noqa: PTH208 - an order
        assert listed == sorted(names)
        for name, content in full.items():
            assert (mount / "rootfs/d" / name).read_bytes() == content
    told = subprocess.run(["unsquashfs", "-l", image], check=True, capture_output=True, text=True)
    assert told.stdout.count("\nsquashfs-root/rootfs/d/") == len(names)
