"""ls, cat, verify, diff, edit and run."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from corpus import CORPUS
from layout import directory, file, symlink, tar_of, write_layout
from support import FIXTURES, TOOL, Runner, dockerc, failed

from toolkit.commands.progress_display import Silent
from toolkit.executable.executable import open_executable
from toolkit.executable.payload import find_in_image
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.open import open_image
from toolkit.images.source import Platform
from toolkit.services.pull import Pull
from toolkit.services.run_cache import app_of

HELLO = f"oci:{FIXTURES}/hello"
LARGE = random.Random(0).randbytes(2 << 20)
TREE = [
    directory("d", mode=0o750, uid=7, gid=8),
    file("d/large", LARGE),
    file("d/small", b"small\n", mode=0o600),
    symlink("d/up", "../top"),
    file("top", b"top\n"),
    symlink("to-d", "/d"),
    symlink("loop", "loop"),
]


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    layout = write_layout(place / "tree.layout", [tar_of(*TREE)])
    dockerc("build", f"oci:{layout}", "-o", place / "tree")
    return place / "tree"


def variant(place: Path, name: str, *changes: object) -> Path:
    """An executable of the same tree with these entries after it."""
    layers = [tar_of(*TREE), tar_of(*changes)]  # type: ignore[arg-type]
    layout = write_layout(place / f"{name}.layout", layers)
    dockerc("build", f"oci:{layout}", "-o", place / name)
    return place / name


def test_ls(app: Path) -> None:
    assert dockerc("ls", app).stdout == "d\nloop\nto-d\ntop\n"
    assert dockerc("ls", app, "/to-d").stdout == "large\nsmall\nup\n"
    assert dockerc("ls", app, "d/up").stdout == "d/up\n"
    listed = dockerc("ls", "-R", app).stdout.splitlines()
    assert listed == ["d", "d/large", "d/small", "d/up", "loop", "to-d", "top"]
    lines = dockerc("ls", "-l", app, "/d").stdout.splitlines()
    assert lines[1].split() == ["-rw-------", "1", "0", "0", "6", "2023-11-14", "22:13", "small"]
    assert lines[2].startswith("lrwxrwxrwx") and lines[2].endswith("up -> ../top")
    assert "has no /nope" in failed("ls", app, "/nope")
    assert "loop of symlinks" in failed("ls", app, "/loop")
    found = {row["path"]: row for row in json.loads(dockerc("ls", "-R", "--json", app).stdout)}
    assert found["d"] | {"links": 2} == {
        "path": "d", "type": "directory", "mode": "0750", "uid": 7, "gid": 8, "size": None,
        "mtime": 1_700_000_000, "links": 2, "target": None, "device": None,
    }  # fmt: skip
    assert found["d/up"]["target"] == "../top" and found["d/large"]["size"] == len(LARGE)


def test_cat(app: Path) -> None:
    done = subprocess.run([*TOOL, "cat", app, "/d/large", "d/up"], check=True, capture_output=True)
    assert done.stdout == LARGE + b"top\n"
    assert "has no regular file /d" in failed("cat", app, "/d")
    assert "has no /nope" in failed("cat", app, "/nope")


def test_a_reader_that_has_seen_enough(app: Path) -> None:
    command = " ".join(f"'{word}'" for word in [*TOOL, "cat", str(app), "/d/large"])
    done = subprocess.run(["sh", "-c", f"{command} | head -c 1"], capture_output=True)
    assert (done.stdout, done.stderr) == (LARGE[:1], b"")


def test_verify(app: Path, hello: Path) -> None:
    told = dockerc("verify", app, hello).stdout.splitlines()
    assert [line.split(":")[0] for line in told] == [str(app), str(hello)]
    assert all("whole" in line and "SHA-256 is as recorded" in line for line in told)


def test_verify_tells_a_changed_bit_anywhere(app: Path, tmp_path: Path) -> None:
    data = bytearray(app.read_bytes())
    with open_executable(app) as executable:
        start, end = executable.footer.offset, executable.payload_end
    for at in (start + 8, start + 100, (start + end) // 2, end - 1):
        changed = data.copy()
        changed[at] ^= 1
        (tmp_path / "app").write_bytes(changed)
        done = dockerc("verify", tmp_path / "app", check=False)
        assert done.returncode == 1 and "changed after it was built" in done.stderr


def test_verify_tells_every_damaged_file(app: Path, tmp_path: Path) -> None:
    """And goes on with the next executable; of a great many it tells some and counts the rest."""
    names = [f"f{number:02}" for number in range(30)]
    tree = [file(f"d/{name}", random.Random(name).randbytes(5000)) for name in names]
    layout = write_layout(tmp_path / "layout", [tar_of(*tree)])
    made, bad = tmp_path / "made", tmp_path / "bad"
    dockerc("build", f"oci:{layout}", "-o", made, "--compression", "none", "--block-size", "4K")
    sound = made.read_bytes()
    with open_executable(made) as executable:
        start = executable.footer.offset
    for broken in (["f03", "f20"], names):
        data = bytearray(sound)
        for name in broken:
            # Stored as it is, so the block must be made one that does not decode.
            content = random.Random(name).randbytes(5000)
            word = struct.pack("<I", 4096 | 1 << 24)
            at = data.index(content[:4096]) - start
            inode = data.index(struct.pack("<IIII", at, *fragment_of(made, f"d/{name}"), 5000))
            assert data[inode + 16 : inode + 20] == word
            data[inode + 16 : inode + 20] = struct.pack("<I", 4096)
        bad.write_bytes(data)
        done = dockerc("verify", bad, app, check=False)
        assert done.returncode == 1 and done.stdout.startswith(f"{app}: whole")
        first, *told = done.stderr.splitlines()
        assert "changed after it was built" in first
        shown = broken[:19]
        expected = [f"dockerc: {bad}: /rootfs/d/{name}: a block" for name in shown]
        assert [line[: len(e)] for line, e in zip(told, expected, strict=False)] == expected
        rest = [f"dockerc: {bad}: and {len(broken) - 19} more"] if len(broken) > 19 else []
        assert told[len(shown) :] == rest


def fragment_of(app: Path, path: str) -> tuple[int, int]:
    with open_executable(app) as executable:
        _, node = find_in_image(executable, path)
        assert node is not None
        return node.fragment, node.fragment_offset


def test_verify_goes_on_behind_a_damaged_directory(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", [tar_of(
        file("a/xyzzy", b"x"), file("b/other", b"y"), file("c/plugh", b"z")
    )])  # fmt: skip
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app", "--compression", "none")
    data = (tmp_path / "app").read_bytes()
    (tmp_path / "app").write_bytes(data.replace(b"xyzzy", b"xy/zy").replace(b"plugh", b"pl\0gh"))
    told = dockerc("verify", tmp_path / "app", check=False).stderr.splitlines()
    assert [line.split(": ")[2:] for line in told[1:]] == [
        ["/rootfs/a", "a name in its squashfs is not valid", "xy/zy"],
        ["/rootfs/c", "a name in its squashfs is not valid", "pl\\x00gh"],
    ]


def test_verify_compares_with_the_image(app: Path, place: Path) -> None:
    layout = place / "tree.layout"
    told = dockerc("verify", "--reference", f"oci:{layout}", app).stdout
    assert f"it is oci:{layout}" in told
    other = variant(place, "other", file("d/small", b"other\n", mode=0o600))
    sentence = failed("verify", "--reference", f"oci:{layout}", other)
    assert "/d/small differs in content" in sentence
    other = variant(place, "more", file("d/new", b""))
    assert "/d/new is not in the image" in failed("verify", "--reference", f"oci:{layout}", other)


def test_diff(app: Path, place: Path) -> None:
    assert dockerc("diff", app, app).stdout == ""
    other = variant(
        place, "differs", file("d/small", b"bigger\n", mode=0o644), file("d/new", b"12345"),
        file(".wh.top"),
    )  # fmt: skip
    done = dockerc("diff", app, other, check=False)
    assert done.returncode == 1 and done.stderr == ""
    summary, *lines = done.stdout.splitlines()
    assert summary.startswith("files: 1 added, 1 removed, 1 changed (+2 B); configuration: ")
    lines = [line for line in lines if line[0] in "+-~"]
    assert lines == ["+ /d/new 5 bytes", "~ /d/small 6 -> 7 bytes (mode, content)",
                     "- /top 4 bytes"]  # fmt: skip
    assert "config annotations.dev.dockerc.reference" in done.stdout
    told = json.loads(dockerc("diff", "--json", app, other, check=False).stdout)
    assert told["equal"] is False and told["footer"] == {} and told["stub"] == {}
    assert told["files"][0] == {
        "path": "/d/new", "change": "added", "fields": [], "size": [None, 5]
    }  # fmt: skip
    assert json.loads(dockerc("diff", "--json", app, app).stdout)["equal"] is True


def test_diff_that_has_trouble(app: Path, place: Path, tmp_path: Path) -> None:
    """As diff(1): 2, which is not "they differ"."""
    (tmp_path / "cut").write_bytes(app.read_bytes()[:-5000])
    for other in (tmp_path / "cut", tmp_path / "none", tmp_path):
        assert str(other) in failed("diff", app, other, status=2)
        assert failed("diff", "--json", other, app, status=2)


def test_diff_of_equal_files_in_blocks_of_other_sizes(app: Path, place: Path) -> None:
    layout = place / "tree.layout"
    dockerc("build", f"oci:{layout}", "-o", place / "cut", "--block-size", "4K")
    assert dockerc("diff", app, place / "cut").stdout == ""


def test_edit_changes_the_configuration_alone(run: Runner, hello: Path, shared: Path) -> None:
    new = shared / "new"
    dockerc("edit", hello, new, "-e", "GREETING=salut", "--entrypoint", "/bin/hello env",
            "-w", "/tmp", "--label", "org.example.a=b", "-v", "/etc:/host:ro")  # fmt: skip
    told = run(new).stdout.splitlines()
    assert "GREETING=salut" in told
    assert run(new, "-e", "GREETING=other", "--").stdout.count("GREETING=other") == 1
    image = json.loads(dockerc("inspect", "--json", new).stdout)["image"]
    assert image["labels"]["org.example.a"] == "b" and image["workdir"] == "/tmp"
    assert image["baked_volumes"] == ["/etc:/host:ro"] and image["cmd"] == []
    assert "SHA-256 is as recorded" in dockerc("verify", new).stdout
    compared = json.loads(dockerc("diff", "--json", hello, new, check=False).stdout)
    assert compared["files"] == [] and compared["stub"] == {} and compared["config"]


def test_edit_copies_data_and_does_not_grow(app: Path, tmp_path: Path) -> None:
    sizes = set()
    before, new = app, tmp_path / "new"
    for round_ in range(4):
        dockerc("edit", before, new, "-e", f"ROUND={round_}")
        sizes.add(new.stat().st_size)
        before = new
    assert len(sizes) == 1
    with open_executable(app) as old, open_executable(new) as edited:
        old.file.seek(old.footer.offset + 96)
        edited.file.seek(edited.footer.offset + 96)
        # The large file's blocks: they are what they were, where they were.
        assert old.file.read(2 << 20) == edited.file.read(2 << 20)


@pytest.mark.parametrize("name", ["types and modes", "extended attributes", "hard links"])
def test_edit_keeps_every_file(tmp_path: Path, name: str) -> None:
    layout = write_layout(tmp_path / "layout", CORPUS[name])
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
    dockerc("edit", tmp_path / "app", tmp_path / "app", "--cmd", "other")
    # Files are compared first, so that these are as they were.
    told = failed("verify", "--reference", f"oci:{layout}", tmp_path / "app")
    assert told.endswith("its configuration differs in annotations.dev.dockerc.cmd, process.args")


def test_edit_of_the_user(tmp_path: Path) -> None:
    passwd = b"root:x:0:0::/root:/bin/sh\nu:x:5:6::/home/u:/bin/sh\n"
    layout = write_layout(tmp_path / "layout", [tar_of(file("etc/passwd", passwd))])
    app = tmp_path / "app"
    dockerc("build", f"oci:{layout}", "-o", app)
    dockerc("edit", app, app, "--user", "u")
    told = json.loads(dockerc("inspect", "--json", app).stdout)
    assert told["image"]["user"] == {"uid": 5, "gid": 6, "additional_gids": []}
    assert "HOME=/home/u" in told["image"]["env"]
    assert told["config"]["process"]["capabilities"]["effective"] == []
    assert told["footer"]["require_mapped_uids"] is True
    assert "nobody" in failed("edit", app, app, "--user", "nobody")
    assert "say what to change" in failed("edit", app, app, status=2)


def test_run_builds_once_and_passes_everything_on(hello: Path, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    first = dockerc("run", HELLO, env=environment)
    assert first.stdout == subprocess.run([hello], capture_output=True, text=True).stdout
    apps = list((tmp_path / "cache/dockerc/apps").iterdir())
    assert len(apps) == 1
    assert "layer 1/" in first.stderr
    done = dockerc("run", "-q", "-e", "A=7", HELLO, "env", "-e", env=environment, check=False)
    assert "A=7" in done.stdout.splitlines() and done.stderr == ""
    for options in (["-it", "--env=A=7"], ["-eqh=7", "--workdir", "/tmp"], ["--rm", "-w", "/"]):
        told = dockerc("run", *options, "-e", "B=8", "--", HELLO, "env", env=environment).stdout
        assert "B=8" in told.splitlines()
    assert "name an image" in failed("run", "-e", "A=1", env=environment, status=2)
    again = dockerc("run", HELLO, "exit", "3", env=environment, check=False)
    assert (again.returncode, again.stderr) == (3, "")
    (tmp_path / "file").write_text("")
    environment["XDG_CACHE_HOME"] = str(tmp_path / "file")
    assert "XDG_CACHE_HOME" in failed("run", HELLO, env=environment)


@pytest.mark.root("only root can give files away")
def test_run_starts_nothing_that_another_user_put_there(hello: Path, tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    greeting = dockerc("run", HELLO, env=environment).stdout
    apps = tmp_path / "cache/dockerc/apps"
    (app,) = apps.iterdir()
    app.write_text("#!/bin/sh\necho planted\n")
    os.chown(app, 12345, 12345)
    assert dockerc("run", HELLO, env=environment).stdout == greeting
    for each in (apps, apps.parent):
        os.chown(each, 12345, 12345)
        assert "another user's" in failed("run", HELLO, env=environment)
        os.chown(each, 0, 0)


def test_run_keeps_an_image_under_its_own_digest_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that gives one image when asked first and another one then."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = [write_layout(tmp_path / n, [tar_of(file(n, b"x"))]) for n in ("good", "evil")]
    layouts = iter([*given, given[1]])
    monkeypatch.setattr(
        "toolkit.services.run_cache.open_image",
        lambda _, platform, access: open_image(f"oci:{next(layouts)}", platform, access),
    )
    monkeypatch.setattr(
        "toolkit.services.build.open_image",
        lambda _, platform, access: open_image(f"oci:{next(layouts)}", platform, access),
    )
    app = app_of(
        "docker://evil", Platform("linux", "amd64"), Silent(), DEFAULT_ACCESS, Pull.MISSING
    )
    assert dockerc("ls", app).stdout == "good\n"
