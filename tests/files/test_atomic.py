"""Files are there whole or not at all, on systems with and without nameless files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import FIXTURES, TOOL, need

from toolkit.errors import DockercError
from toolkit.files.atomic import atomic_file, check_writable
from toolkit.files.atomic_directory import atomic_directory


@pytest.fixture(params=["nameless", "named"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path to write, where temporary files have no name, and where they must have one."""
    if request.param == "named":
        monkeypatch.setattr("toolkit.files.atomic.NAMELESS", 0)
    return tmp_path / "target"


def test_a_file_is_replaced_when_all_went_well(target: Path) -> None:
    target.write_text("old")
    with atomic_file(target, 0o755) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_failure_leaves_the_old_file_and_nothing_else(target: Path) -> None:
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(target, 0o755) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_full_disk_is_told_with_the_name(target: Path) -> None:
    with pytest.raises(DockercError, match="target: No space left"), atomic_file(target, 0o755):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(target.parent.iterdir()) == []


@contextmanager
def named_file(path: Path) -> Iterator[Path]:
    """atomic_file, and the name that its file has meanwhile."""
    with atomic_file(path, 0o644) as file:
        yield path.parent / Path(f"/proc/self/fd/{file.fileno()}").readlink().name


@contextmanager
def named_directory(path: Path) -> Iterator[Path]:
    """atomic_directory, and the name that its directory has meanwhile."""
    with atomic_directory(path) as directory:
        yield path.parent / Path(f"/proc/self/fd/{directory.descriptor}").readlink().name


@pytest.mark.parametrize("write", [named_file, named_directory])
def test_what_a_killed_writer_left_goes_and_a_living_one_s_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Any]
) -> None:
    monkeypatch.setattr("toolkit.files.atomic.NAMELESS", 0)
    target, other = tmp_path / "target", tmp_path / ".target.precious"
    other.touch()
    child = os.fork()
    if not child:
        with write(target) as new:
            (new if new.is_file() else new / "file").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = set(tmp_path.iterdir()) - {other}
    with write(target) as living:
        assert not left.exists() and living.exists()
        with write(tmp_path / "target") as second:
            assert set(tmp_path.iterdir()) == {other, living, second}
    assert set(tmp_path.iterdir()) == {other, target}


@pytest.mark.root("only root can give files away")
def test_another_user_s_symlink_in_tmp_is_not_followed(target: Path) -> None:
    target.write_text("mine")
    shared = target.parent / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "app"
    link.symlink_to(target)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    for write in (lambda: atomic_file(link, 0o755).__enter__(), lambda: check_writable(link)):
        with pytest.raises(DockercError, match="another user's symlink"):
            write()
    assert target.read_text() == "mine"
    shared.chmod(0o755)
    check_writable(link)


def test_a_symlink_is_followed(target: Path) -> None:
    link = target.parent / "link"
    link.symlink_to("target")
    with atomic_file(link, 0o644) as file:
        file.write(b"through")
    assert link.is_symlink() and target.read_text() == "through"


def test_what_takes_the_name_meanwhile_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with atomic_file(path, 0o644) as file:
        file.write(b"ours")
        path.write_bytes(b"another's")
    assert path.read_bytes() == b"ours"
    assert [each.name for each in tmp_path.iterdir()] == ["new"]


def test_a_name_that_is_refused_is_told(tmp_path: Path) -> None:
    need("strace")
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=linkat:error=EPERM", *TOOL]
    words = ["build", "-q", f"oci:{FIXTURES}/hello", "-o", tmp_path / "new"]
    done = subprocess.run([*command, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "dockerc: new: Operation not permitted\n")
    assert list(tmp_path.iterdir()) == []
