"""Where the space goes, reckoned from the tables at once, against a walk of the tree."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from layout import directory, entry, file, hard_link, noise, symlink, tar_of
from test_read_back import image_of

from toolkit.errors import DamagedError, RefusedError
from toolkit.squashfs.read import space_usage
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.space_usage import space_of
from toolkit.squashfs.structs import InodeType

BLOCK = 1 << 16
ATTRIBUTES = {"SCHILY.xattr.user.a": "v"}


def of_all_kinds(**fields: Any) -> list[Any]:
    """A file of each kind; in the extended form where it has an attribute."""
    suffix = "x" if fields else ""
    return [
        directory(f"d{suffix}", **fields),
        file(f"d{suffix}/small", noise(100, 1), **fields),
        file(f"d{suffix}/block", noise(BLOCK, 2), **fields),
        file(f"d{suffix}/more", noise(2 * BLOCK + 5, 3), **fields),
        file(f"d{suffix}/empty", **fields),
        file(f"d{suffix}/hole", bytes(3 * BLOCK + 9), **fields),
        symlink(f"d{suffix}/link", "target" * 9, **fields),
        entry(f"d{suffix}/fifo", tarfile.FIFOTYPE, **fields),
        entry(f"d{suffix}/char", tarfile.CHRTYPE, devmajor=1, devminor=3, **fields),
        entry(f"d{suffix}/block-device", tarfile.BLKTYPE, devmajor=8, devminor=300, **fields),
    ]


def walked(filesystem: Filesystem) -> dict[str, tuple[int, int, int]]:
    """Of each top directory: files, bytes, and bytes stored of whole blocks."""
    found: dict[str, tuple[int, int, int]] = {}
    seen = set()
    for path, node in filesystem.walk(filesystem.root):
        parts = path.decode().split("/")
        if node.is_directory or node.place in seen:
            continue
        seen.add(node.place)
        deep = 2 if parts[0] == "rootfs" else 1
        top = "/" + "/".join(parts[:deep]) if len(parts) > deep else "/"
        size = node.size if node.kind is InodeType.FILE else 0
        blocks = sum(map(stored_size, filesystem.words(node))) if size else 0
        files, sizes, stored = found.get(top, (0, 0, 0))
        found[top] = (files + 1, sizes + size, stored + blocks)
    return found


def test_it_is_what_a_walk_finds(tmp_path: Path) -> None:
    many = [file(f"many/{'n' * 200}{number:04}", b"x" * number) for number in range(300)]
    layer = tar_of(
        *of_all_kinds(), *of_all_kinds(pax_headers=ATTRIBUTES), directory("many"), *many,
        directory("many/deep/er"), hard_link("again", "d/more"), file("top", noise(9, 9)),
    )  # fmt: skip
    with image_of(tmp_path, layer) as filesystem:
        space = space_of(filesystem)
        shares = {share.path.decode(): share for share in space.directories}
        expected = walked(filesystem)
        assert {
            path: (share.files, share.size) for path, share in shares.items() if share.files
        } == {path: (files, size) for path, (files, size, _) in expected.items()}
        assert space.total.size == sum(share.size for share in shares.values())
        assert space.total.files == sum(share.files for share in shares.values())
        # What fragments take is given to the files in them, rounded down.
        taken = sum(
            stored_size(filesystem.fragment(number)[1])
            for number in range(filesystem.superblock.fragments)
        )
        blocks = sum(stored for _, _, stored in expected.values())
        assert blocks + taken - 310 <= space.total.stored <= blocks + taken
        assert space.holes == 2 * (3 * BLOCK + 9)


def test_the_largest_files(tmp_path: Path) -> None:
    sizes = [*range(5, 5 + space_usage._LARGEST), 3, BLOCK, BLOCK + 1, 2]
    layer = tar_of(
        *(file(f"d/e/{number:02}", noise(size, number)) for number, size in enumerate(sizes))
    )
    with image_of(tmp_path, layer) as filesystem:
        largest = space_of(filesystem).largest
        most = sorted(sizes, reverse=True)[: space_usage._LARGEST]
        assert [share.size for share in largest] == most and len(most) == 10
        assert largest[0].path == b"/rootfs/d/e/%02d" % sizes.index(BLOCK + 1)
        # One block as it is, and a byte of which more is stored than it has.
        assert BLOCK < largest[0].stored <= BLOCK + 20 and largest[1].stored == BLOCK


def test_files_of_one_fragment_share_what_it_takes(tmp_path: Path) -> None:
    layer = tar_of(file("a", noise(3000, 1)), file("b", noise(1000, 2)))
    with image_of(tmp_path, layer) as filesystem:
        ((_, word),) = [filesystem.fragment(0)]
        found = {share.path: share.stored for share in space_of(filesystem).largest}
        assert found[b"/rootfs/a"] == 3 * stored_size(word) // 4
        assert found[b"/rootfs/b"] == stored_size(word) // 4


def test_how_many_blocks_and_names_there_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = tar_of(file("a", noise(2 * BLOCK, 1)), file("b", noise(BLOCK, 2)), file("c", b"c"))
    with image_of(tmp_path, layer) as filesystem:
        monkeypatch.setattr(space_usage, "MAX_BLOCKS", 3)
        space_of(filesystem)
        monkeypatch.setattr(space_usage, "MAX_BLOCKS", 2)
        with pytest.raises(RefusedError, match="over 2 blocks"):
            space_of(filesystem)
        monkeypatch.setattr(space_usage, "MAX_BLOCKS", 3)
        monkeypatch.setattr(space_usage, "MAX_ENTRIES", filesystem.superblock.inodes)
        space_of(filesystem)
        monkeypatch.setattr(space_usage, "MAX_ENTRIES", filesystem.superblock.inodes - 1)
        with pytest.raises(DamagedError, match="claims 5 files"):
            space_of(filesystem)


def test_directories_beyond_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count to the one that they are in."""
    layer = tar_of(*[file(f"a/{name}/f", noise(900, n)) for n, name in enumerate("xyz")])
    with image_of(tmp_path, layer) as filesystem:
        assert len(space_of(filesystem).tree) == 4
        monkeypatch.setattr(space_usage, "_MAX_SHARES", 3)
        space = space_of(filesystem)
        found = [(share.path, share.files, share.size) for share in space.tree]
        assert found == [(b"/rootfs/a", 3, 2700), (b"/rootfs/a/x", 1, 900)]
        assert space.total.size == 2700 + space.directories[-1].size
