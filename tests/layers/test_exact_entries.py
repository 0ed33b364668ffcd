"""What a layer's entries may be, at each limit and one beyond; how files share blocks, exactly."""

from __future__ import annotations

import io
import tarfile
import tempfile
from typing import Any

import pytest
from layout import directory, entry, file, hard_link, noise, pax, symlink, tar_of
from test_packer import BLOCK, packed
from tree_support import Whole

from toolkit.errors import DockercError
from toolkit.layers import packer as module
from toolkit.layers import packfile
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.packer import Packer, clean_path
from toolkit.limits import MAX_ID, MAX_TARGET, MAX_XATTRS
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.tree import EMPTY


def entries(*made: Any) -> list[Entry]:
    return packed(tar_of(*made)).entries


def is_taken(*made: Any) -> bool:
    try:
        entries(*made)
    except DockercError:
        return False
    return True


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_owners(field: str) -> None:
    for owner in (0, MAX_ID):
        (made,) = entries(entry("a", **{field: owner}))
        assert getattr(made, field) == owner
    assert not is_taken(entry("a", **{field: MAX_ID + 1}))
    assert not is_taken(entry("a", **{field: -1}))


def test_times_that_squashfs_cannot_hold() -> None:
    times = [-1, 0, 1, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000]
    made = entries(*(entry(str(number), mtime=time) for number, time in enumerate(times)))
    assert [each.mtime for each in made] == [0, 0, 1, 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize(
    ("device", "expected"),
    [((0, 0), True), ((4095, 1048575), True), ((4096, 0), False), ((0, 1048576), False),
     ((-1, 0), False), ((0, -1), False)],
)  # fmt: skip
@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_device_numbers(device: tuple[int, int], expected: bool, kind: bytes) -> None:
    made = entry("a", kind, devmajor=device[0], devminor=device[1])
    data = tar_of(made, form=tarfile.GNU_FORMAT)
    if expected:
        assert packed(data).entries[0].device == device
    else:
        with pytest.raises(DockercError, match="device number"):
            packed(data)


def test_targets_of_symlinks() -> None:
    for length in (1, MAX_TARGET):
        assert entries(symlink("a", "t" * length))[0].target == b"t" * length
    assert not is_taken(symlink("a", "t" * (MAX_TARGET + 1)))
    assert not is_taken(symlink("a", ""))
    assert not is_taken(pax("a", {"linkpath": "x\0y"}, tarfile.SYMTYPE))


def test_extended_attributes_together() -> None:
    def of(size: int) -> tarfile.TarInfo:
        return pax("a", {"SCHILY.xattr.user.a": "v" * (size - len("user.a") - len("user.b")),
                         "SCHILY.xattr.user.b": ""})  # fmt: skip

    assert len(entries(of(MAX_XATTRS))[0].xattrs) == 2
    assert not is_taken(of(MAX_XATTRS + 1))


def test_which_extended_attributes_are_kept() -> None:
    names = ["user.a", "user.", "user", "trusted.a", "trusted.overlay.a", "user.overlay.a",
             "security.a", "system.a", "trusted.overlayfs"]  # fmt: skip
    pack = packed(tar_of(pax("a", {f"SCHILY.xattr.{name}": "v" for name in names})))
    kept = [name for name, _ in pack.entries[0].xattrs]
    assert kept == [b"security.a", b"trusted.a", b"trusted.overlayfs", b"user.a"]
    assert sum(pack.left_out.values()) == 5 and len(pack.left_out) == 5


def test_names_and_attributes_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    made = (symlink("name", "target"), pax("a", {"SCHILY.xattr.user.a": "value"}))
    monkeypatch.setattr(module, "_MAX_TEXT", len("nametargetauser.avalue"))
    assert is_taken(*made)
    assert not is_taken(*made, entry("b"))
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    monkeypatch.setattr(module, "_MAX_TEXT", 1000)
    assert is_taken(*made) and not is_taken(*made, entry("b"))


def test_blocks_of_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BLOCKS", 4)
    large = [file(str(n), noise(2 * BLOCK, n)) for n in range(3)]
    assert is_taken(*large[:2])
    assert not is_taken(*large[:2], file("more", noise(BLOCK, 9)))
    assert not is_taken(file("one", noise(4 * BLOCK + 1, 0)))
    assert is_taken(file("one", noise(3 * BLOCK + 1, 0)))


def test_whiteouts() -> None:
    made = entries(
        *(entry(name) for name in (
            ".wh.a", "d/.wh.a", "d/.wh..wh..opq", ".wh..wh..opq", ".wh.", "d/.wh..wh.plnk",
            "d/.wh..wh.", ".wha", ".wh..a",
        ))
    )  # fmt: skip
    assert [(each.kind, each.path) for each in made] == [
        (EntryKind.WHITEOUT, b"a"), (EntryKind.WHITEOUT, b"d/a"), (EntryKind.OPAQUE, b"d"),
        (EntryKind.OPAQUE, b""), (EntryKind.FILE, b".wha"), (EntryKind.WHITEOUT, b".a"),
    ]  # fmt: skip


def test_what_can_be_the_root() -> None:
    assert entries(directory("/"))[0].path == b""
    assert not is_taken(entry("a/..")) and not is_taken(symlink("a/..", "x"))
    assert clean_path(b"/../a/./b//../c/") == b"a/c"


def test_unknown_types_are_counted() -> None:
    pack = packed(tar_of(entry("a", b"Z"), entry("b", b"Z"), entry("c", b"Y"), entry("d")))
    assert sorted(pack.left_out.values()) == [1, 2] and [e.path for e in pack.entries] == [b"d"]


def test_where_files_are_stored() -> None:
    """A file of a block is one; a smaller one shares one, if it is not all zeros."""
    made = {
        "block": noise(BLOCK, 1), "small": noise(BLOCK - 1, 2), "more": noise(BLOCK + 1, 3),
        "zeros": bytes(BLOCK - 1), "hole": bytes(BLOCK), "holes": bytes(2 * BLOCK + 1),
        "one": b"\0", "none": b"",
    }  # fmt: skip
    found = {
        each.path.decode(): each.content
        for each in entries(*(file(name, data) for name, data in made.items()))
    }
    shared = [name for name, content in found.items() if content.fragment >= 0]
    assert shared == ["small"] and found["none"] is EMPTY
    blocks = {name: content.blocks for name, content in found.items() if name not in shared}
    assert blocks == {"block": 1, "more": 2, "zeros": 1, "hole": 1, "holes": 3, "one": 1, "none": 0}
    assert {name: content.size for name, content in found.items()} == {
        name: len(data) for name, data in made.items()
    }


@pytest.mark.parametrize(("name", "limit"), [("a.txt", BLOCK), ("a.py", BLOCK // 2)])
def test_a_fragment_is_filled_to_its_last_byte(name: str, limit: int) -> None:
    def fragments(*sizes: int) -> list[tuple[int, int]]:
        made = entries(*(file(f"{n}/{name}", noise(size, n)) for n, size in enumerate(sizes)))
        return [(each.content.fragment, each.content.fragment_offset) for each in made]

    assert fragments(limit - 9, 9, 5) == [(0, 0), (0, limit - 9), (1, 0)]
    assert fragments(limit - 9, 10, 5) == [(0, 0), (1, 0), (1, 10)]
    assert fragments(5, limit - 1) == [(0, 0), (1, 0)]


def test_small_files_are_sorted_together_up_to_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    def offsets() -> list[tuple[int, int]]:
        made = entries(file("a.z", noise(50, 1)), file("b.y", noise(50, 2)), file("c.x", b"c"))
        return [(each.content.fragment, each.content.fragment_offset) for each in made]

    monkeypatch.setattr(module, "_WINDOW", 102)
    assert offsets() == [(0, 51), (0, 1), (0, 0)]
    monkeypatch.setattr(module, "_WINDOW", 101)
    assert offsets() == [(0, 51), (0, 1), (0, 0)]
    monkeypatch.setattr(module, "_WINDOW", 100)
    assert offsets() == [(0, 50), (0, 0), (1, 0)]


def test_hard_links_and_modes_are_taken_over() -> None:
    made = entries(file("a", b"x", mode=0o6751), hard_link("/d/../b", "./a"), directory("d"))
    assert [(each.kind, each.path, each.target) for each in made] == [
        (EntryKind.FILE, b"a", b""), (EntryKind.HARD_LINK, b"b", b"a"),
        (EntryKind.DIRECTORY, b"d", b""),
    ]  # fmt: skip
    assert [each.mode for each in made] == [0o6751, 0o644, 0o755]


# Packs as files


def sealed() -> bytes:
    with Compressor(1) as compressor, tempfile.TemporaryFile() as scratch:
        data_hash = packfile.new_hash()
        packer = Packer(0, scratch, compressor, BLOCK, data_hash)  # type: ignore[arg-type]
        pack = packer.read(Whole(tar_of(file("a", noise(9, 1)))))  # type: ignore[arg-type]
        packfile.seal(pack, data_hash)
        scratch.seek(0)
        return scratch.read()


def test_a_pack_that_is_damaged_anywhere_is_none() -> None:
    data = sealed()
    assert packfile.load(io.BytesIO(data), 0, BLOCK)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1
        assert packfile.load(io.BytesIO(damaged), 0, BLOCK) is None, at
        assert packfile.load(io.BytesIO(data[:at]), 0, BLOCK) is None, at
    for other in (data + b"\0", b"\0" + data, b""):
        assert packfile.load(io.BytesIO(other), 0, BLOCK) is None
