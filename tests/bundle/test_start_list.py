"""Start lists: what a profile becomes for an image, and that reading one back is safe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.bundle import start_list
from toolkit.bundle.profile import Line, Profile, Recording, Use
from toolkit.bundle.start_list import MAX_START_LIST, decode, encode, renumbered, resolve
from toolkit.errors import DamagedError
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Content, Inode, new_directory
from toolkit.squashfs.write.inodes import inode_numbers

BLOCK = 1 << 16
"""Sixteen pages."""


def regular(size: int, digest: bytes = b"d") -> Inode:
    return Inode(InodeType.FILE, 0o644, content=Content(size, digest, 0, 0, 1, -1, 0))


def image(**files: Inode) -> Inode:
    root = new_directory()
    assert root.children is not None
    root.children |= {name.encode(): inode for name, inode in files.items()}
    return root


def profile(*recordings: Recording) -> Profile:
    return Profile(recordings, "sha256:0")


def read(path: str, *ranges: tuple[int, int]) -> Line:
    return Line(Use.READ, path.encode(), ranges)


def test_only_what_is_there_is_listed() -> None:
    root = image(app=regular(5000), sub=new_directory())
    lines = [
        Line(Use.NAME, b""),
        Line(Use.NAME, b"app"),
        Line(Use.NAME, b"gone"),
        Line(Use.NONE, b"gone/deeper"),
        Line(Use.NONE, b"sub"),
        Line(Use.LIST, b"app"),
        Line(Use.LIST, b"sub"),
        read("sub", (0, 1)),
        read("app", (0, 9)),
    ]
    found = resolve(profile(Recording(b"app", lines), Recording(b"nope", lines)), root, BLOCK)
    (section,) = found.sections
    assert [(line.use, line.path) for line, _ in section.uses] == [
        (Use.NAME, b""), (Use.NAME, b"app"), (Use.NONE, b"gone/deeper"), (Use.LIST, b"sub"),
        (Use.READ, b"app"),
    ]  # fmt: skip
    assert section.uses[-1][0].ranges == ((0, 2),)  # as far as the file goes
    assert found.missing == 4  # gone, sub, app, nope
    assert list(found.hot.items()) == [(root.children[b"app"], [0])]  # type: ignore[index]


def test_a_block_is_one_entry_where_it_is_first_read() -> None:
    root = image(app=regular(40 * 4096))
    lines = [read("app", (0, 1)), read("app", (16, 1)), read("app", (15, 3)), read("app", (30, 20))]
    (section,) = resolve(profile(Recording(b"app", lines)), root, BLOCK).sections
    # A gap of four pages is read with the rest, one of more is not.
    assert [line.ranges for line, _ in section.uses] == [
        ((0, 1), (15, 1)), ((16, 2), (30, 2)), ((32, 8),)
    ]  # fmt: skip


def test_recordings_of_a_program_are_one_list() -> None:
    root = image(app=regular(BLOCK), other=regular(BLOCK, b"o"))
    once = Recording(b"app", [Line(Use.NAME, b"app"), read("app", (0, 2))])
    more = Recording(b"app", [Line(Use.NAME, b"app"), read("app", (1, 2)), read("other", (0, 1))])
    (section,) = resolve(profile(once, more, once), root, BLOCK).sections
    assert [(line.path, line.ranges) for line, _ in section.uses] == [
        (b"app", ()), (b"app", ((0, 3),)), (b"other", ((0, 1),))
    ]  # fmt: skip
    two = resolve(profile(once, Recording(b"other", more.lines)), root, BLOCK)
    assert [section.program for section in two.sections] == [
        root.children[name]  # type: ignore[index]
        for name in (b"app", b"other")
    ]


def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_list, "MAX_PAGES", 5)
    root = image(app=regular(1 << 20))
    lines = [read("app", (0, 3)), read("app", (16, 3)), read("app", (32, 1))]
    (section,) = resolve(profile(Recording(b"app", lines)), root, BLOCK).sections
    assert sum(count for line, _ in section.uses for _, count in line.ranges) == 5


def test_a_list_is_read_as_it_was_written() -> None:
    root = image(app=regular(BLOCK), sub=new_directory())
    lines = [
        Line(Use.NAME, b"app"),
        Line(Use.NONE, b"x"),
        Line(Use.LIST, b"sub"),
        read("app", (0, 1)),
    ]
    resolved = resolve(profile(Recording(b"app", lines)), root, BLOCK)
    numbers = inode_numbers(root)
    ((program, entries),) = decode(encode(resolved, numbers))
    assert root.children is not None
    assert program == numbers[root.children[b"app"]]
    assert [(e.use, e.number, e.path, e.ranges) for e in entries] == [
        (Use.NAME, program, b"app", ()),
        (Use.NONE, 0, b"x", ()),
        (Use.LIST, numbers[root.children[b"sub"]], b"sub", ()),
        (Use.READ, program, b"", ((0, 1),)),
    ]


def test_numbers_after_a_change() -> None:
    root = image(app=regular(BLOCK), gone=regular(10, b"g"))
    lines = [Line(Use.NAME, b"app"), Line(Use.NAME, b"gone"), read("gone", (0, 1))]
    data = encode(resolve(profile(Recording(b"app", lines)), root, BLOCK), inode_numbers(root))
    before = {number: inode for inode, number in inode_numbers(root).items()}
    assert root.children is not None
    root.children[b"aaa"] = regular(1, b"a")
    del root.children[b"gone"]
    after = inode_numbers(root)
    ((program, entries),) = decode(renumbered(data, before, after))
    app = after[root.children[b"app"]]
    assert program == app != before
    assert [(e.number, e.path) for e in entries] == [(app, b"app")]
    del root.children[b"app"]
    assert decode(renumbered(data, before, inode_numbers(root))) == []


def test_a_list_that_is_too_long() -> None:
    """The runtime reads none of more bytes, and `inspect` refuses it."""
    from pathlib import Path

    sources = Path(__file__).resolve().parents[2] / "runtimes/src/fuse/prefetch"
    text = "".join(path.read_text() for path in sources.glob("start_*.zig"))
    assert "pub const size_max = 4 << 20;" in text and MAX_START_LIST == 4 << 20
    assert "const pages_max = 1 << 16;" in text


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    root = image(app=regular(BLOCK))
    lines = [Line(Use.NAME, b"app"), read("app", (0, 1)), Line(Use.NONE, b"x")]
    resolved = resolve(profile(Recording(b"app", lines)), root, BLOCK)
    whole = encode(resolved, inode_numbers(root))
    for size in (len(whole), len(whole) - 1, len(whole) - 13, len(whole) - 14, 40, 30, 8):
        monkeypatch.setattr(start_list, "MAX_START_LIST", size)
        cut = encode(resolved, inode_numbers(root))
        assert len(cut) <= size
        assert [e for _, es in decode(cut) for e in es] == [
            e for _, es in decode(whole) for e in es
        ][: sum(len(es) for _, es in decode(cut))]


def sample() -> bytes:
    root = image(app=regular(BLOCK))
    lines = [Line(Use.NAME, b"app"), read("app", (0, 1))]
    return encode(resolve(profile(Recording(b"app", lines)), root, BLOCK), inode_numbers(root))


@given(st.data())
def test_any_bytes_are_a_list_or_damage(data: st.DataObject) -> None:
    whole = bytearray(sample())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for text in (cut, data.draw(st.binary(max_size=100)), b"dcstart1" + data.draw(st.binary())):
        try:
            sections = decode(text)
        except DamagedError:
            continue
        assert sum(len(entries) for _, entries in sections) * 12 <= len(text)
