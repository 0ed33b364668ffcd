"""Conditions of the files room, each on both of its sides."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import DockercError, RefusedError
from toolkit.files import copy, disk_space, location, temporary
from toolkit.files.anonymous_file import temporary_file
from toolkit.files.atomic import atomic_file, check_writable
from toolkit.files.atomic_directory import atomic_directory
from toolkit.files.location import Location, open_location
from toolkit.files.open_directory import OpenDirectory
from toolkit.files.printable import printable, printable_lines, show
from toolkit.files.removal import remove


@pytest.mark.parametrize("mode", [0o777, 0o751, 0o4755, 0o600])
def test_a_file_like_another(tmp_path: Path, mode: int) -> None:
    """Its mode, owner and times, whatever the umask; rights to be another user do not go along."""
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(mode)
    os.utime(tmp_path / "old", (1000, 2000))
    with atomic_file(tmp_path / "new", 0o644, like=(tmp_path / "old").stat()) as file:
        file.write(b"new")
    status = (tmp_path / "new").stat()
    assert stat.S_IMODE(status.st_mode) == mode & 0o777
    assert (status.st_atime, status.st_mtime) == (1000, 2000)


@pytest.mark.parametrize(("mask", "mode"), [(0, 0o777), (0o22, 0o755), (0o77, 0o700)])
def test_modes_are_less_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_file(tmp_path / "new", 0o777):
            pass
        directory = OpenDirectory(tmp_path, os.open(tmp_path, os.O_RDONLY))
        directory.write("written", b"data")
        directory.make("directory").close()
        directory.close()
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"new": mode, "written": mode & 0o666 & 0o644, "directory": 0o700}


@pytest.mark.parametrize("make", ["file", "pipe", "full", "link to a file"])
def test_what_no_directory_can_replace(tmp_path: Path, make: str) -> None:
    path = tmp_path / "out"
    if make == "file":
        path.touch()
    elif make == "pipe":
        os.mkfifo(path)
    elif make == "full":
        path.mkdir()
        (path / "file").touch()
    else:
        (tmp_path / "there").touch()
        path.symlink_to("there")
    before = sorted(tmp_path.rglob("*"))
    told = "not empty" if make == "full" else "something is there already"
    with pytest.raises(RefusedError, match=told), atomic_directory(path):
        raise AssertionError
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with atomic_directory(tmp_path / "out") as directory:
        directory.write("file", b"data")
    assert (tmp_path / "out" / "file").read_bytes() == b"data"


@pytest.mark.parametrize("make", ["directory", "pipe"])
def test_what_no_file_can_replace(tmp_path: Path, make: str) -> None:
    path = tmp_path / "out"
    path.mkdir() if make == "directory" else os.mkfifo(path)
    for write in (lambda: check_writable(path), lambda: atomic_file(path, 0o644).__enter__()):
        with pytest.raises(RefusedError, match="no regular file"):
            write()


def test_where_names_lead(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "to-root").symlink_to("/")
    (tmp_path / "to-d").symlink_to("d/.")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "new").symlink_to(tmp_path / "d" / "new")
    for name, expected in (
        ("new", "new"),
        ("d/x", "x"),
        ("to-d/x", "x"),
        (f"to-root{tmp_path}/y", "y"),
    ):
        with open_location(tmp_path / name) as place:
            assert place.name == expected
    for name in ("to-root", "up"):
        with (
            pytest.raises(RefusedError, match="leads to a directory"),
            open_location(tmp_path / name),
        ):
            raise AssertionError
    for name in ("d/..", ""):
        with open_location(tmp_path / name) as place:
            assert place.name == tmp_path.name


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775, 0o757, 0o1755, 0o755])
@pytest.mark.root("only root can give files away")
def test_whose_links_are_followed(tmp_path: Path, mode: int) -> None:
    """In the middle of a path as the kernel does it in /tmp; at its end only where nobody else can
    put one."""
    place = tmp_path / "place"
    (tmp_path / "target").mkdir()
    place.mkdir()
    (place / "link").symlink_to(tmp_path / "target")
    (place / "last").symlink_to(tmp_path / "target" / "file")
    for link in ("link", "last"):
        os.chown(place / link, 12345, 12345, follow_symlinks=False)
    place.chmod(mode)

    def follows(name: str) -> bool:
        try:
            with open_location(place / name):
                return True
        except DockercError:
            return False

    assert follows("link/file") is (mode != 0o1777)
    assert follows("last") is (mode in (0o755, 0o1755))
    os.chown(place, 12345, 12345)
    assert follows("link/file") is True, "the directory's owner may put links there"
    assert follows("last") is False
    for link in ("link", "last"):
        os.chown(place / link, 0, 0, follow_symlinks=False)
    assert follows("link/file") and follows("last")


# A system without openat(2)


@pytest.mark.parametrize("make", ["file", "tree", "link to a tree", "nothing"])
def test_removing_by_path(tmp_path: Path, make: str) -> None:
    path, other = tmp_path / "it", tmp_path / "other"
    (other / "d").mkdir(parents=True)
    (other / "d" / "file").touch()
    if make == "file":
        path.touch()
    elif make == "tree":
        (path / "d").mkdir(parents=True)
    elif make == "link to a tree":
        path.symlink_to(other)
    remove(Location(tmp_path, "it", None), "it")
    assert list(tmp_path.iterdir()) == [other] and (other / "d" / "file").exists()


def test_locations_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "supports_dir_fd", set())
    (tmp_path / "old").touch()
    with open_location(tmp_path / "new") as place:
        assert (place.descriptor, place.directory, place.name) == (None, tmp_path, "new")
        place.mkdir("made", 0o700)
        descriptor = place.open("old", os.O_RDONLY)
        assert place.holds("old", descriptor) and not place.holds("made", descriptor)
        os.close(descriptor)
        place.rename("old", "new")
        assert sorted(place.names()) == ["made", "new"] and place.is_writable()
        assert place.status("old") is None
        place.unlink("new")
        place.sync()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


# Copies


@pytest.mark.parametrize(("size", "asked"), [(4095, 0), (4096, 1), (4097, 1)])
def test_room_is_asked_for_at_once_for_what_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, asked: int
) -> None:
    calls: list[tuple[int, ...]] = []

    class Library:
        class fallocate:
            def __new__(cls, *words: int) -> Any:
                calls.append(words)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    monkeypatch.setattr(copy, "_WORTH_RESERVING", 4096)
    (tmp_path / "source").write_bytes(b"x" * 5000)
    with (tmp_path / "source").open("rb") as source, (tmp_path / "target").open("w+b") as target:
        target.write(b"before")
        copy.copy_range(source, 100, target, size)
        assert calls == [(target.fileno(), 0, 6, size)] * asked


def test_a_copy_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel copies in one call is bounded, and may be less than asked for."""
    data = bytes(range(256)) * 40
    (tmp_path / "source").write_bytes(data)
    in_kernel = os.copy_file_range
    for most, given in ((1000, 1000), (3, 1), (len(data), len(data) - 1)):

        def some(source: int, target: int, size: int, at: int, to: int, most: int = given) -> int:
            return in_kernel(source, target, min(size, most), at, to)

        monkeypatch.setattr(copy, "_MAX_CALL", most)
        monkeypatch.setattr(os, "copy_file_range", some)
        with (tmp_path / "source").open("rb") as source, (tmp_path / "new").open("w+b") as target:
            copy.copy_range(source, 7, target, len(data) - 9)
            assert target.tell() == len(data) - 9
        assert (tmp_path / "new").read_bytes() == data[7:-2]


def test_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy, "_CHUNK", 4)
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        assert list(copy.pieces(file, 1, 9)) == [b"1234", b"5678", b"9"]
        assert list(copy.pieces(file, 1, 0)) == []
        with pytest.raises(OSError, match="became shorter"):
            list(copy.pieces(file, 1, 10))


# Room and names


def test_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = disk_space.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: usage)
    disk_space.check_room("files", 1000, 0)
    with pytest.raises(RefusedError, match="files take 1001 bytes and the disk has 1000"):
        disk_space.check_room("files", 1001, 0)


def test_where_a_temporary_file_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place() -> Path:
        with temporary_file() as file:
            return Path(os.readlink(f"/proc/self/fd/{file.fileno()}")).parent  # noqa: PTH115

    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("toolkit.files.anonymous_file._LARGE", tmp_path / "large")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "large").mkdir()
    assert place() == tmp_path
    monkeypatch.delenv("TMPDIR")
    assert place() == tmp_path / "large"
    (tmp_path / "large").rmdir()
    assert place() != tmp_path / "large"
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(DockercError, match="no place for a temporary file"):
        place()


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    """What it is called meanwhile is not longer than names may be."""
    for length in (temporary._MAX_NAME, 255):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("toolkit.files.atomic.NAMELESS", 0)
            with atomic_file(tmp_path / ("n" * length), 0o644) as file:
                file.write(b"x")
    assert {len(path.name) for path in tmp_path.iterdir()} == {temporary._MAX_NAME, 255}
    assert location._MAX_LINKS == 40  # as the kernel


def test_what_is_shown_of_a_name() -> None:
    assert show(b"n" * 200 + b"x") == "n" * 200
    assert show(b"\xff\x1b[0m\n") == "\\xff\\x1b[0m\\n"
    assert printable("é\t\x7f") == "é\\t\\x7f"
    assert printable_lines("a\tb\nc\x1b") == "a       b\nc\\x1b"


def test_a_file_without_a_name_is_given_up_where_there_is_no_proc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could never be given one; the file is written under a name for a while, as elsewhere."""
    exists = Path.exists
    monkeypatch.setattr(
        Path, "exists", lambda path: not str(path).startswith("/proc/self/fd/") and exists(path)
    )
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with atomic_file(tmp_path / "new", 0o644) as file:
        assert list(tmp_path.iterdir()) != []
        file.write(b"data")
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert (tmp_path / "new").read_bytes() == b"data"
