"""What we write, judged by others: umoci for the tree; the kernel, unsquashfs, squashfuse for it.

umoci and the kernel's mount want root.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from corpus import BASE, CHAR, CORPUS, GNU
from layout import directory, entry, file, tar_of, write_layout
from support import describe_tree, differences, dockerc, failed, need
from tree_support import as_root, kernel_mount, squashfs_of


@contextmanager
def squashfuse_mount(image: Path, at: Path) -> Iterator[Path]:
    at.mkdir()
    with subprocess.Popen(["squashfuse", "-f", image, at]) as server:
        try:
            for _ in range(500):
                if (at / "config.json").exists():
                    break
                time.sleep(0.01)
            yield at
        finally:
            subprocess.run(["umount", at], check=True)
            server.wait()


def umoci_tree(layout: Path, bundle: Path) -> dict[str, tuple[object, ...]]:
    command = ["umoci", "unpack", "--image", f"{layout}:latest", bundle]
    subprocess.run(command, check=True, capture_output=True)
    return describe_tree(bundle / "rootfs")


def buildah_tree(layout: Path, place: Path) -> dict[str, tuple[object, ...]]:
    storage = ["--root", place / "root", "--runroot", place / "run", "--storage-driver", "vfs"]

    def buildah(*words: str) -> str:
        command = ["buildah", *storage, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    container = buildah("from", f"oci:{layout}:latest")
    try:
        return describe_tree(Path(buildah("mount", container)))
    finally:
        buildah("rm", container)


BUILDAH_DIFFERS = {
    "whiteout of what the layer re-creates": "it obeys whiteouts in the tar's order; layer.md says"
    " that they never hide what their own layer brings, and so do umoci and we",
    "a name twice in one layer": "it refuses such layers",
    "hard link to a symlink": "its vfs driver copies the two apart",
}


@as_root
@pytest.mark.parametrize(
    ("name", "judge"),
    [(name, "umoci") for name in CORPUS]
    + [(name, "buildah") for name in CORPUS if name not in BUILDAH_DIFFERS],
)
def test_the_merged_tree_is_that_of_others(tmp_path: Path, name: str, judge: str) -> None:
    need(judge)
    layout = write_layout(tmp_path / "layout", CORPUS[name])
    unpack = umoci_tree if judge == "umoci" else buildah_tree
    theirs = unpack(layout, tmp_path / "theirs")
    with kernel_mount(squashfs_of(layout, tmp_path), tmp_path / "mount") as mount:
        ours = describe_tree(mount / "rootfs")
    # Directories that no layer describes get the time of unpacking from others; we have none.
    now = time.time() - 3600
    for path, described in theirs.items():
        if described[5] > now and path in ours:  # type: ignore[operator]
            theirs[path] = (*described[:5], ours[path][5], *described[6:])
    if not any(b"./" + bytes(98) in layer for layer in CORPUS[name]):
        del ours["."], theirs["."]  # a root that no layer describes is each tool's own
    assert differences(ours, theirs) == []


@as_root
@pytest.mark.parametrize("name", ["types and modes", "extended attributes", "sizes around a block"])
def test_three_readers_see_the_same(tmp_path: Path, name: str) -> None:
    need("unsquashfs", "squashfuse")
    layout = write_layout(tmp_path / "layout", CORPUS[name])
    image = squashfs_of(layout, tmp_path)
    with kernel_mount(image, tmp_path / "kernel") as mount:
        kernel = describe_tree(mount / "rootfs")
    with squashfuse_mount(image, tmp_path / "fuse") as mount:
        fuse = describe_tree(mount / "rootfs")
    command = ["unsquashfs", "-no-progress", "-d", tmp_path / "out", image]
    subprocess.run(command, check=True, capture_output=True)
    # squashfuse 0.1 lists what is in `security.` as if it were in `trusted.`.
    capability = "d/capable"
    if capability in kernel:
        assert fuse.pop(capability)[:-1] == kernel[capability][:-1]
    seen = {path: told for path, told in kernel.items() if path in fuse}
    assert differences(seen, fuse) == []
    assert differences(kernel, describe_tree(tmp_path / "out" / "rootfs")) == []


def test_unsquashfs_knows_the_superblock(tmp_path: Path) -> None:
    need("unsquashfs")
    layout = write_layout(tmp_path / "layout", CORPUS["times"])
    command = ["unsquashfs", "-stat", squashfs_of(layout, tmp_path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Found a valid SQUASHFS 4:0 superblock" in told
    assert "Compression zstd\n\tcompression-level 10" in told
    assert "Xattrs are not stored" in told


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", CORPUS["whiteouts"])
    first = squashfs_of(layout, tmp_path).read_bytes()
    (tmp_path / "app.sqfs").unlink()
    assert squashfs_of(layout, tmp_path).read_bytes() == first


def test_the_superblock_s_time_is_source_date_epoch(tmp_path: Path) -> None:
    layout = write_layout(tmp_path / "layout", CORPUS["times"])
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1234567890"}
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app", env=environment)
    told = dockerc("inspect", "--format", "{{.Squashfs.Created}}", tmp_path / "app").stdout
    assert told == "1234567890\n"
    environment["SOURCE_DATE_EPOCH"] = "today"
    told = failed("build", f"oci:{layout}", "-o", tmp_path / "b", status=2, env=environment)
    assert "SOURCE_DATE_EPOCH" in told


def test_times_that_squashfs_cannot_hold_become_the_nearest(tmp_path: Path) -> None:
    pax = file("pax", mtime=1, pax_headers={"mtime": "-1.5"})
    layers = [tar_of(pax, file("late", mtime=1 << 33)), tar_of(file("gnu", mtime=-86400), form=GNU)]
    layout = write_layout(tmp_path / "layout", layers)
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
    dockerc("extract", tmp_path / "app", "--rootfs", tmp_path / "out")
    times = {path.name: path.stat().st_mtime for path in (tmp_path / "out").iterdir()}
    assert times == {"pax": 0, "gnu": 0, "late": 0xFFFFFFFF}


def test_what_squashfs_cannot_hold_is_told(tmp_path: Path) -> None:
    xattrs = {"SCHILY.xattr.system.posix_acl_access": "x", "SCHILY.xattr.user.overlay.opaque": "y"}
    layers = [tar_of(file("a", b"x", pax_headers=xattrs), entry("odd", b"Z"))]
    layout = write_layout(tmp_path / "layout", layers)
    told = dockerc("build", f"oci:{layout}", "-o", tmp_path / "app").stderr
    assert "1 extended attributes system.posix_acl_access" in told
    assert "1 extended attributes user.overlay.opaque" in told
    assert "1 entries of the unknown tar type 'Z'" in told


HOSTILE = {
    "link outside": tar_of(entry("l", b"1", linkname="../../etc/passwd")),
    "link to a directory": tar_of(directory("d"), entry("l", b"1", linkname="d")),
    "loop of symlinks": tar_of(
        entry("a", b"2", linkname="b"), entry("b", b"2", linkname="a"), file("a/x", b"")
    ),
    "root becomes a file": tar_of(file("./", b"", type=b"0"), file("..", b"x")),
    "device out of range": tar_of(entry("d", CHAR, devmajor=1 << 12, devminor=1)),
    "owner out of range": tar_of(file("f", uid=0xFFFFFFFF)),
    "long name": tar_of(file("n" * 300, b"")),
    "deep path": tar_of(file("d/" * 2000 + "f", b"")),
    "damaged": b"\xff" * 2048,
    "cut short": tar_of(file("a", b"x" * 5000))[:2048],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layer_gets_one_sentence(tmp_path: Path, name: str) -> None:
    layout = write_layout(tmp_path / "layout", [HOSTILE[name]])
    told = failed("build", f"oci:{layout}", "-o", tmp_path / "app")
    assert "layer 1/1" in told
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]


def test_whiteouts_of_the_root_and_above_hide_nothing(tmp_path: Path) -> None:
    names = [
        ".wh.",
        ".wh..",
        ".wh...",
        "dir/.wh..",
        "dir/.wh...",
        "../../.wh...",
        ".wh..wh.plnk",
    ]
    listed = []
    for number, layers in enumerate([[BASE], [BASE, tar_of(*map(entry, names))]]):
        layout = write_layout(tmp_path / f"layout{number}", layers)
        dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
        listed.append(dockerc("ls", "-lR", tmp_path / "app").stdout)
    assert listed[0] == listed[1] and "three" in listed[0]


def test_nothing_escapes_through_names(tmp_path: Path) -> None:
    layers = [tar_of(file("../../../escape", b"x"), entry("up", b"2", linkname="../../..")),
              tar_of(file("up/through", b"y"))]  # fmt: skip
    layout = write_layout(tmp_path / "layout", layers)
    need("unsquashfs")
    image = squashfs_of(layout, tmp_path)
    told = subprocess.run(["unsquashfs", "-l", image], check=True, capture_output=True, text=True)
    assert "squashfs-root/rootfs/escape\n" in told.stdout
    assert "squashfs-root/rootfs/through\n" in told.stdout
