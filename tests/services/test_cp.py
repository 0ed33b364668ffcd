"""cp and shell: files out of executables and into new ones, as docker and podman copy them."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from layout import directory, entry, file, pax, symlink, tar_of, write_layout
from support import FIXTURES, TOOL, dockerc, failed, need

FILES = [
    directory("d", mode=0o750), file("d/f", b"content", mode=0o640),
    file("d/set", b"x", mode=0o4755), directory("d/inner"), file("d/inner/g", b"g" * 700_000),
    symlink("d/up", "../e"), entry("d/same", tarfile.LNKTYPE, linkname="d/f", mode=0o640),
    directory("e"), file("e/h", b"h"), symlink("link", "d"),
    symlink("file", "/d/f"), entry("fifo", tarfile.FIFOTYPE), file("hole", bytes(3_000_000)),
    symlink("away", "/e/none"), file("top"), directory("rest"), file("owned", uid=7, gid=8),
]  # fmt: skip


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    layout = write_layout(place / "cp.layout", [tar_of(*FILES)])
    dockerc("build", "-q", f"oci:{layout}", "--arch", "amd64", "-o", place / "cp.app")
    return place / "cp.app"


def tar(app: Path, path: str, *options: str) -> tarfile.TarFile:
    done = subprocess.run([*TOOL, "cp", *options, f"{app}:{path}", "-"], capture_output=True)
    assert done.returncode == 0, done.stderr
    return tarfile.open(fileobj=io.BytesIO(done.stdout))


def described(archive: tarfile.TarFile) -> dict[str, tuple[Any, ...]]:
    found = {}
    for info in archive.getmembers():
        data = archive.extractfile(info) if info.isreg() else None
        found[info.name.rstrip("/")] = (
            info.type, oct(info.mode), info.uid, info.gid, int(info.mtime), info.linkname,
            data.read() if data else b"",
        )  # fmt: skip
    return found


# Out, as a tar


def test_a_tar_of_a_directory(app: Path) -> None:
    names = ["d", "d/f", "d/inner", "d/inner/g", "d/same", "d/set", "d/up"]
    with tar(app, "/d") as archive:
        assert sorted(archive.getnames()) == names
        assert (archive.getmember("d").mode, archive.getmember("d/set").mode) == (0o750, 0o4755)
        assert archive.getmember("d/same").linkname == "d/f"
        inner = archive.extractfile("d/inner/g")
        assert inner and inner.read() == b"g" * 700_000
    below = [name.removeprefix("d/") for name in names[1:]]
    for path, expected in {
        "/link": ["link"],
        "/link/": ["link", *(f"link/{name}" for name in below)],
        "/d/.": [".", *below],
        "d/f": ["f"],
        "/d/inner/../f": ["f"],
        "fifo": ["fifo"],
    }.items():
        with tar(app, path) as archive:
            assert sorted(archive.getnames()) == sorted(expected), path
    with tar(app, "link", "-L") as archive:
        assert "link/inner/g" in archive.getnames()
    with tar(app, "/") as archive:
        assert {"d/f", "top", "e/h"} <= set(archive.getnames())


def test_the_tar_is_podman_s(shared: Path) -> None:
    need("podman")
    storage = ["--root", str(shared / "root"), "--runroot", str(shared / "run")]
    podman = ["podman", *storage, "--storage-driver", "vfs"]
    plain = [each for each in FILES if "fifo" not in str(each)]
    layout = write_layout(shared / "layout", [tar_of(*plain)])
    # podman makes a name of the path, which not every path can be.
    words = [*podman, "pull", "-q", f"oci:{layout.name}"]
    pulled = subprocess.run(words, cwd=layout.parent, capture_output=True, text=True)
    if os.geteuid() or pulled.returncode:
        pytest.skip(f"podman cannot keep images here: {pulled.stderr[-300:]}")
    created = [*podman, "create", "--net", "none", pulled.stdout.strip()]
    name = subprocess.run(created, check=True, capture_output=True, text=True).stdout.strip()
    dockerc("build", "-q", f"oci:{layout}", "-o", shared / "app")
    for path in ("/d", "/d/f", "/e"):
        copied = subprocess.run(
            [*podman, "cp", f"{name}:{path}", "-"], check=True, capture_output=True
        )
        with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
            theirs = described(archive)
        assert described(tar(shared / "app", path)) == theirs
    subprocess.run([*podman, "rm", "-f", name], check=True, capture_output=True)


def test_attributes_that_no_tar_can_hold(tmp_path: Path) -> None:
    layer = tar_of(pax("f", {"SCHILY.xattr.user.quaint": "value"}))
    layout = write_layout(tmp_path / "layout", [layer])
    app = tmp_path / "app"
    stored = ["--compression", "none", "--arch", "amd64"]
    dockerc("build", "-q", f"oci:{layout}", *stored, "-o", app)
    with tar(app, "/f") as archive:
        assert archive.getmember("f").pax_headers == {"SCHILY.xattr.user.quaint": "value"}
    data = app.read_bytes()
    assert data.count(b"quaint") == 1
    app.write_bytes(data.replace(b"quaint", b"\xff\xfe\xfd\xfcnt"))
    for words in (["cp", f"{app}:/f", "-"], ["extract", app, "--oci", tmp_path / "out"]):
        assert "a name that no tar can hold" in failed(*words)
    assert not (tmp_path / "out").exists()


# Out, to this machine


def test_a_file(app: Path, tmp_path: Path) -> None:
    dockerc("cp", f"{app}:/d/f", tmp_path / "new")
    status = (tmp_path / "new").stat()
    assert (tmp_path / "new").read_bytes() == b"content"
    assert (stat.S_IMODE(status.st_mode), int(status.st_mtime)) == (0o640, 1_700_000_000)
    dockerc("cp", f"{app}:/d/f", tmp_path)
    assert (tmp_path / "f").read_bytes() == b"content"
    dockerc("cp", f"{app}:/d/inner/g", tmp_path / "new")  # as cp, over what is there
    assert (tmp_path / "new").stat().st_size == 700_000
    dockerc("cp", f"{app}:/hole", tmp_path / "hole")
    assert (tmp_path / "hole").read_bytes() == bytes(3_000_000)
    assert (tmp_path / "hole").stat().st_blocks == 0
    dockerc("cp", f"{app}:/d/set", tmp_path / "set")
    assert stat.S_IMODE((tmp_path / "set").stat().st_mode) == 0o755


def test_symlinks(app: Path, tmp_path: Path) -> None:
    dockerc("cp", f"{app}:/file", tmp_path / "link")
    assert str((tmp_path / "link").readlink()) == "/d/f"
    assert "is there already" in failed("cp", f"{app}:/file", tmp_path / "link")
    dockerc("cp", "-L", f"{app}:/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_directory(app: Path, tmp_path: Path) -> None:
    dockerc("cp", f"{app}:/d", tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "f", "inner", "same", "set", "up"
    ]  # fmt: skip
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750
    assert (tmp_path / "new/f").samefile(tmp_path / "new/same")
    told = dockerc("cp", f"{app}:/d", tmp_path)
    assert (tmp_path / "d" / "inner" / "g").stat().st_size == 700_000
    assert "set-user-ID" in told.stderr
    (tmp_path / "empty").mkdir()
    dockerc("cp", f"{app}:/d/.", tmp_path / "empty")
    assert (tmp_path / "empty" / "f").read_bytes() == b"content"
    assert "not empty" in failed("cp", f"{app}:/d/.", tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owners(app: Path, tmp_path: Path) -> None:
    dockerc("cp", f"{app}:/owned", tmp_path)
    status = (tmp_path / "owned").stat()
    assert (status.st_uid, status.st_gid) == (7, 8)


def test_what_cannot_be_copied_out(app: Path, tmp_path: Path) -> None:
    for words, said in {
        (f"{app}:/none", str(tmp_path)): "has no /none",
        (f"{app}:/d/f/", str(tmp_path)): "has no /d/f/",
        (f"{app}:/d/f", f"{tmp_path}/none/"): "no directory",
        (f"{app}:/d/f", f"{tmp_path}/none/f"): "cannot write into",
        (f"{app}:/fifo", str(tmp_path)): "gives it in a tar",
        (f"{app}:/away", "-", "-L"): "has no /away",
    }.items():
        assert said in failed("cp", *words)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text").write_text("text")
    assert "not a dockerc executable" in failed("cp", f"{tmp_path}/text:/x", tmp_path)
    for wrong in ([app, "x"], ["none:/x", "y"], [f"{app}:/a", f"{app}:/b", "c"], ["x"]):
        assert "dockerc cp" in failed("cp", *wrong, status=2)
    said = failed("cp", tmp_path / "text", f"{app}:/x", status=2)
    assert said.endswith(f"name the executable to write: `dockerc cp SRC {app}:/x NEW`")


def test_names_with_colons(app: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.write_bytes(app.read_bytes())
    dockerc("cp", f"{odd}:/d/f", tmp_path / "c:d")
    assert (tmp_path / "c:d").read_bytes() == b"content"
    dockerc("cp", tmp_path / "c:d", f"{odd}:/e:f", tmp_path / "new")
    assert dockerc("cat", tmp_path / "new", "/e:f").stdout == "content"


# In


def listed(app: Path) -> dict[str, tuple[Any, ...]]:
    rows = json.loads(dockerc("ls", "-R", "--json", app).stdout)
    fields = ("type", "mode", "uid", "gid", "size", "mtime", "target")
    return {row["path"]: tuple(row[field] for field in fields) for row in rows}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree of this machine."""
    top = tmp_path / "source"
    (top / "inner").mkdir(parents=True)
    (top / "large").write_bytes(os.urandom(1_300_000))
    (top / "inner" / "small").write_text("small")
    (top / "inner" / "empty").touch()
    (top / "inner" / "link").symlink_to("../large")
    (top / "hole").write_bytes(b"")
    os.truncate(top / "hole", 2_000_000)
    (top / "large").chmod(0o754)
    os.utime(top / "large", (0, 1_600_000_000))
    return top


def test_a_file_goes_in(app: Path, source: Path, tmp_path: Path) -> None:
    new, before = tmp_path / "new", app.read_bytes()
    dockerc("cp", source / "large", f"{app}:/e/big", new)
    assert app.read_bytes() == before
    rows = listed(new)
    assert rows.pop("e/big") == ("file", "0754", 0, 0, 1_300_000, 1_600_000_000, None)
    assert rows == listed(app)
    done = subprocess.run([*TOOL, "cat", str(new), "/e/big"], capture_output=True)
    assert done.stdout == (source / "large").read_bytes()
    dockerc("verify", new)
    config = [dockerc("inspect", "--config", each).stdout for each in (app, new)]
    assert config[0] == config[1]


@pytest.mark.parametrize(
    ("what", "where", "made"),
    [
        ("large", "/", ["large"]),
        ("large", "/link", ["d/large"]),  # a symlink to a directory is one
        ("large", "/link/", ["d/large"]),
        ("large", "/file", ["d/f"]),  # and one to a file is followed
        ("large", "/away", ["e/none"]),
        ("large", "/top", ["top"]),
        ("large", "rest/x", ["rest/x"]),
        (
            "inner",
            "/rest",
            ["rest/inner", "rest/inner/empty", "rest/inner/link", "rest/inner/small"],
        ),
        ("inner", "/rest/x", ["rest/x", "rest/x/empty", "rest/x/link", "rest/x/small"]),
        ("inner", "/d", ["d/inner/empty", "d/inner/link", "d/inner/small"]),
        ("inner/.", "/d", ["d/empty", "d/link", "d/small"]),
        ("inner/link", "/rest", ["rest/link"]),
        ("inner/empty", "/rest", ["rest/empty"]),
        ("hole", "/d", ["d/hole"]),
    ],
)
def test_where_it_goes(
    app: Path, source: Path, tmp_path: Path, what: str, where: str, made: list[str]
) -> None:
    before = listed(app)
    dockerc("cp", f"{source}/{what}", f"{app}:{where}", tmp_path / "new")
    after = listed(tmp_path / "new")
    assert sorted(path for path in after if after[path] != before.get(path)) == made
    assert set(before) <= set(after)
    dockerc("verify", tmp_path / "new")


def test_in_place_and_the_kernel_s_own_squashfs(hello: Path, source: Path, tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.write_bytes(hello.read_bytes())
    app.chmod(0o755)
    dockerc("cp", source, f"{app}:/home", app)
    need("unsquashfs")
    dockerc("extract", app, tmp_path / "out.sqfs")
    listing = ["unsquashfs", "-d", tmp_path / "tree", "-no-xattrs", tmp_path / "out.sqfs"]
    subprocess.run(listing, check=True, capture_output=True)
    copied = tmp_path / "tree" / "rootfs" / "home" / "source"
    for name in ("large", "hole", "inner/small", "inner/empty"):
        assert (copied / name).read_bytes() == (source / name).read_bytes()
    assert str((copied / "inner" / "link").readlink()) == "../large"
    assert subprocess.run([app], capture_output=True).stdout.startswith(b"Hello")


def test_what_cannot_go_in(app: Path, source: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    os.mkfifo(tmp_path / "fifo")
    for words, said in {
        (f"{source}/large", f"{app}:/none/x"): "has no directory for /none/x",
        (f"{source}/large", f"{app}:/none/"): "has no directory for /none/",
        (f"{source}/large", f"{app}:/top/x"): "has no directory for /top/x",
        (str(source), f"{app}:/top"): "no directory takes its place",
        (f"{source}/none", f"{app}:/d"): "No such file",
        (f"{tmp_path}/fifo", f"{app}:/d"): "no file, directory or symlink",
    }.items():
        assert said in failed("cp", *words, new)
    (source / "d").write_text("a file where the image has a directory")
    assert "is a directory of its image" in failed("cp", source / "d", f"{app}:/", new)
    assert not new.exists() and not list(tmp_path.glob(".*"))


def test_loops_of_symlinks(tmp_path: Path) -> None:
    layers = [tar_of(symlink("a", "b"), symlink("b", "/a"), directory("d"))]
    layout = write_layout(tmp_path / "layout", layers)
    app = tmp_path / "app"
    dockerc("build", "-q", f"oci:{layout}", "--arch", "amd64", "-o", app)
    for path in ("/a", "/a/x"):
        assert "loop of symlinks" in failed("cp", __file__, f"{app}:{path}", tmp_path / "new")
    assert "loop of symlinks" in failed("cp", "-L", f"{app}:/a", tmp_path / "new")


def test_trees_that_are_too_deep(app: Path, tmp_path: Path) -> None:
    depth, here = 1030, os.open(tmp_path, os.O_RDONLY)
    for number in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if number == 1010:
            dockerc("cp", tmp_path / "d", f"{app}:/rest", tmp_path / "new")
            dockerc("cp", tmp_path / "d", f"{tmp_path}/new:/rest", tmp_path / "again")
            dockerc("verify", tmp_path / "again")
    os.close(here)
    said = failed("cp", tmp_path / "d", f"{app}:/rest", tmp_path / "deep")
    # Deeper than Python's own removal goes, which pytest would end with.
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)
    assert "too deep" in said and not (tmp_path / "deep").exists()


def test_the_same_input_gives_the_same_bytes(app: Path, source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        dockerc("cp", source, f"{app}:/rest", tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


# A shell


@pytest.fixture(scope="module")
def shells(place: Path) -> Path:
    """An image whose sh is the fixture's program, which prints its arguments."""
    program = subprocess.run(
        [*TOOL, "cp", f"{_built(place)}:/bin/hello", "-"], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(program)) as archive:
        data = archive.extractfile("hello")
        assert data
        words = data.read()
    layers = [tar_of(directory("bin"), file("bin/sh", words, mode=0o755))]
    settings = {"Entrypoint": ["/bin/none"], "Cmd": ["args", "of", "the", "image"]}
    layout = write_layout(place / "shell.layout", layers, settings)
    dockerc("build", "-q", f"oci:{layout}", "-o", place / "shell")
    return place / "shell"


def _built(place: Path) -> Path:
    dockerc("build", "-q", f"oci:{FIXTURES}/hello", "-o", place / "hello.for.shell")
    return place / "hello.for.shell"


def test_a_shell_in_place_of_the_program(shells: Path) -> None:
    assert dockerc("shell", shells).stdout.startswith("Hello")
    done = dockerc("shell", shells, "-e", "A=1", "--", "args", "-c", "--", "x")
    assert done.stdout.split() == ["-c", "--", "x"]


def test_bash_goes_before_sh(deb: Path, tmp_path: Path) -> None:
    done = dockerc("shell", deb, input="echo $BASH; pwd\n", cwd=tmp_path)
    assert done.stdout.splitlines() == ["/bin/bash", "/"]
    done = dockerc("shell", deb, "-w", "/etc", "-e", "A=7", "--", "-c", "echo $A $PWD; exit 3",
                   check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (3, "7 /etc\n")


def test_no_shell(hello: Path, shells: Path) -> None:
    assert failed("shell", hello).endswith("its image has no shell: neither bash nor sh")
    assert "unknown option --nope" in failed("shell", shells, "--nope", status=2)
    assert "put -- before" in failed("shell", shells, "ls", status=2)
    assert "not a dockerc executable" in failed("shell", __file__)


def test_no_shell_by_a_runtime_that_is_not_ours(shells: Path, tmp_path: Path) -> None:
    data = shells.read_bytes().replace(b"dockerc-help", b"another-help")
    (tmp_path / "app").write_bytes(data)
    (tmp_path / "app").chmod(0o755)
    assert "`dockerc replace` gives it ours" in failed("shell", tmp_path / "app")
    dockerc("replace", "--in-place", tmp_path / "app")
    assert dockerc("shell", tmp_path / "app").stdout.startswith("Hello")
