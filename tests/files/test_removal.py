"""Trees are removed whole, whatever their modes, and nothing is left open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tree_support import as_ordinary_user

from toolkit.files.location import open_location
from toolkit.files.removal import remove


def removed(path: Path) -> None:
    with open_location(path) as location:
        remove(location, path.name)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def tree(top: Path) -> Path:
    for directory in ("a/b/c", "a/d", "e"):
        (top / directory).mkdir(parents=True)
    for name in ("f", "a/f", "a/b/c/f"):
        (top / name).touch()
    (top / "a" / "link").symlink_to("/")
    os.mkfifo(top / "e" / "pipe")
    return top


def test_a_tree_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    top, beside = tree(tmp_path / "top"), tree(tmp_path / "beside")
    (top / "out").symlink_to(beside)
    before = descriptors()
    removed(top)
    removed(tmp_path / "nothing")
    (tmp_path / "file").touch()
    removed(tmp_path / "file")
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == [beside]
    assert (beside / "a" / "b" / "c" / "f").exists()


@pytest.mark.parametrize("mode", [0, 0o300, 0o500, 0o600, 0o077])
def test_directories_that_their_owner_may_not_enter(shared: Path, mode: int) -> None:
    def work() -> None:
        top = tree(shared / "top")
        for path in (top / "a" / "b", top / "a", top):
            path.chmod(mode)
        removed(top)
        assert not top.exists()

    as_ordinary_user(work)


def test_what_cannot_be_removed_does_not_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tree(tmp_path / "top")
    unlink, rmdir = os.unlink, os.rmdir

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "pipe":
            raise PermissionError
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    before = descriptors()
    removed(top)
    assert descriptors() == before and os.rmdir is rmdir
    assert sorted(path.name for path in top.rglob("*")) == ["e", "pipe"]


def test_a_directory_that_is_moved_meanwhile_leads_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back is believed only while it leads to where we came from."""
    top, elsewhere = tree(tmp_path / "top"), tree(tmp_path / "elsewhere")
    unlink = os.unlink

    def move(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        inner = top / "a" / "b" / "c"
        if inner.exists() and not (inner / "f").exists():
            inner.rename(elsewhere / "c")

    monkeypatch.setattr(os, "unlink", move)
    before = descriptors()
    removed(top)
    assert descriptors() == before
    assert {path.name for path in elsewhere.iterdir()} == {"a", "c", "e", "f"}
    assert (elsewhere / "a" / "b" / "c" / "f").exists()
