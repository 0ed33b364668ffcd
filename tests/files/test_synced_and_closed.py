"""What is synced and closed, and who may read what is half-written."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from images_support import sha256

from toolkit.errors import DockercError
from toolkit.files import location
from toolkit.files.atomic import atomic_file
from toolkit.files.atomic_directory import atomic_directory
from toolkit.files.location import open_location
from toolkit.files.regular import open_regular
from toolkit.images.verified import verified


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What fsync(2) was called for: "file" or "directory"."""
    told: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        told.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return told


@pytest.mark.parametrize(
    ("sync", "is_there", "expected"),
    [
        (True, False, ["file", "directory"]),
        (True, True, ["file", "directory"]),
        (False, True, ["file"]),  # else a crash might leave neither the old file nor the new
        (False, False, []),
    ],
)
def test_what_is_synced(
    tmp_path: Path, synced: list[str], sync: bool, is_there: bool, expected: list[str]
) -> None:
    target = tmp_path / "target"
    if is_there:
        target.write_text("old")
    with atomic_file(target, 0o644, sync=sync) as out:
        out.write(b"new")
    assert synced == expected and target.read_text() == "new"


def no_file(path: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        open_regular(path)


def failing_file(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_file(path / "new", 0o644):
        raise ZeroDivisionError


def new_file(path: Path) -> None:
    with atomic_file(path / "file", 0o644) as out:
        out.write(b"new")


def made_directory(path: Path) -> None:
    with atomic_directory(path / "made") as directory:
        assert directory.names() == []


def refused_directory(path: Path) -> None:
    (path / "full").mkdir()
    (path / "full" / "file").touch()
    with pytest.raises(DockercError), atomic_directory(path / "full"):
        raise AssertionError


def no_directory(path: Path) -> None:
    with pytest.raises(DockercError), atomic_file(path / "none" / "file", 0o644):
        raise AssertionError


def through_links(path: Path) -> None:
    (path / "link").symlink_to(path / "none" / "file")
    with pytest.raises(DockercError), atomic_file(path / "link", 0o644):
        raise AssertionError


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "work",
    [
        no_directory,
        through_links,
        no_file,
        failing_file,
        new_file,
        made_directory,
        refused_directory,
    ],
)
def test_no_descriptor_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], None], named: bool
) -> None:
    if named:
        monkeypatch.setattr("toolkit.files.atomic.NAMELESS", 0)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    work(tmp_path)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("named", [False, True])
def test_nobody_else_reads_what_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    if named:
        monkeypatch.setattr("toolkit.files.atomic.NAMELESS", 0)
    with atomic_file(tmp_path / "file", 0o644) as out:
        assert stat.S_IMODE(os.fstat(out.fileno()).st_mode) == 0o600
    with atomic_directory(tmp_path / "directory") as directory:
        assert stat.S_IMODE(os.stat(directory.target).st_mode) == 0o700  # noqa: PTH116


def test_symlinks_that_lead_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "0").touch()
    for number in range(1, location._MAX_LINKS + 2):
        (tmp_path / str(number)).symlink_to(str(number - 1))
    with open_location(tmp_path / str(location._MAX_LINKS)) as place:
        assert place.name == "0"
    with (
        pytest.raises(DockercError, match="loop of symlinks"),
        open_location(tmp_path / str(location._MAX_LINKS + 1)),
    ):
        raise AssertionError


def test_a_blob_is_closed_with_its_reader() -> None:
    source = io.BytesIO(b"blob")
    with verified(source, sha256(b"blob"), 4, "it") as reader:
        assert reader.read() == b"blob"
    assert source.closed
