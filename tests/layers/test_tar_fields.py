"""Every field of a tar header, filled to its edges: nothing of its neighbours is taken for its own.

Offsets are those of POSIX pax, "ustar Interchange Format", and of GNU tar's manual.
"""

from __future__ import annotations

import struct

import pytest
from test_exact_limits import END
from test_exact_limits import header as plain_header
from test_tar import Bytes, read

from toolkit.errors import DockercError
from toolkit.layers.sparse import Segment, old_gnu_map

EDGES = {
    "name": (0, b"n" * 100), "mode": (100, b"76543217"), "uid": (108, b"17654321"),
    "gid": (116, b"12345671"), "size": (124, b"100000000001"), "mtime": (136, b"712345670123"),
    "kind": (156, b"2"), "link": (157, b"l" * 100), "magic": (257, b"ustar\x0000"),
    "uname": (265, b"u" * 32), "gname": (297, b"g" * 32), "major": (329, b"10001234"),
    "minor": (337, b"10004321"), "prefix": (345, b"p" * 155),
}  # fmt: skip


def header(signed: bool = False, **changes: bytes) -> bytes:
    """A header without a gap; `changes` to fields."""
    made = bytearray(512)
    for field, (at, value) in EDGES.items():
        value = changes.get(field, value).ljust(len(value), b"\0")
        made[at : at + len(value)] = value
    made[500:] = b"12345670" + b"1234"  # behind the prefix, where POSIX has nothing
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(struct.unpack("512b" if signed else "512B", made))
    return bytes(made)


def test_fields_end_where_the_next_begins() -> None:
    ((item, _),) = read(header() + END)
    assert item.name == b"p" * 155 + b"/" + b"n" * 100
    assert item.link == b"l" * 100
    assert (item.mode, item.uid, item.gid) == (0o6543217 & 0o7777, 0o17654321, 0o12345671)
    assert (item.size, item.mtime, item.device) == (0o100000000001, 0o712345670123, (0, 0))
    assert item.stored == 0, "a link has no content, whatever its size says"


@pytest.mark.parametrize("kind", [b"3", b"4"])
def test_devices(kind: bytes) -> None:
    ((item, _),) = read(header(kind=kind) + END)
    assert item.device == (0o10001234, 0o10004321)


def test_the_prefix_is_posix_s_alone() -> None:
    """GNU has times there, "ustar" and two spaces as its magic, and older tars have nothing."""
    for magic in (b"ustar  \0", b"\0" * 8):
        ((item, _),) = read(header(magic=magic) + END)
        assert item.name == b"n" * 100
    ((item, _),) = read(header(prefix=b"") + END)
    assert item.name == b"n" * 100


@pytest.mark.parametrize("field", ["uid", "gid", "mtime"])
def test_numbers_of_base_256(field: str) -> None:
    """The first bit says that it is one; the rest is a two's complement (GNU tar's manual)."""
    width = len(EDGES[field][1])
    bits = 8 * width - 1
    for value in (0, 1, 255, 256, (1 << bits - 1) - 1, -1, -2, -(1 << bits - 1)):
        data = (value % (1 << bits) | 1 << bits).to_bytes(width, "big")
        ((item, _),) = read(header(**{field: data}) + END)
        assert getattr(item, field) == value


def test_numbers_that_are_none() -> None:
    for text, value in ((b"  17 \0", 0o17), (b"", 0), (b" ", 0), (b"7\0junk", 7)):
        ((item, _),) = read(header(uid=text) + END)
        assert item.uid == value
    for text in (b"8", b"-x", b"1 2"):
        with pytest.raises(DockercError, match="an invalid number"):
            list(read(header(uid=text) + END))


@pytest.mark.parametrize("high", [b"\x7e", b"\x7f", b"\x80", b"\xff"])
def test_checksums_of_signed_and_unsigned_bytes(high: bytes) -> None:
    """Old writers summed signed bytes; what is before and behind the sum counts, and not itself."""
    for changes in (
        {"name": high * 100}, {"mtime": b"\x80" + b"\0" * 10 + high}, {"kind": high},
        {"link": high + b"l" * 99},
    ):  # fmt: skip
        changes["size"] = b"0" * 12
        for signed in (False, True):
            made = header(signed, **changes)
            told = made[148:156]
            list(read(made + END))
            for wrong in (-1, 1, 256, -256):
                other = b"%06o\0 " % max(0, int(told[:6], 8) + wrong)
                spoiled = made[:148] + other + made[156:]
                sums = {int(header(each, **changes)[148:154], 8) for each in (False, True)}
                if int(other[:6], 8) not in sums:
                    with pytest.raises(DockercError, match="checksum"):
                        list(read(spoiled + END))


def with_records(*records: bytes, kind: str = "x") -> bytes:
    data = b"".join(records)
    return plain_header(kind, len(data)) + data.ljust(-(-len(data) // 512) * 512, b"\0")


ENTRY = plain_header("0", 0) + END


@pytest.mark.parametrize(
    "line",
    [b"4 =v", b"9 uid=5\n", b"7 uid=5\n", b"8 uid=5", b"8 uid=5\n5", b"x uid=5\n",
     b" 8uid=5\n", b"8uid=5\n\n", b"5 uid\n", b"6 uid5\n", b"0 a=b\n", b"-8 uid=5\n",
     b"00000000000000000008 uid=5\n", b"6 uid\n\n"],
)  # fmt: skip
def test_records_that_are_malformed(line: bytes) -> None:
    with pytest.raises(DockercError, match="PAX header"):
        list(read(with_records(line) + ENTRY))


def record(key: bytes, value: bytes) -> bytes:
    """A record of PAX, whose length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest)
    while len(b"%d" % size) + len(rest) != size:
        size += 1
    return b"%d" % size + rest


def test_records_say_more_than_fields() -> None:
    said = {b"path": b"p" * 120, b"linkpath": b"l" * 120, b"uid": b"-5", b"gid": b"1" * 20,
            b"mtime": b"-12345678.75", b"SCHILY.xattr.user.a": b"v=\n1",
            b"SCHILY.xattr.user.empty": b"", b"": b"v"}  # fmt: skip
    records = (record(key, value) for key, value in said.items())
    ((item, _),) = read(with_records(*records) + ENTRY)
    assert (item.name, item.link) == (b"p" * 120, b"l" * 120)
    assert (item.uid, item.gid, item.mtime) == (-5, int("1" * 20), -12345678)
    assert item.xattrs == ((b"user.a", b"v=\n1"), (b"user.empty", b""))


@pytest.mark.parametrize("value", [b"1" * 21, b"-", b"--1", b"1.x", b"1.-", b"+1", b" 1", b".5"])
def test_decimals_that_are_none(value: bytes) -> None:
    with pytest.raises(DockercError, match="bad uid"):
        list(read(with_records(record(b"uid", value)) + ENTRY))


def test_a_global_header_and_one_of_another_entry_say_nothing() -> None:
    uid = record(b"uid", b"1")
    for before in (with_records(uid, kind="g"), with_records(uid) + plain_header("0", 0)):
        *_, (item, _) = read(before + ENTRY)
        assert item.uid == 0


def test_names_of_gnu_tar() -> None:
    name, link = b"n" * 511 + b"\0", b"l" * 512 + b"\0"
    data = plain_header("L", len(name)) + name
    data += plain_header("K", len(link)) + link.ljust(1024, b"\0")
    ((item, _),) = read(data + ENTRY)
    assert (item.name, item.link) == (b"n" * 511, b"l" * 512)


def test_old_tars_have_directories_by_a_slash() -> None:
    made = plain_header("0", 0)
    for name, kind in ((b"d/", ord("5")), (b"f", ord("0"))):
        changed = name.ljust(100, b"\0") + made[100:148] + b" " * 8 + made[156:]
        changed = changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]
        ((item, _),) = read(changed + END)
        assert (item.type, item.name) == (kind, name)


def test_the_maps_of_gnu_s_sparse_files() -> None:
    """Four pairs of twelve digits in the header, the file's size, and 21 pairs in each block."""
    pairs = [(0o100000000007 + n, 0o200000000005 + n) for n in range(4 + 21)]
    digits = [b"%012o%012o" % pair for pair in pairs]
    header = bytes(386) + b"".join(digits[:4]) + b"\1"
    block = b"".join(digits[4:]) + bytes(8)
    found = old_gnu_map(header, Bytes(block), lambda field: int(field, 8))
    assert found == [Segment(*pair) for pair in pairs]
