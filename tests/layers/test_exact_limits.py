"""Limits at their value and one beyond: what they let through, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from images_support import Layout, on, read_image
from layout import file, tar_of
from test_tar import Bytes, read

from toolkit.errors import DamagedError, RefusedError
from toolkit.images.auth import registries_conf
from toolkit.layers import sparse, tar
from toolkit.layers.budget import Budget
from toolkit.layers.sparse import (
    Segment,
    check_sparse_map,
    old_gnu_map,
    pax_map,
    pax_map_in_data,
)
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, look_up, new_directory
from toolkit.squashfs.write import inodes
from toolkit.squashfs.write.inodes import InodeTables
from toolkit.squashfs.write.xattrs import XattrTable

# Tar


def header(kind: str, size: int) -> bytes:
    """A tar header that a `kind` of so many bytes follows."""
    fields = [b"x".ljust(100, b"\0"), b"0000644\0" + b"0000000\0" * 2, b"%011o\0" % size]
    if size < 0:
        fields[2] = size.to_bytes(12, "big", signed=True)  # GNU tar's base-256
    whole = b"".join(fields) + b"%011o\0" % 0 + b" " * 8 + kind.encode()
    whole = (whole.ljust(257, b"\0") + b"ustar\x0000").ljust(512, b"\0")
    return whole[:148] + b"%06o\0 " % sum(whole) + whole[156:]


def extended(size: int) -> bytes:
    """A global PAX header of so many bytes, which say nothing of an entry."""
    return header("g", size) + bytes(-(-size // 512) * 512)


END = bytes(1024)


def test_extended_headers_in_a_row() -> None:
    most = tar.MAX_HEADERS_IN_A_ROW - 1  # the entry's own header is one of them
    assert len(list(read(extended(9) * most + header("0", 0) + END))) == 1
    with pytest.raises(RefusedError, match="without end"):
        list(read(extended(9) * (most + 1) + header("0", 0) + END))


def test_the_size_of_an_extended_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_EXTENDED_HEADER", 1000)
    assert len(list(read(extended(1000) + header("0", 0) + END))) == 1
    assert len(list(read(extended(0) + header("0", 0) + END))) == 1
    with pytest.raises(DamagedError, match="claims 1001 bytes"):
        list(read(extended(1001) + header("0", 0) + END))
    with pytest.raises(DamagedError, match="claims -1 bytes"):
        list(read(header("g", -1) + header("0", 0) + END))


def test_extended_headers_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "_MAX_RATIO", 0)
    monkeypatch.setattr(tar, "_FREE_EXTENDED", 1000)
    assert len(list(read(extended(500) * 2 + header("0", 0) + END))) == 1
    with pytest.raises(RefusedError, match="taken for an attack"):
        list(read(extended(500) + extended(501) + header("0", 0) + END))
    # A byte stored allows for so many more: here what is read up to the second header.
    monkeypatch.setattr(tar, "_FREE_EXTENDED", 1000 - 512)
    monkeypatch.setattr(tar, "_MAX_RATIO", 1)
    assert len(list(read(extended(500) * 2 + header("0", 0) + END))) == 1


def test_the_size_of_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_FILE_SIZE", 1000)
    assert [len(data) for _, data in read(tar_of(file("a", bytes(1000))))] == [1000]
    with pytest.raises(RefusedError, match="an entry of 1001 bytes"):
        list(read(tar_of(file("a", bytes(1001)))))
    with pytest.raises(RefusedError, match="an entry of -1 bytes"):
        list(read(header("0", -1) + END))


def test_the_size_of_a_sparse_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_FILE_SIZE", 1000)

    def claiming(size: int) -> bytes:
        records = b"".join(pax(b"GNU.sparse.%b" % name, value) for name, value in (
            (b"size", b"%d" % size), (b"map", b"0,0")))  # fmt: skip
        return header("x", len(records)) + records.ljust(512, b"\0") + header("0", 0) + END

    for size in (0, 1, 1000):
        assert [entry.size for entry, _ in read(claiming(size))] == [size]
    with pytest.raises(RefusedError, match="a sparse file of 1001 bytes"):
        list(read(claiming(1001)))
    unsized = pax(b"GNU.sparse.map", b"0,0")
    with pytest.raises(RefusedError, match="a sparse file of -1 bytes"):
        list(read(header("x", len(unsized)) + unsized.ljust(512, b"\0") + header("0", 0) + END))


def pax(key: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts itself, here always two digits."""
    record = b" %b=%b\n" % (key, value)
    return b"%d%b" % (len(record) + 2, record)


# Sparse files


def numbers(count: int) -> list[bytes]:
    """A map of so many segments of one byte, a byte between each two."""
    return [b"%d" % n for segment in range(count) for n in (2 * segment, 1)]


def test_the_segments_of_a_sparse_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_MAX_SEGMENTS", 3)
    whole = [Segment(0, 1), Segment(2, 1), Segment(4, 1)]
    assert pax_map(b",".join(numbers(3))) == whole
    with pytest.raises(DamagedError):
        pax_map(b",".join(numbers(4)))
    with pytest.raises(DamagedError):
        pax_map(b",".join(numbers(3)[:-1]))
    stored = {n: b"\n".join([b"%d" % n, *numbers(n), b""]).ljust(512, b"\0") for n in (3, 4)}
    assert pax_map_in_data(Bytes(stored[3]), 512) == (whole, 512)
    with pytest.raises(DamagedError, match="too many parts"):
        pax_map_in_data(Bytes(stored[4]), 512)
    with pytest.raises(DamagedError, match="cut short"):
        pax_map_in_data(Bytes(stored[3]), 511)


def test_the_digits_of_a_sparse_map() -> None:
    assert pax_map(b"0," + b"9" * 19) == [Segment(0, int("9" * 19))]
    with pytest.raises(DamagedError):
        pax_map(b"0," + b"9" * 20)


def test_a_number_that_the_next_block_goes_on_with() -> None:
    widths = [16] * 26 + [15] * 3 + [19]
    values = [b"%0*d" % (width, number // 2 * 2 * (number % 2 == 0))
              for number, width in enumerate(widths)]  # fmt: skip
    data = b"\n".join([b"15", *values, b""])
    assert data[512 - 19 : 513] == values[-1] + b"\n"  # all of its digits, but not its end
    segments, used = pax_map_in_data(Bytes(data.ljust(1024, b"\0")), 1024)
    assert (len(segments), used) == (15, 1024)


def test_gnu_map_blocks_are_read_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "_MAX_SEGMENTS", 4 + 21)
    pair = b"%011o\0" % 1 * 2
    first = bytes(386) + pair * 4 + b"\1"
    more = (pair * 21).ljust(504, b"\0") + b"\1" + bytes(7)
    last = (pair * 21).ljust(512, b"\0")
    number = lambda field: int(field.strip(b"\0"), 8)  # noqa: E731
    assert len(old_gnu_map(first[:482] + b"\0", Bytes(b""), number)) == 4
    assert len(old_gnu_map(first, Bytes(last), number)) == 25
    # The one that goes beyond is refused by `check_sparse_map`; none is read behind it.
    assert len(old_gnu_map(first, Bytes(more * 2), number)) == 46


@pytest.mark.parametrize(
    ("segments", "size", "stored", "is_whole"),
    [
        ([(0, 5), (5, 5)], 10, 10, True),
        ([(0, 5), (4, 5)], 10, 10, False),
        ([(0, 5), (6, 5)], 10, 10, False),
        ([(0, 5)], 10, 4, False),
        ([(0, 5)], 10, 6, False),
        ([(10, 0)], 10, 0, True),
        ([(11, 0)], 10, 0, False),
        ([(3, 0), (3, 2)], 10, 2, True),
        ([(3, -1)], 10, -1, False),
    ],
)
def test_where_segments_may_be(
    segments: list[tuple[int, int]], size: int, stored: int, is_whole: bool
) -> None:
    told = [Segment(*segment) for segment in segments]
    if is_whole:
        check_sparse_map(told, size, stored, "a")
    else:
        with pytest.raises(DamagedError):
            check_sparse_map(told, size, stored, "a")


# Memory


def test_what_entries_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.layers.budget.FREE", 100)
    monkeypatch.setattr("toolkit.layers.budget.RATIO", 2)
    Budget().take(100 + 2 * 10, 10)
    with pytest.raises(RefusedError, match="taken for an attack"):
        Budget().take(101 + 2 * 10, 10)


# Images


def test_indexes_in_one_another(layout: Layout) -> None:
    entry = on(layout.manifest(), "amd64")
    for _ in range(4):
        entry = layout.index(entry)
    assert read_image(layout.write(entry))
    with pytest.raises(RefusedError, match="deeper than 4 levels"):
        read_image(layout.write(layout.index(entry)))


def test_manifests_of_one_image(layout: Layout) -> None:
    image = on(layout.manifest(), "amd64")
    many = [layout.index({**image, "annotations": {"n": str(n)}}) for n in range(64)]
    assert read_image(layout.write(*many[:63]))  # and the image's own
    with pytest.raises(RefusedError, match="more than 64 manifests"):
        read_image(layout.write(*many))


@pytest.mark.usefixtures("home")
def test_search_registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (16, 17):
        hosts = ", ".join(f'"r{n}.example"' for n in range(count))
        config = tmp_path / "registries.conf"
        config.write_text(f"unqualified-search-registries = [{hosts}]\n")
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(config))
        if count == 16:
            registries_conf.load_registries_conf()
        else:
            with pytest.raises(RefusedError, match="more than 16 search registries"):
                registries_conf.load_registries_conf()


# The tree that is written


class NoData:
    """For files that have no content."""

    fragment_count = 0
    fragment_table = b""

    def place(self, content: object) -> object:
        raise AssertionError


def written(root: Inode) -> InodeTables:
    with Compressor(1) as compressor:
        tables = InodeTables(NoData(), XattrTable(compressor), compressor)  # type: ignore[arg-type]
        tables.write(root)
    return tables


def tree_of(*names: bytes) -> Inode:
    """Pipes in a directory; each has an owner of its own."""
    root = new_directory()
    root.children = {
        name: Inode(InodeType.FIFO, 0o644, uid=number) for number, name in enumerate(names)
    }
    return root


NAMES = tuple(b"%04d" % n for n in range(5))


@pytest.mark.parametrize(
    ("limit", "told"), [("MAX_ENTRIES", "more than 4 names"), ("_MAX_IDS", "more than 4 owners")]
)
def test_names_and_owners(monkeypatch: pytest.MonkeyPatch, limit: str, told: str) -> None:
    monkeypatch.setattr(inodes, limit, 4)
    assert len(written(tree_of(*NAMES[:4])).references) == 5
    with pytest.raises(RefusedError, match=told):
        written(tree_of(*NAMES))


def test_the_longest_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inodes, "MAX_PAYLOAD_PATH", 10)
    for name, fits in ((b"0123456789", True), (b"0123456789a", False)):
        for root in (tree_of(name), below(name[:5], name[6:])):
            if fits:
                written(root)
            else:
                with pytest.raises(RefusedError, match="a path of the image has 11 bytes"):
                    written(root)


def below(directory: bytes, name: bytes) -> Inode:
    root = new_directory()
    root.children = {directory: tree_of(name)}
    return root


@pytest.mark.parametrize(
    ("limit", "table"), [("MAX_INODE_TABLE", "inodes"), ("MAX_DIRECTORY_TABLE", "directories")]
)
def test_the_tables_sizes(monkeypatch: pytest.MonkeyPatch, limit: str, table: str) -> None:
    size = getattr(written(tree_of(*NAMES)), table).size
    monkeypatch.setattr(inodes, limit, size)
    written(tree_of(*NAMES))
    monkeypatch.setattr(inodes, limit, size - 1)
    with pytest.raises(RefusedError, match="too many files"):
        written(tree_of(*NAMES))


def test_symlinks_and_directories_on_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    root = new_directory()
    root.children = {b"0": new_directory()}
    for number in range(1, 42):
        root.children[b"%d" % number] = Inode(InodeType.SYMLINK, 0o777, target=b"%d" % (number - 1))
    assert look_up(root, b"40") is root.children[b"0"]
    with pytest.raises(RefusedError, match="loop of symlinks"):
        look_up(root, b"41")
    monkeypatch.setattr("toolkit.squashfs.tree.MAX_DEPTH", 4)
    assert look_up(new_directory(), b"a/b/c", create=True)
    with pytest.raises(RefusedError, match="more than 4 directories deep"):
        look_up(new_directory(), b"a/b/c/d", create=True)
