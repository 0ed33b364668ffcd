"""Squashfs as it is written, where one form of a structure becomes another; read by our reader."""

from __future__ import annotations

import io
import struct
from dataclasses import replace

import pytest

from toolkit.squashfs.compress import BlockWriter, Compressor, is_hole
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.inodes import Node
from toolkit.squashfs.structs import (
    DATA_UNCOMPRESSED,
    DIRECTORY_RUN,
    NO_FRAGMENT,
    NO_XATTR,
    SUPERBLOCK_SIZE,
    InodeType,
    Superblock,
)
from toolkit.squashfs.tree import Content, Inode, new_directory
from toolkit.squashfs.write import inodes, xattrs
from toolkit.squashfs.write.image import encode_tables, write_squashfs
from toolkit.squashfs.write.metadata import MetadataStream, encode_table
from toolkit.squashfs.write.placement import Placement


class Placed:
    """File data that is where a test says: `placements` by a content's first block."""

    fragment_count = 0
    fragment_table = b""

    def __init__(self, *placements: Placement) -> None:
        self.placements = placements

    def place(self, content: Content) -> Placement:
        return self.placements[content.first_block]


def image_of(root: Inode, *placements: Placement, level: int | None = None) -> Filesystem:
    """The tables alone, behind a superblock."""
    with Compressor(level) as compressor:
        tables, superblock = encode_tables(root, Placed(*placements), SUPERBLOCK_SIZE, compressor)
    superblock = replace(superblock, block_size=4096)
    image = superblock.encode() + tables
    return Filesystem(io.BytesIO(image), 0, Superblock.decode(image))


def raw_kind(filesystem: Filesystem, node: Node) -> int:
    """The type as it is stored, basic or extended."""
    data, _ = filesystem.blocks.read(filesystem.superblock.inode_table, node.place, 2)
    return int.from_bytes(data, "little")


def tree(**children: Inode) -> Inode:
    root = new_directory()
    root.children = {name.encode(): child for name, child in children.items()}
    return root


def fifo(**fields: object) -> Inode:
    return Inode(InodeType.FIFO, 0o644, **fields)  # type: ignore[arg-type]


def a_file(size: int, number: int = 0, **fields: object) -> Inode:
    content = Content(size, b"", 0, number, 0, -1, 0)
    return Inode(InodeType.FILE, 0o644, content=content, **fields)  # type: ignore[arg-type]


U32 = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("size", "start", "holes", "is_extended"),
    [(5, 96, 0, False), (U32, 96, 0, False), (U32 + 1, 96, 0, True), (5, U32, 0, False),
     (5, U32 + 1, 0, True), (5, 96, 1, True)],
)  # fmt: skip
def test_files_in_their_two_forms(size: int, start: int, holes: int, is_extended: bool) -> None:
    placement = Placement(start, b"", holes, 0, 77)
    filesystem = image_of(tree(f=a_file(size)), placement)
    filesystem.blocks._decompress = None  # type: ignore[assignment]
    node = filesystem.find(b"f")
    assert node and raw_kind(filesystem, node) == (9 if is_extended else 2)
    assert (node.size, node.start, node.fragment, node.fragment_offset) == (size, start, 0, 77)
    assert (node.nlink, node.xattr) == (1, NO_XATTR)


@pytest.mark.parametrize("kind", [InodeType.FIFO, InodeType.SOCKET, InodeType.CHAR_DEVICE,
                                  InodeType.BLOCK_DEVICE, InodeType.SYMLINK])  # fmt: skip
def test_other_kinds_in_their_two_forms(kind: InodeType) -> None:
    plain = Inode(kind, 0o640, 1, 2, 3, b"target", (0xABC, 0x34512))
    extended = Inode(kind, 0o640, 1, 2, 3, b"target", (0xABC, 0x34512), ((b"user.a", b"v"),))
    filesystem = image_of(tree(a=plain, b=extended, c=extended))
    for name, form, links in ((b"a", int(kind), 1), (b"b", kind.extended, 2)):
        node = filesystem.find(name, follow=False)
        assert node and raw_kind(filesystem, node) == form
        assert (node.mode, node.uid, node.gid, node.mtime, node.nlink) == (0o640, 1, 2, 3, links)
        if kind is InodeType.SYMLINK:
            assert node.target == b"target"
        if kind in (InodeType.CHAR_DEVICE, InodeType.BLOCK_DEVICE):
            assert node.device == (0xABC, 0x34512)
        assert filesystem.xattrs(node) == (((b"user.a", b"v"),) if links == 2 else ())


def test_a_file_that_is_all_hole() -> None:
    """Some drivers take so many holes as bytes for "not known"."""
    words = struct.pack("<II", 0, 0)
    for size, told in ((8192, 8191), (8191, 8190), (0, 0)):
        placement = Placement(0, words if size else b"", size, NO_FRAGMENT, 0)
        filesystem = image_of(tree(f=a_file(size, xattrs=((b"user.a", b"v"),))), placement)
        node = filesystem.find(b"f")
        assert node
        data, _ = filesystem.blocks.read(filesystem.superblock.inode_table, node.place, 16 + 24)
        assert struct.unpack("<Q", data[32:40]) == (told,)


@pytest.mark.parametrize(("last", "form"), [(0, 1), (1, 8)])
def test_directories_in_their_two_forms(
    last: int, form: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = new_directory()
    root.children = {b"a" * 10: fifo(), b"b" * (10 + last): fifo()}
    monkeypatch.setattr(inodes, "_BASIC_LISTING", 12 + 2 * 18 + 3)
    filesystem = image_of(root)
    assert raw_kind(filesystem, filesystem.root) == form
    assert filesystem.root.size == 12 + 2 * 18 + 3 + last


def test_links_and_parents_of_directories() -> None:
    inner = tree(x=tree(), y=tree(), f=fifo())
    filesystem = image_of(tree(d=inner, e=tree()))
    links = {path: node.nlink for path, node in filesystem.walk(filesystem.root)}
    assert links == {b"": 4, b"d": 4, b"d/f": 1, b"d/x": 2, b"d/y": 2, b"e": 2}
    numbers = {path: node.number for path, node in filesystem.walk(filesystem.root)}
    assert sorted(numbers.values()) == [1, 2, 3, 4, 5, 6]
    data, _ = filesystem.blocks.read(filesystem.superblock.inode_table, filesystem.root.place, 32)
    assert struct.unpack("<I", data[28:32]) == (7,), "a number that no inode has"
    node = filesystem.find(b"d/x")
    assert node
    data, _ = filesystem.blocks.read(filesystem.superblock.inode_table, node.place, 32)
    assert struct.unpack("<I", data[28:32]) == (numbers[b"d"],)


@pytest.mark.parametrize("count", [DIRECTORY_RUN - 1, DIRECTORY_RUN, DIRECTORY_RUN + 1])
def test_runs_of_names(count: int) -> None:
    root = new_directory()
    one = fifo()  # all in one block, under one number
    root.children = {b"%04d" % number: one for number in range(count)}
    filesystem = image_of(root)
    assert len(list(filesystem.walk(filesystem.root))) == count + 1
    runs = 1 + (count > DIRECTORY_RUN)
    assert filesystem.root.size == 12 * runs + 12 * count + 3
    node = filesystem.find(b"0000")
    assert node and node.nlink == count


def test_numbers_that_are_far_from_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry holds the difference of two numbers in 16 bits."""
    shared = fifo()
    many = new_directory()
    many.children = {b"%05d" % number: fifo() for number in range(33_000)}
    root = new_directory()
    root.children = {b"a": shared, b"many": many, b"z": fifo()}
    first = new_directory()
    first.children = {b"b": shared, b"c": root, b"d": shared}
    filesystem = image_of(first, level=1)
    paths = [path for path, _ in filesystem.walk(filesystem.root)]
    assert len(paths) == 33_000 + 7
    node = filesystem.find(b"b")
    assert node and node.nlink == 3


def test_an_index_of_a_large_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry a metadata block, with the first name of the run that it leads to."""
    root = new_directory()
    # Six runs of 38 bytes a name: they end after 256 names, or with their inodes' block.
    root.children = {b"%030d" % number: fifo() for number in range(5 * DIRECTORY_RUN)}
    filesystem = image_of(root)
    assert raw_kind(filesystem, filesystem.root) == 8
    place, table = filesystem.root.place, filesystem.superblock.inode_table
    data, at = filesystem.blocks.read(table, place, 16 + 24)
    _, size, block, _, indexes, offset, _ = struct.unpack("<IIIIHHI", data[16:])
    assert size == filesystem.root.size and indexes == 3
    names = sorted(root.children)
    before = 0
    for _ in range(indexes):
        data, at = filesystem.blocks.read(table, at, 12)
        position, start, length = struct.unpack("<III", data)
        name, at = filesystem.blocks.read(table, at, length + 1)
        assert name in names and position - before >= 8192
        before = position
        # The run begins there, with that name.
        whole, places = filesystem.blocks.metadata_table(
            filesystem.superblock.directory_table, filesystem.blocks.directory_end(), 1 << 20
        )
        run = places[block] + offset + position
        assert places[start] <= run < places[start] + 8192
        assert whole[run + 12 + 8 : run + 12 + 8 + length + 1] == name
    monkeypatch.setattr(inodes, "_MAX_INDEXES", 2)
    filesystem = image_of(root)
    data, _ = filesystem.blocks.read(
        filesystem.superblock.inode_table, filesystem.root.place, 16 + 24
    )
    assert struct.unpack("<IIIIHHI", data[16:])[4] == 2
    assert len(list(filesystem.walk(filesystem.root))) == len(names) + 1


# Attributes and tables


def test_sets_of_attributes_are_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ((b"security.c", b""), (b"trusted.b", b"w" * 999), (b"user.a", b"v"))
    sets = [one, ((b"user.a", b"v"),), one]
    filesystem = image_of(
        tree(**{f"f{n}": fifo(xattrs=pairs) for n, pairs in enumerate(sets)}, none=fifo())
    )
    nodes = [filesystem.find(f"f{n}".encode()) for n in range(3)]
    assert [node and filesystem.xattrs(node) for node in nodes] == sets
    assert [node and node.xattr for node in nodes] == [0, 1, 0]
    many = {f"f{n}": fifo(xattrs=((b"user.n", b"%d" % n),)) for n in range(1025)}
    filesystem = image_of(tree(**many))
    for n in (0, 511, 512, 513, 1024):
        node = filesystem.find(f"f{n}".encode())
        assert node and filesystem.xattrs(node) == ((b"user.n", b"%d" % n),)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [(255, 65536, True), (256, 1, False), (255, 65537, False), (6, 0, True)],
)
def test_the_largest_attributes(name: int, value: int, fits: bool) -> None:
    pair = (b"user." + b"n" * (name - 5), b"v" * value)
    if fits:
        assert xattrs._pair(*pair)
    else:
        with pytest.raises(Exception, match="Linux holds 255 and 65536"):
            xattrs._pair(*pair)


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 16384])
def test_streams_of_metadata(size: int) -> None:
    data = bytes(range(251)) * 70
    with Compressor(None) as compressor:
        stream = MetadataStream(compressor)
        for at in range(0, size, 1000):
            stream.write(data[at : min(at + 1000, size)])
        position = stream.position
        stream.finish()
        stream.finish()
        assert stream.size == size and len(stream.starts) == -(-size // 8192)
        assert (position.block, position.offset) == (size // 8192 * 8194, size % 8192)
        table, list_at = encode_table(data[:size], 1000, compressor)
    assert table[: len(stream.output)] == stream.output and list_at == 1000 + len(stream.output)
    pointers = struct.unpack(f"<{len(stream.starts)}Q", table[len(stream.output) :])
    assert list(pointers) == [1000 + start for start in stream.starts]


def test_what_is_stored_as_it_is() -> None:
    """What does not become smaller, by a byte at least; zeros are not stored at all."""
    noise = bytes(range(256)) * 16
    for compressed, stored in ((4095, 4095), (4096, 4096), (4097, 4096)):
        out = io.BytesIO()
        with Compressor(1) as compressor:
            writer = BlockWriter(out, compressor)
            packed = b"z" * compressed
            compressor.compress = lambda _, packed=packed: packed  # type: ignore[method-assign]
            assert [writer.add(noise), writer.add(bytes(9)), writer.add(b"\0" * 8 + b"\1")] == [
                0,
                1,
                2,
            ]
            writer.add_holes(2)
            writer.flush()
        as_it_is = DATA_UNCOMPRESSED if compressed >= 4096 else 0
        assert writer.sizes[0] == stored | as_it_is and list(writer.sizes[1:]) == [
            0, 9 | DATA_UNCOMPRESSED, 0, 0
        ]  # fmt: skip
        assert len(out.getvalue()) == stored + 9
    assert is_hole(b"\0") and not is_hole(b"\1") and not is_hole(b"\0\1")


def test_images_end_on_a_boundary(tmp_path: object) -> None:
    """A loop device counts in sectors; nothing but the squashfs need follow it."""

    class Nothing(Placed):
        def want(self, inodes: object) -> None: ...

        def copy(self, output: io.BytesIO, position: int) -> int:
            output.write(b"d" * 100)
            return position + 100

    for level in (None, 5):
        out = io.BytesIO(b"before")
        out.seek(6)
        superblock = write_squashfs(
            out, tree(f=fifo()), Nothing(), block_size=8192, level=level, mkfs_time=77
        )  # type: ignore[arg-type]
        image = out.getvalue()[6:]
        assert out.tell() == 6 + superblock.bytes_used and superblock.bytes_used % 4096 == 0
        assert len(image) == superblock.bytes_used and out.getvalue()[:6] == b"before"
        found = Superblock.decode(image)
        assert found == superblock and (found.block_size, found.mkfs_time) == (8192, 77)
        assert struct.unpack("<HI", image[96:102]) == (4 | 0x8000, level or 1)
        assert image[102 + 100 :].strip(b"\0")[:2] != b"" and found.compression == 6
        filesystem = Filesystem(io.BytesIO(image), 0, found)
        assert [path for path, _ in filesystem.walk(filesystem.root)] == [b"", b"f"]
