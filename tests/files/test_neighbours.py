"""Writing into directories where others can rename: nothing but our own file or tree is touched.

Each race is made deterministic: the neighbour acts at the very moment that an attack would wait
for, a thousand times as fast as the real one could.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from layout import directory, entry, file, tar_of, write_layout
from support import dockerc, failed
from tree_support import ELSEWHERE, as_ordinary_user

from toolkit.errors import DockercError
from toolkit.executable.executable import open_executable
from toolkit.files import temporary as unfinished
from toolkit.files.atomic import atomic_file
from toolkit.files.atomic_directory import atomic_directory
from toolkit.services.export import directory as export_directory
from toolkit.services.export.bundle import write_bundle, write_rootfs

as_root = pytest.mark.root("only root can be led by a user's names")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file elsewhere that nobody may touch."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_text("precious")
    path.chmod(0o600)
    return path


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A directory of a user, into which root writes."""
    path = tmp_path / "users"
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    return path


def untouched(path: Path) -> bool:
    """As it was made."""
    return path.read_text() == "precious" and stat.S_IMODE(path.stat().st_mode) == 0o600


def unfinished_in(path: Path) -> list[Path]:
    return [each for each in path.iterdir() if each.name.endswith(".dockerc")]


@pytest.mark.parametrize("step", ["fsync", "chmod", "fchmod", "rename", "replace"])
@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_swapped_for_a_link_at_any_step(
    users: Path, precious: Path, monkeypatch: pytest.MonkeyPatch, step: str, nameless: bool
) -> None:
    """Before each call that an attack has tried, what is being written becomes a link elsewhere."""
    if not nameless:
        monkeypatch.setattr("toolkit.files.atomic.NAMELESS", 0)

    def swap() -> None:
        for name in unfinished_in(users):
            name.unlink()
            name.symlink_to(precious)

    original = getattr(os, step)

    def swapped(*arguments: Any, **named: Any) -> Any:
        swap()
        return original(*arguments, **named)

    monkeypatch.setattr(os, step, swapped)
    try:
        with atomic_file(users / "app", 0o755) as made:
            made.write(b"new")
            swap()
    except DockercError as error:
        assert "moved or replaced" in str(error)
    monkeypatch.undo()
    assert untouched(precious)


@as_root
def test_a_race_for_the_name_of_a_file(shared: Path, precious: Path) -> None:
    """As it was first seen: a user's loop that swaps the name, while root writes there."""
    users = shared
    swapper = f"""
import os
while True:
    for name in os.listdir({str(users)!r}):
        if name.endswith(".dockerc"):
            try:
                os.rename({str(users)!r} + "/" + name, {str(users)!r} + "/taken")
                os.symlink({str(precious)!r}, {str(users)!r} + "/" + name)
            except OSError:
                pass
"""
    command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    with subprocess.Popen([*command, sys.executable, "-c", swapper]) as other:
        try:
            for _ in range(150):
                try:
                    with atomic_file(users / "app", 0o755, sync=False) as made:
                        made.write(b"new")
                except (DockercError, OSError):
                    pass
                assert untouched(precious)
        finally:
            other.kill()


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    """A tree with some of everything that takes rights."""
    layers = [tar_of(
        directory("bin"), file("bin/su", b"x", mode=0o6755), file("plain", b"x" * 5000),
        entry("null", b"3", devmajor=1, devminor=3), directory("s", mode=0o3777),
        entry("cap", pax_headers={"SCHILY.xattr.security.capability":
              (b"\1\0\0\2\0\x20\0\0" + bytes(12)).decode("latin-1"),
              "SCHILY.xattr.user.mine": "1"}),
    )]  # fmt: skip
    layout = write_layout(place / "neighbours.layout", layers)
    dockerc("build", f"oci:{layout}", "-o", place / "neighbours")
    return place / "neighbours"


@contextmanager
def moved_while_written(
    users: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The neighbour takes the directory away and puts a link in its place, before any file."""
    original = export_directory.check_tree_room

    def swap(*arguments: Any) -> None:
        original(*arguments)
        for name in unfinished_in(users):
            name.rename(users / "taken")
            name.symlink_to(elsewhere)

    monkeypatch.setattr(export_directory, "check_tree_room", swap)
    yield
    monkeypatch.undo()


@pytest.mark.parametrize("write", [write_rootfs, write_bundle])
def test_a_directory_swapped_for_a_link(
    users: Path,
    precious: Path,
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[..., object],
) -> None:
    with (
        open_executable(app) as executable,
        moved_while_written(users, precious.parent, monkeypatch),
        pytest.raises(DockercError, match="moved or replaced"),
    ):
        write(executable, users / "out")
    assert [path.name for path in precious.parent.iterdir()] == ["precious"]
    assert untouched(precious)


def test_a_directory_that_is_not_the_one_just_made(
    users: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    original = os.mkdir

    def swapped(name: str, *arguments: Any, **named: Any) -> None:
        original(name, *arguments, **named)
        for made in unfinished_in(users):
            made.rename(users / "taken")
            other.rename(made)

    monkeypatch.setattr(os, "mkdir", swapped)
    with pytest.raises(DockercError), atomic_directory(users / "out"):
        raise AssertionError("the directory is another one")
    monkeypatch.undo()
    (left,) = users.rglob("precious")
    assert left.exists()


@as_root
@pytest.mark.parametrize("way", ["out", "--rootfs", "--bundle", "--oci", "--docker-archive"])
def test_links_of_others_in_a_directory_of_everyone(app: Path, tmp_path: Path, way: str) -> None:
    """fs.protected_symlinks for every way out, and for each part of the path."""
    mine, everyones = tmp_path / "mine", tmp_path / "everyones"
    mine.mkdir()
    everyones.mkdir()
    everyones.chmod(0o1777)
    for name, target in (("link", mine / "out"), ("inner", mine)):
        (everyones / name).symlink_to(target)
        os.chown(everyones / name, 12345, 12345, follow_symlinks=False)
    option = [] if way == "out" else [way]
    for path in (everyones / "link", everyones / "inner" / "out"):
        assert "another user's symlink" in failed("extract", app, *option, path)
    assert list(mine.iterdir()) == []


def test_loops_of_symlinks(app: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for path in (tmp_path / "a", tmp_path / "a" / "out"):
        assert "a loop of symlinks" in failed("extract", app, path)


@as_root
def test_a_tree_that_is_removed_ends_where_another_mount_begins(tmp_path: Path) -> None:
    """What a killed extraction left, with somebody's directory bound into it."""
    precious, left = tmp_path / "precious", tmp_path / ".out.00000000.dockerc"
    precious.mkdir()
    (precious / "file").write_text("precious")
    (left / "a" / "bound").mkdir(parents=True)
    (left / "a" / "file").touch()
    (left / "bound-file").touch()
    program = f"""
import ctypes, pathlib, subprocess
for source, target in (({str(precious)!r}, {str(left / "a" / "bound")!r}),
                       ({str(precious / "file")!r}, {str(left / "bound-file")!r})):
    subprocess.run(["mount", "--bind", source, target], check=True)
from toolkit.files.temporary import sweep
sweep(pathlib.Path({str(tmp_path)!r}))
"""
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", program]
    subprocess.run(command, check=True)
    assert (precious / "file").read_text() == "precious"
    assert not (left / "a" / "file").exists() and (left / "a" / "bound").is_dir()
    unfinished.sweep(tmp_path)
    assert not left.exists() and (precious / "file").exists()


def test_a_deep_tree_is_removed(tmp_path: Path) -> None:
    """Deeper than descriptors are many and Python recurses."""
    top = os.open(tmp_path, os.O_RDONLY)
    for name in (".out.00000000.dockerc", *["d" * 200] * 1500):
        os.mkdir(name, dir_fd=top)
        below = os.open(name, os.O_RDONLY, dir_fd=top)
        os.close(top)
        top = below
    os.fchmod(top, 0)
    os.close(top)
    unfinished.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def modes(tree: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in tree.rglob("*")}


@as_root
@pytest.mark.parametrize("way", ["--rootfs", "--bundle"])
def test_rights_come_out_on_request_only(app: Path, tmp_path: Path, way: str) -> None:
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    told = dockerc("extract", app, way, plain).stderr
    for what in ("1 devices and sockets", "2 set-user-ID and set-group-ID bits",
                 "1 extended attributes security.capability"):  # fmt: skip
        assert f"not kept: {what} (--privileged-files keeps them)" in told
    found = modes(plain)
    assert "null" not in found and found["su"] == 0o755 and found["s"] == 0o1777
    (capable,) = plain.rglob("cap")
    assert os.listxattr(capable) == ["user.mine"]
    assert dockerc("extract", app, way, asked, "--privileged-files").stderr == ""
    found = modes(asked)
    assert found["su"] == 0o6755 and found["s"] == 0o3777
    (device,), (capable,) = asked.rglob("null"), asked.rglob("cap")
    assert device.stat().st_rdev == os.makedev(1, 3)
    assert sorted(os.listxattr(capable)) == ["security.capability", "user.mine"]
    for top in (plain, asked):
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
    assert "goes with" in failed("extract", app, tmp_path / "x", "--privileged-files", status=2)


@as_root
def test_an_ordinary_user_is_led_nowhere_either(app: Path, shared: Path) -> None:
    """Links of a third in a directory of everyone, a tree of theirs that is swapped, and rights."""
    everyones, theirs = shared / "everyones", shared / "theirs"
    for path in (everyones, theirs):
        path.mkdir()
        os.chown(path, ELSEWHERE, ELSEWHERE)
    os.chown(everyones, 0, 0)
    everyones.chmod(0o1777)
    (theirs / "file").write_text("precious")
    os.chown(theirs / "file", ELSEWHERE, ELSEWHERE)
    for name, target in (("link", theirs / "file"), ("inner", theirs)):
        (everyones / name).symlink_to(target)
        os.chown(everyones / name, 54321, 54321, follow_symlinks=False)

    def work() -> None:
        with open_executable(app) as executable:
            for path in (everyones / "link", everyones / "inner" / "out"):
                for write in (write_rootfs, write_bundle):
                    with pytest.raises(DockercError, match="another user's symlink"):
                        write(executable, path)
                with (
                    pytest.raises(DockercError, match="another user's symlink"),
                    atomic_file(path, 0o644),
                ):
                    raise AssertionError("it was opened")
            left_out = write_rootfs(executable, theirs / "out")
        assert any(what.startswith("set-user-ID") for what in left_out)
        assert stat.S_IMODE((theirs / "out").stat().st_mode) == 0o700
        assert modes(theirs / "out")["su"] == 0o755

    as_ordinary_user(work)
    assert (theirs / "file").read_text() == "precious"
    assert sorted(path.name for path in theirs.iterdir()) == ["file", "out"]
