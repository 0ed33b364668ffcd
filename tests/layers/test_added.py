"""`dockerc build --add-file`: what COPY of a Dockerfile does, without one."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from layout import directory, file, symlink, tar_of, write_layout
from support import FIXTURES, describe_tree, dockerc, failed, need

from toolkit.errors import UsageError
from toolkit.layers.added import parse_added

HELLO = f"oci:{FIXTURES}/hello"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory of all kinds."""
    top = tmp_path / "tree"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "deep" / "er").chmod(0o711)
    (top / "deep" / "note").write_text("hi\n")
    (top / "deep" / "tool").write_bytes(b"x" * 700_000)
    (top / "deep" / "tool").chmod(0o755)
    (top / "link").symlink_to("deep/note")
    (top / "broken").symlink_to("/nowhere")
    for path in (top, *top.rglob("*")):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    return top


def files_of(app: Path) -> dict[str, tuple[object, ...]]:
    target = app.with_name(f"{app.name}-files")
    dockerc("extract", app, "--rootfs", target)
    return describe_tree(target)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """One with a directory that is a link's, and a file of another owner."""
    layer = tar_of(
        directory("usr"), directory("usr/bin", mode=0o700), symlink("bin", "usr/bin"),
        file("etc/conf", b"old", uid=7),
    )  # fmt: skip
    return write_layout(tmp_path / "image", [layer])


def test_files_and_directories_are_added(tmp_path: Path, tree: Path, image: Path) -> None:
    app, added = tmp_path / "app", []
    for pair in (f"{tree}:/new/dir", f"{tree}/deep:/bin", f"{tree}/deep/note:/etc/conf",
                 f"{tree}/link:/opt/"):  # fmt: skip
        added += ["--add-file", pair]
    dockerc("build", "-q", f"oci:{image}", "-o", app, *added)
    found, here = files_of(app), describe_tree(tree)
    for name, facts in here.items():
        mode, *_, content, _ = found[os.path.normpath(f"new/dir/{name}")]
        assert (mode, content) == (facts[0], facts[7]), name
    assert {"usr/bin/note", "usr/bin/tool", "usr/bin/er"} <= set(found)
    assert found["usr/bin"][0] == "0o40700" and found["bin"][7] == b"usr/bin"  # as they were
    assert found["etc/conf"][0] == "0o100644" and found["opt/link"][7] == here["deep/note"][7]
    assert found["usr/bin/tool"][5] == 1_700_000_000
    assert dockerc("ls", "-l", app, "/etc").stdout.split()[1:3] != ["7", "7"]
    told = dockerc("inspect", app).stdout
    assert "--add-file" in told
    dockerc("build", "-q", f"oci:{image}", "-o", tmp_path / "again", *added)
    assert (tmp_path / "again").read_bytes() == app.read_bytes()


def test_it_is_what_copy_makes_of_it(tmp_path: Path, tree: Path) -> None:
    """buildah, on the same directory."""
    need("buildah")
    if os.geteuid() != 0:
        pytest.skip("only root has subordinate ids everywhere")
    store = ["--root", tmp_path / "root", "--runroot", tmp_path / "run", "--storage-driver", "vfs"]

    def buildah(*words: str | Path) -> str:
        done = subprocess.run(["buildah", *store, *words], check=True, capture_output=True)
        return done.stdout.decode().strip()

    work = buildah("from", "scratch")
    buildah("copy", work, tree, "/new/dir")
    buildah("commit", "-q", work, f"oci:{tmp_path}/theirs:latest")
    buildah("rm", work)
    empty = write_layout(tmp_path / "empty", [tar_of(directory("new"))])
    pair = f"{tree}:/new/dir"
    dockerc("build", "-q", f"oci:{empty}", "-o", tmp_path / "ours", "--add-file", pair)
    dockerc("build", "-q", f"oci:{tmp_path}/theirs", "-o", tmp_path / "its")
    ours, its = files_of(tmp_path / "ours"), files_of(tmp_path / "its")
    below = [name for name in its if name.startswith("new/dir/")]
    assert len(below) == 6 and {name: ours[name] for name in below} == {
        name: its[name] for name in below
    }


@pytest.mark.parametrize("text", ["a", ":/b", "a:b", "a:", "a:/../b", "a:/b/../c", "/:/", "a:/."])
def test_what_is_no_pair(text: str) -> None:
    with pytest.raises(UsageError, match="--add-file"):
        parse_added(text)


def test_where_it_goes() -> None:
    assert parse_added("a/b:/c").target == "c"
    assert parse_added("a/b:/c/").target == "c/b" and parse_added("a:/").target == "a"
    assert parse_added(".:/c/").target == f"c/{Path.cwd().name}"
    assert parse_added("a:b:/c//./d").target == "c/d" and str(parse_added("a:b:/c").source) == "a:b"


def test_what_cannot_be_added(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / ".wh.passwd").write_text("")
    for name, told in (
        ("none", "none does not exist"),
        ("socket", "socket is no file, directory or symbolic link"),
        (".wh.passwd", ".wh. before a name removes a file"),
    ):
        words = ["build", "-q", HELLO, "-o", tmp_path / "app"]
        assert told in failed(*words, "--add-file", f"{tmp_path / name}:/x/")
        assert not (tmp_path / "app").exists()
    assert "write SOURCE:/DESTINATION" in failed(*words, "--add-file", "x", status=2)
