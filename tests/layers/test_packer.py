"""What is stored once, and in which order small files share blocks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from layout import file, noise, symlink, tar_of, write_layout
from support import dockerc
from tree_support import Whole

from toolkit.layers import packer as module
from toolkit.layers.content import read_file
from toolkit.layers.merge import merge
from toolkit.layers.pack import Pack
from toolkit.layers.packer import Packer
from toolkit.squashfs.compress import Compressor

BLOCK = 1 << 16


def packed(layer: bytes) -> Pack:
    with Compressor(1) as compressor, tempfile.TemporaryFile() as scratch:
        packer = Packer(0, scratch, compressor, BLOCK)  # type: ignore[arg-type]
        return packer.read(Whole(layer))  # type: ignore[arg-type]


def test_small_files_share_blocks_by_extension_else_in_the_tar_s_order() -> None:
    names = ["z.py", "b.txt", "README", "a.py", "a.txt", ".hidden", "d/m.py", "Makefile"]
    layer = tar_of(*(file(name, noise(1000, n)) for n, name in enumerate(names)))
    placed = sorted(
        (entry.content.fragment, entry.content.fragment_offset, entry.path.decode())
        for entry in packed(layer).entries
    )
    code, others = ["z.py", "a.py", "d/m.py"], ["README", ".hidden", "Makefile", "b.txt", "a.txt"]
    assert placed == [
        (fragment, 1000 * number, name)
        for fragment, names in enumerate((code, others))
        for number, name in enumerate(names)
    ]


def test_fragments_of_code_are_half_as_large() -> None:
    elf = b"\x7fELF" + noise(9996, 1)
    contents = [("run", elf), ("it.pyc", noise(10_000, 2)), ("text", noise(10_000, 3))]
    layer = tar_of(
        *(file(f"{n}/{name}", data + bytes([n])) for name, data in contents for n in range(9))
    )
    fragments: dict[str, list[int]] = {}
    for entry in packed(layer).entries:
        if entry.content:
            name = entry.path.decode().rpartition("/")[2]
            fragments.setdefault(name, []).append(entry.content.fragment)
    assert [len(set(fragments[name])) for name in ("run", "it.pyc", "text")] == [3, 3, 2]


def test_what_every_start_reads_shares_a_fragment_wherever_it_is_in_the_layer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linker = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    sizes = {"etc/passwd": 900, "etc/ld.so.cache": 4000, "a/etc/passwd": 700, linker: 20_000}
    others = [file(f"usr/share/{n}", noise(9000, n)) for n in range(20)]
    passwd, cache, other, ld = (file(name, noise(size, size)) for name, size in sizes.items())
    monkeypatch.setattr(module, "_WINDOW", 40_000)
    pack = packed(tar_of(ld, *others[:10], passwd, other, *others[10:], cache))
    found = {entry.path.decode(): entry.content for entry in pack.entries if entry.content}
    start = [found[name] for name in ("etc/passwd", "etc/ld.so.cache", linker)]
    assert [each.fragment_offset for each in start] == [0, 900, 4900]
    together = [name for name, each in found.items() if each.fragment == start[0].fragment]
    assert sorted(together) == sorted(sizes.keys() - {"a/etc/passwd"})


def test_of_such_files_no_more_than_a_fragment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a layer of nothing else would be in memory, whole."""
    monkeypatch.setattr(module, "_WINDOW", 40_000)
    many = [file(f"{n}/ld-linux.so.2", noise(9000, n)) for n in range(5)]
    others = [file(f"{n}.txt", noise(9000, 10 + n)) for n in range(5)]
    *linkers, last = [entry.content.fragment for entry in packed(tar_of(*many, *others)).entries]
    assert linkers[:5] == [0, 0, 0, 1, 1] and last > 1


def test_equal_small_files_of_a_layer_are_stored_once() -> None:
    layer = tar_of(*(file(f"{n}", noise(30_000, n % 2)) for n in range(20)))
    pack = packed(layer)
    assert len(pack.sizes) == 1
    assert len({entry.content for entry in pack.entries}) == 2


def test_equal_files_of_an_image_are_stored_once(tmp_path: Path) -> None:
    sizes = []
    for name, copies in (("one", 1), ("four", 4)):
        data = noise(1_000_000, 1)
        layers = [
            tar_of(file(f"large{n}", data), file(f"again{n}", data), file(f"small{n}", data[:9999]))
            for n in range(copies)
        ]
        layout = write_layout(tmp_path / name, layers)
        dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
        sizes.append((tmp_path / "app").stat().st_size)
    assert sizes[1] - sizes[0] <= 8192, "more than names and inodes"


def test_a_file_is_read_back_out_of_its_pack() -> None:
    contents = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n" * 50, "etc/noise": noise(5000, 1),
        "etc/large": b"x" * (2 * BLOCK + 9), "etc/hole": bytes(BLOCK) + b"y", "etc/empty": b"",
    }  # fmt: skip
    layer = tar_of(*(file(name, data) for name, data in contents.items()), symlink("link", "etc"))
    with Compressor(1) as compressor, tempfile.TemporaryFile() as scratch:
        packer = Packer(0, scratch, compressor, BLOCK)  # type: ignore[arg-type]
        packs = [packer.read(Whole(layer))]  # type: ignore[arg-type]
        tree = merge(packs)
        for name, data in contents.items():
            assert read_file(tree, packs, f"/{name}") == data, name
        assert read_file(tree, packs, "link/passwd") == contents["etc/passwd"]
        assert read_file(tree, packs, "etc") is None and read_file(tree, packs, "none") is None


def test_a_file_in_the_first_fragment_or_of_it_all_is_read_back() -> None:
    for contents in (
        {"a": b"small"},
        {"a": noise(BLOCK, 1)},
        {"a": noise(BLOCK + 5, 2), "b": b"x"},
    ):
        layer = tar_of(*(file(name, data) for name, data in contents.items()))
        with Compressor(1) as compressor, tempfile.TemporaryFile() as scratch:
            packer = Packer(0, scratch, compressor, BLOCK)  # type: ignore[arg-type]
            packs = [packer.read(Whole(layer))]  # type: ignore[arg-type]
            tree = merge(packs)
            for name, data in contents.items():
                assert read_file(tree, packs, name) == data
