"""Copying in the kernel: the same bytes everywhere, shared extents and holes where they can be."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import need

import toolkit.files.copy
from toolkit.files.copy import copy_range

MB = 1 << 20
as_root = pytest.mark.root("mounting wants root")


@contextmanager
def filesystem(directory: Path, kind: str, megabytes: int) -> Iterator[Path]:
    """A new filesystem of that kind, mounted."""
    need(f"mkfs.{kind}")
    image, mount = directory / "image", directory / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * MB)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def sparse(path: Path) -> bytes:
    """A file of data, a hole, data, and a hole at its end."""
    noise = random.Random(1).randbytes(MB)
    with path.open("wb") as file:
        file.write(noise)
        file.seek(5 * MB)
        file.write(noise[:100_001])
        file.truncate(9 * MB + 17)
    return path.read_bytes()


@pytest.mark.parametrize("missing", ["", "copy_file_range", "SEEK_DATA", "linux"])
@pytest.mark.parametrize("offset", [0, 4096, 12_345, 2 * MB])
def test_the_bytes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, offset: int
) -> None:
    data = sparse(tmp_path / "source")
    monkeypatch.setattr(toolkit.files.copy, "_WORTH_RESERVING", MB)
    if missing == "linux":
        monkeypatch.setattr(sys, "platform", "other")
    elif missing:
        monkeypatch.delattr(os, missing)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("w+b") as target:
        target.write(b"before")
        before = source.read(10)
        copy_range(source, offset, target, len(data) - offset)
        target.write(b"after")
        copy_range(source, 0, target, 0)
        source.seek(10)
        assert before + source.read() == data
    assert (tmp_path / "target").read_bytes() == b"before" + data[offset:] + b"after"


def test_holes_stay_holes(tmp_path: Path) -> None:
    data = sparse(tmp_path / "source")
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("w+b") as target:
        copy_range(source, 0, target, len(data))
    assert (tmp_path / "target").read_bytes() == data
    assert (tmp_path / "target").stat().st_blocks * 512 < 2 * MB


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    sparse(tmp_path / "source")
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("w+b") as target:
        for offset in (0, 8 * MB, 20 * MB):
            with pytest.raises(OSError, match="became shorter"):
                copy_range(source, offset, target, 30 * MB)


@as_root
def test_a_disk_that_is_too_full(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(30 * MB))
    with filesystem(tmp_path, "ext4", 16) as mount, (tmp_path / "source").open("rb") as source:
        with (mount / "new").open("w+b") as target, pytest.raises(OSError) as caught:
            copy_range(source, 0, target, 30 * MB)
        assert caught.value.errno == errno.ENOSPC


@as_root
def test_extents_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they can be, three files of 90 MB fit on a disk of 180."""
    monkeypatch.setattr(toolkit.files.copy, "_WORTH_RESERVING", MB)
    with filesystem(tmp_path, "btrfs", 180) as mount:
        data = random.Random(2).randbytes(90 * MB)
        (mount / "source").write_bytes(data)
        os.sync()
        for name in ("first", "second"):
            with (mount / "source").open("rb") as source, (mount / name).open("w+b") as target:
                target.write(bytes(4096))
                copy_range(source, 4096, target, len(data) - 4096 - 3)
            assert (mount / name).read_bytes() == bytes(4096) + data[4096:-3]
