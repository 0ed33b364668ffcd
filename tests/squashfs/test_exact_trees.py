"""Trees and contents of a squashfs as they are read, at each bound and one beyond.

Damaged images are forged by hand.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from forge import Forge, Forged, forged_directory, forged_file, forged_symlink

from toolkit.errors import DamagedError, DockercError, RefusedError
from toolkit.limits import MAX_TARGET
from toolkit.squashfs.read import census as census_module
from toolkit.squashfs.read import filesystem as module
from toolkit.squashfs.read.census import Census
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node, block_count
from toolkit.squashfs.read.space_usage import space_of
from toolkit.squashfs.structs import (
    DATA_UNCOMPRESSED,
    NO_FRAGMENT,
    NO_XATTR,
    InodeType,
    MetadataRef,
    Superblock,
)


def filesystem(tree: Forged, **forge: Any) -> Filesystem:
    image = Forge(tree, **forge).image()
    return Filesystem(io.BytesIO(image), 0, Superblock.decode(image))


def names(tree: Forged, **forge: Any) -> list[bytes]:
    found = filesystem(tree, **forge)
    return [path for path, _ in found.walk(found.root)]


def is_read(tree: Forged, **forge: Any) -> bool:
    try:
        names(tree, **forge)
    except DockercError:
        return False
    return True


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"n" * 255, True), (b"n" * 256, False), (b".", False), (b"..", False), (b"...", True),
     (b".a", True), (b"a/b", False), (b"/", False), (b"a\0", False), (b"\xff", True)],
)  # fmt: skip
def test_names(name: bytes, expected: bool) -> None:
    assert is_read(forged_directory((name, forged_file()))) is expected


def test_names_are_in_order_and_once() -> None:
    one, other = forged_file(), forged_file()
    assert is_read(forged_directory((b"a", one), (b"b", other)))
    assert not is_read(forged_directory((b"a", one), (b"a", other)))


@pytest.mark.parametrize(("kind", "expected"), [(2, True), (1, False), (3, False), (8, False)])
def test_an_entry_is_of_its_inode_s_kind(kind: int, expected: bool) -> None:
    assert is_read(forged_directory((b"a", forged_file(entry_kind=kind)))) is expected


@pytest.mark.parametrize(("more", "expected"), [(0, True), (-1, False), (1, False), (-9, False)])
def test_the_size_of_a_listing(more: int, expected: bool) -> None:
    size = 12 + 8 + len("name") + 3
    tree = forged_directory((b"name", forged_file()), listing_size=size + more)
    assert is_read(tree) is expected
    # A directory of three bytes is empty: they are counted for "." and "..", and not there.
    assert names(forged_directory(listing_size=3)) == [b"", b"config.json", b"rootfs"]


def test_the_limit_of_a_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 12 + 8 + len("name")
    tree = forged_directory((b"name", forged_file()))
    root = 2 * (12 + 8) + len("config.json") + len("rootfs")
    monkeypatch.setattr(module, "MAX_DIRECTORY_TABLE", max(size, root))
    assert is_read(tree)
    monkeypatch.setattr(module, "MAX_DIRECTORY_TABLE", root - 1)
    assert not is_read(tree)


def nested(depth: int) -> Forged:
    tree = forged_directory()
    for _ in range(depth - 1):
        tree = forged_directory((b"d", tree))
    return tree


def test_the_depth_and_length_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_DEPTH", 4)
    assert is_read(nested(4)) and not is_read(nested(5))
    monkeypatch.setattr(module, "_MAX_DEPTH", 100)
    monkeypatch.setattr(module, "MAX_PAYLOAD_PATH", len("rootfs/abc"))
    monkeypatch.setattr(module, "MAX_PATH", len("abc"))
    for name, fits in ((b"abc", True), (b"abcd", False)):
        found = filesystem(forged_directory((name, forged_file())), config=b"")
        monkeypatch.setattr(module, "MAX_PAYLOAD_PATH", len("config.json"))
        rootfs = found.find(b"rootfs")
        assert rootfs
        if fits:
            assert [path for path, _ in found.walk(rootfs)] == [b"", b"abc"]
        else:
            with pytest.raises(RefusedError, match="has 4 bytes"):
                list(found.walk(rootfs))
    assert is_read(forged_directory((b"abcd", forged_file())))
    assert not is_read(forged_directory((b"abcde", forged_file())))


def test_the_number_of_names() -> None:
    found = filesystem(forged_directory(*((b"%d" % n, forged_file()) for n in range(3))))
    found.max_entries = 5
    assert len(list(found.walk(found.root))) == 6
    found.max_entries = 4
    with pytest.raises(RefusedError, match="more than 4 names"):
        list(found.walk(found.root))


def test_a_directory_is_entered_once() -> None:
    inner = forged_directory()
    with pytest.raises(DamagedError, match="loop"):
        names(forged_directory((b"a", inner), (b"b", inner)))


# Look-ups


def linked(count: int) -> Forged:
    links = [(b"%03d" % n, forged_symlink(b"%03d" % (n + 1))) for n in range(count)]
    return forged_directory(*links, (b"%03d" % count, forged_file()))


def test_symlinks_in_a_row() -> None:
    for count, fits in ((40, True), (41, False)):
        found = filesystem(linked(count))
        if fits:
            node = found.find(b"rootfs/000")
            assert node and node.is_file
        else:
            with pytest.raises(RefusedError, match="loop of symlinks"):
                found.find(b"rootfs/000")


def test_where_paths_lead() -> None:
    file = forged_file()
    found = filesystem(
        forged_directory(
            (b"a", forged_directory((b"f", file), (b"up", forged_symlink(b"../l")))),
            (b"l", forged_symlink(b"/a/./f")), (b"abs", forged_symlink(b"/")),
        )
    )  # fmt: skip
    rootfs = found.find(b"rootfs")
    assert rootfs and rootfs.is_directory
    target = found.find(b"rootfs/a/f")
    assert target and target.number == file.number
    for path in (b"a/f", b"/a//f", b"a/./f", b"../../a/f", b"a/../a/f", b"l", b"a/up", b"abs/l",
                 b"a/../../l", b"abs/abs/a/f"):  # fmt: skip
        node = found.find(path, rootfs)
        assert node and node.place == target.place, path
    for path in (b"b", b"a/f/g", b"a/g", b"l/x", b"abc"):
        assert found.find(path, rootfs) is None
    last = found.find(b"l", rootfs, follow=False)
    assert last and last.kind is InodeType.SYMLINK
    node = found.find(b"abs/l", rootfs, follow=False)
    assert node and node.place == last.place
    node = found.find(b"", rootfs)
    assert node and node.place == rootfs.place


def test_the_names_that_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = forged_directory(*((b"%d" % n, forged_file()) for n in range(4)))
    # Two names up to rootfs, three up to the third.
    for most, fits in ((5, True), (4, False)):
        monkeypatch.setattr(module, "_MAX_LOOKED_AT", most)
        found = filesystem(tree)
        if fits:
            assert found.find(b"rootfs/2")
        else:
            with pytest.raises(RefusedError, match="too many names"):
                found.find(b"rootfs/2")


def test_listing_one_level_and_all() -> None:
    found = filesystem(forged_directory((b"d", forged_directory((b"f", forged_file())))))
    top = found.find(b"rootfs")
    assert top
    assert [name for name, _ in found.list(top, recursive=False)] == [b"", b"d"]
    assert [name for name, _ in found.list(top, recursive=True)] == [b"", b"d", b"d/f"]
    leaf = found.find(b"rootfs/d/f")
    assert leaf and [name for name, _ in found.list(leaf, recursive=False)] == [b""]


# Inodes


@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [(0, 0o644, False), (15, 0o644, False), (6, 0o7777, True), (6, 0o10000, False),
     (7, 0, True), (13, 0o644, True), (14, 0o644, True)],
)  # fmt: skip
def test_kinds_and_modes(kind: int, mode: int, expected: bool) -> None:
    body = struct.pack("<I", 1) + struct.pack("<I", 0xFFFFFFFF) * (kind > 7)
    entry = (kind - 1) % 7 + 1 if 0 < kind < 15 else 6
    tree = forged_directory((b"a", Forged(kind, body, mode=mode, entry_kind=entry)))
    assert is_read(tree) is expected
    if expected:
        assert space_of(filesystem(tree)).total.files == len(["config.json", "a"])


def test_what_a_kind_does_not_have() -> None:
    fifo = Forged(6, struct.pack("<I", 3))
    found = filesystem(forged_directory((b"a", fifo)))
    node = found.find(b"rootfs/a")
    assert node and (node.nlink, node.number) == (3, fifo.number)
    bare = Node(node.place, node.kind, node.mode, 0, 0, 0, node.number, 3)
    assert node == bare
    assert (bare.size, bare.start, bare.blocks, bare.device) == (0, 0, 0, (0, 0))
    assert (bare.xattr, bare.fragment, bare.target) == (NO_XATTR, NO_FRAGMENT, b"")
    assert bare.words == bare.listing == MetadataRef(0, 0) and bare.fragment_offset == 0
    assert Node(node.place, node.kind, 0, 0, 0, 0, 1).nlink == 1
    assert found.xattrs(node) == ()


@pytest.mark.parametrize("kind", [4, 5, 11, 12])
def test_device_numbers_as_the_kernel_packs_them(kind: int) -> None:
    """new_encode_dev: 12 bits of major between 8 and 12 bits of minor."""
    number = 0xABC << 8 | 0x12 | 0x345 << 20
    body = struct.pack("<II", 1, number) + struct.pack("<I", 0xFFFFFFFF) * (kind > 7)
    found = filesystem(forged_directory((b"a", Forged(kind, body))))
    node = found.find(b"rootfs/a")
    assert node and node.device == (0xABC, 0x34512)


@pytest.mark.parametrize("size", [1, MAX_TARGET])
def test_targets_of_symlinks(size: int) -> None:
    found = filesystem(forged_directory((b"a", forged_symlink(b"t" * size))))
    node = found.find(b"rootfs/a", follow=False)
    assert node and node.target == b"t" * size


@pytest.mark.parametrize(("target", "size"), [(b"t", 0), (b"t" * 4096, None), (b"a\0", None)])
def test_targets_that_cannot_be(target: bytes, size: int | None) -> None:
    assert not is_read(forged_directory((b"a", forged_symlink(target, size))))


def test_owners() -> None:
    for ids, owner, expected in (
        ((0, 5), 1, True), ((0, 5), 2, False), ((0, 0xFFFFFFFE), 1, True),
        ((0, 0xFFFFFFFF), 0, False),
    ):  # fmt: skip
        assert is_read(forged_directory((b"a", forged_file(owner=owner))), ids=ids) is expected


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 2048, 2049])
def test_files_of_many_blocks(count: int) -> None:
    words = [number % 7 for number in range(count)]
    node = forged_file(4096 * count, 96, struct.pack(f"<{count}I", *words))
    found = filesystem(forged_directory((b"a", node)))
    read = found.find(b"rootfs/a")
    assert read and list(found.words(read)) == words


def test_blocks_of_a_file() -> None:
    for size, whole, with_fragment in (
        (0, 0, 0), (1, 1, 0), (4095, 1, 0), (4096, 1, 1), (4097, 2, 1), (8192, 2, 2)
    ):  # fmt: skip
        assert block_count(size, 4096, NO_FRAGMENT) == whole
        assert block_count(size, 4096, 0) == with_fragment


def node_of(number: int, nlink: int = 1, blocks: int = 0, at: int = 0) -> Node:
    place = MetadataRef(0, at or number)
    return Node(place, InodeType.FILE, 0, 0, 0, 0, number, nlink, blocks=blocks)


def test_a_census(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census_module, "MAX_ENTRIES", 3)
    with pytest.raises(DamagedError, match="claims 4 files"):
        Census(4)
    census = Census(3)
    census.add(node_of(1))
    census.add(node_of(3, nlink=2))
    census.add(node_of(3, nlink=2))
    for number in (0, 4):
        with pytest.raises(DamagedError, match=f"its number is {number} of 3"):
            census.add(node_of(number))
    with pytest.raises(DamagedError, match="claims 1 name"):
        census.add(node_of(1))
    with pytest.raises(DamagedError, match="shares its number 3"):
        census.add(node_of(3, nlink=2, at=9))
    monkeypatch.setattr(census_module, "MAX_BLOCKS", 5)
    census.add(node_of(2, blocks=5))
    with pytest.raises(RefusedError, match="more than 5 blocks"):
        census = Census(3)
        census.add(node_of(1, blocks=3))
        census.add(node_of(2, blocks=3))


# Contents


def with_words(size: int, start: int, *words: int) -> Forged:
    return forged_file(size, start, struct.pack(f"<{len(words)}I", *words))


def content(tree: Forged, limit: int = 1 << 20) -> bytes:
    found = filesystem(tree, config=b"c" * 4096 + b"d" * 100)
    node = found.find(b"rootfs/a")
    assert node
    return found.read(node, limit)


def test_contents() -> None:
    full, part = 4096 | DATA_UNCOMPRESSED, 100 | DATA_UNCOMPRESSED
    data = content(forged_directory((b"a", with_words(4196, 96, full, part))))
    assert data == b"c" * 4096 + b"d" * 100
    data = content(forged_directory((b"a", with_words(4096 + 4096 + 9, 96, 0, full, 0))))
    assert data == bytes(4096) + b"c" * 4096 + bytes(9)
    tree = forged_directory((b"a", with_words(4196, 96, full, part)))
    assert len(content(tree, limit=4196)) == 4196
    with pytest.raises(RefusedError, match="at most 4195"):
        content(tree, limit=4195)


@pytest.mark.parametrize(
    ("size", "words"),
    [(4195, (4096, 100)), (4197, (4096, 100)), (4096, (100,)), (4096, (0 | DATA_UNCOMPRESSED,))],
)
def test_contents_that_do_not_fit_their_file(size: int, words: tuple[int, ...]) -> None:
    told = (word | DATA_UNCOMPRESSED for word in words)
    with pytest.raises(DamagedError):
        content(forged_directory((b"a", with_words(size, 96, *told))))
