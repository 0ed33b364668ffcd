"""Damaged and hostile executables: one sentence, no file, bounded time and memory."""

from __future__ import annotations

import io
import os
import resource
import shutil
import struct
from pathlib import Path
from tarfile import TarInfo

import pytest
from hostile_support import attempt, bounded, without_seal, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout import directory, entry, file, pax, symlink, tar_of, write_layout
from support import dockerc, failed

from toolkit.bundle.baked import BakedOptions
from toolkit.commands.progress_display import Silent
from toolkit.errors import DockercError
from toolkit.executable.executable import open_executable
from toolkit.images.source import Platform
from toolkit.layers.entry import Entry, EntryKind
from toolkit.layers.merge import merge
from toolkit.layers.pack import Pack
from toolkit.services.build import build
from toolkit.services.export.bundle import write_rootfs
from toolkit.services.export.image import write_docker_archive, write_oci_layout
from toolkit.services.pack_layers import Parameters
from toolkit.squashfs.read.lookup import reading

WAYS = ("rootfs", "bundle", "oci", "docker-archive")


def bounded_memory() -> None:
    """For a child: half a gigabyte of addresses, libraries included."""
    resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))


def refused(app: Path, out: Path, told: str = "") -> None:
    """Every command, as a user calls it, says one sentence and writes nothing."""
    commands: list[list[str | Path]] = [
        ["inspect", app], ["ls", app], ["cat", app, "/a"], ["verify", app], ["diff", app, app],
        ["replace", app, out], ["edit", app, out, "-e", "A=1"], ["extract", app, out],
        ["extract", app, "-"], *(["extract", app, f"--{way}", out] for way in WAYS),
    ]  # fmt: skip
    before = sorted(out.parent.iterdir())
    for words in commands:
        sentence = failed(*words, timeout=60, preexec_fn=bounded_memory)
        assert told in sentence
    assert sorted(out.parent.iterdir()) == before


def test_truncation_anywhere(sound: dict[str, bytes], shared: Path, no_elf: None) -> None:
    """At every 4 KiB, and at every byte of the last 64."""
    for data in sound.values():
        lengths = {*range(0, len(data), 4096), *range(len(data) - 64, len(data))}
        for length in sorted(lengths):
            told = attempt(write(shared / "app", data[:length]), shared / "out")
            assert len(told) == 1 and "not a dockerc executable" in told[0], length


FOOTERS = {
    "beyond the end": struct.pack("<Q8x", 1 << 40),
    "into the footer": struct.pack("<Q8x", 1 << 13),
    "overflowing": struct.pack("<Q8x", (1 << 64) - 4096),
    "the start": bytes(16),
    "nothing but ones": b"\xff" * 16,
}


@pytest.mark.parametrize("name", FOOTERS)
def test_footers_that_lie(sound: dict[str, bytes], shared: Path, name: str) -> None:
    app = write(shared / "app", sound["compressed"][:-16] + FOOTERS[name])
    refused(app, shared / "out", "not a dockerc executable")


def test_a_magic_alone_is_no_squashfs(shared: Path) -> None:
    data = bytes(4096) + b"hsqs" + bytes(8000) + struct.pack("<Q8x", 4096)
    refused(write(shared / "app", data), shared / "out", "not a dockerc executable")


FIELDS = {"inodes": "<I", "time": "<I", "block size": "<I", "fragments": "<I", "compression": "<H",
          "block log": "<H", "flags": "<H", "ids": "<H", "major": "<H", "minor": "<H",
          "root inode": "<Q", "bytes used": "<Q", "id table": "<Q", "xattr table": "<Q",
          "inode table": "<Q", "directory table": "<Q", "fragment table": "<Q",
          "export table": "<Q"}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_superblocks_that_lie(
    sound: dict[str, bytes], shared: Path, name: str, no_elf: None
) -> None:
    harmless = ("time", "flags")
    names = list(FIELDS)
    at = 4 + sum(struct.calcsize(FIELDS[before]) for before in names[: names.index(name)])
    size = struct.calcsize(FIELDS[name])
    data = sound["readable"]
    start = data.index(b"hsqs") + at
    actual = int.from_bytes(data[start : start + size], "little")
    largest = (1 << 8 * size) - 1
    for value in {0, 1, actual ^ 1, actual + 1 & largest, actual + 4096 & largest, largest >> 1,
                  largest - 1, largest} - {actual}:  # fmt: skip
        changed = data[:start] + value.to_bytes(size, "little") + data[start + size :]
        told = attempt(write(shared / "app", changed), shared / "out")
        # Without an export table a filesystem is whole, and nothing here is compressed.
        whole = name in harmless or (name, value) in (("export table", largest), ("compression", 1))
        assert whole or told, (name, value)


@given(st.binary(max_size=600), st.integers(0, 700))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_anything_behind_a_superblock(data: bytes, at: int) -> None:
    """A believable superblock whose tables are noise."""
    from io import BytesIO

    from toolkit.squashfs.read.filesystem import Filesystem
    from toolkit.squashfs.read.space_usage import space_of
    from toolkit.squashfs.structs import NO_TABLE, Superblock

    size = 96 + len(data)
    table = min(96 + at, size)
    superblock = Superblock(
        inodes=3, mkfs_time=0, block_size=4096, fragments=0, compression=6, flags=0, ids=1,
        root_inode=0, bytes_used=size, id_table=96, xattr_table=NO_TABLE, inode_table=96,
        directory_table=table, fragment_table=NO_TABLE, export_table=NO_TABLE,
    )  # fmt: skip
    filesystem = Filesystem(BytesIO(superblock.encode() + data), 0, superblock)
    for work in (lambda: space_of(filesystem), lambda: list(filesystem.walk(filesystem.root))):
        with pytest.raises(DockercError), reading("noise"):
            work()


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1 and len(old) == len(new)
    return data.replace(old, new)


@pytest.mark.parametrize("name", [b"../e", b"a/bc", b"..\0x", b"a\0bc"])
def test_names_that_are_none(shared: Path, name: bytes, no_elf: None) -> None:
    layers = [tar_of(file("abcd", b"x"), directory("zz"))]
    layout = write_layout(shared / "layout", layers)
    dockerc("build", f"oci:{layout}", "-o", shared / "made", "--compression", "none")
    data = without_seal(shared / "made", shared)
    app = write(shared / "app", patched(data, b"abcd", name))
    told = attempt(app, shared / "out")
    assert sum("a name in its squashfs is not valid" in sentence for sentence in told) >= 3


def test_loops_of_directories(shared: Path, no_elf: None) -> None:
    """`inner` becomes a name of the directory above it."""
    layers = [tar_of(directory("outer"), directory("outer/inner"), file("outer/inner/f", b"x"))]
    layout = write_layout(shared / "layout", layers)
    dockerc("build", f"oci:{layout}", "-o", shared / "made", "--compression", "none")
    data = bytearray(without_seal(shared / "made", shared))

    def entry_at(name: bytes) -> int:
        return data.index(name) - 8  # the entry's fields stand before its name

    outer, inner = entry_at(b"outer"), entry_at(b"inner")
    data[inner : inner + 2] = data[outer : outer + 2]
    # Numbers are relative to those of each directory's header, which stands before its entry.
    header_outer, header_inner = outer - 4, inner - 4
    data[header_inner : header_inner + 4] = data[header_outer : header_outer + 4]
    data[inner + 2 : inner + 4] = data[outer + 2 : outer + 4]
    told = attempt(write(shared / "app", bytes(data)), shared / "out")
    assert sum("loop" in sentence for sentence in told) >= 3, told


def test_files_of_more_blocks_than_there_are(shared: Path, no_elf: None) -> None:
    size = 12_345
    layout = write_layout(shared / "layout", [tar_of(file("f", os.urandom(size)))])
    dockerc("build", f"oci:{layout}", "-o", shared / "made", "--compression", "none",
            "--block-size", "4K")  # fmt: skip
    data = without_seal(shared / "made", shared)
    old = struct.pack("<I", size)
    for claimed in (0xFFFFFFFF, 0x7FFFFFFF, 1 << 24, 20_000):
        app = write(shared / "app", patched(data, old, struct.pack("<I", claimed)))
        assert len(attempt(app, shared / "out")) >= 3


def test_what_unfolds_to_more_than_the_disk_holds(
    hello: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes can be terabytes: it is asked before, not found out when the disk is full."""
    layout = write_layout(tmp_path / "layout", [tar_of(file("f", bytes(3 << 20)))])
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "holes")
    for app, free, ways in (
        (hello, 1000, (write_rootfs, write_docker_archive, write_oci_layout)),
        (tmp_path / "holes", 2 << 20, (write_docker_archive, write_oci_layout)),
    ):
        usage = shutil.disk_usage(shared)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        with open_executable(app) as executable:
            for write_out in ways:
                with pytest.raises(DockercError, match=f"{free} left"):
                    write_out(executable, shared / "out")
    with open_executable(tmp_path / "holes") as executable:
        write_rootfs(executable, shared / "out")  # where holes cost nothing
    assert [path.name for path in shared.iterdir()] == ["out"]


def test_a_block_that_unfolds_beyond_its_size(shared: Path, no_elf: None) -> None:
    """64 MiB in two kilobytes where a block has four."""
    import zstandard

    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    content = os.urandom(4096)
    layout = write_layout(shared / "layout", [tar_of(file("f", content))])
    dockerc("build", f"oci:{layout}", "-o", shared / "made", "--compression", "none",
            "--block-size", "4K")  # fmt: skip
    data = without_seal(shared / "made", shared)
    data = patched(data, content, bomb.ljust(4096, b"\0"))
    # The size word, whose bit 24 says that the block is stored as it is.
    data = patched(data, struct.pack("<I", 4096 | 1 << 24), struct.pack("<I", 4096))
    told = attempt(write(shared / "app", data), shared / "out")
    assert sum("larger than a block can be" in sentence for sentence in told) >= 3, told


def test_what_is_no_file_at_all(shared: Path) -> None:
    os.mkfifo(shared / "fifo")
    (shared / "directory").mkdir()
    (shared / "empty").write_bytes(b"")
    for name in ("fifo", "directory", "empty", "missing"):
        refused(shared / name, shared / "out")
    refused(Path("/dev/zero"), shared / "out")


def test_a_stub_that_is_no_elf_or_a_broken_one(sound: dict[str, bytes], shared: Path) -> None:
    data = bytearray(sound["compressed"])
    for stub in (b"\x7fELF", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0" + b"\xff" * 200):
        data[: len(stub)] = stub
        app = write(shared / "app", bytes(data))
        told = dockerc("inspect", "--format", "{{.Stub.Current}}", app).stdout
        assert told == "false\n"
    # Nothing tells its architecture any more but the image's own word.
    dockerc("replace", app, shared / "new")


def test_a_terminal_is_safe_from_names(shared: Path) -> None:
    strange = entry("x")
    strange.pax_headers = {"SCHILY.xattr.\x1b[2J": "1"}
    layers = [tar_of(file("a\x1b[2Jb", b"x"), entry("l", b"2", linkname="\x1b]0;x\x07"), strange)]
    config = {"Cmd": ["\x1b[31m"], "Labels": {"\x1b[31m": "\x1b[31m"}}
    layout = write_layout(shared / "layout", layers, config, history=["RUN \x1b[31m\r\n"])
    plain = write_layout(shared / "plain", layers[:0])
    built = dockerc("build", f"oci:{layout}", "-o", shared / "app").stderr
    assert "attributes \\x1b[2J" in built and "\x1b" not in built
    dockerc("build", f"oci:{plain}", "-o", shared / "other")
    for words in (["ls", "-lR"], ["inspect"], ["verify"], ["diff", shared / "other"]):
        told = dockerc(*words, shared / "app", check=False).stdout
        assert told and "\x1b" not in told and "\r" not in told


@pytest.mark.parametrize(
    "layer",
    [
        [entry("h\x1b[2J\n", b"1", linkname="\x1b]0;x\x07")],
        [symlink("s\x1b[2J", "s\x1b[2J"), file("s\x1b[2J/f")],
    ],
)
def test_a_terminal_is_safe_from_sentences(shared: Path, layer: list[TarInfo]) -> None:
    layout = write_layout(shared / "layout", [tar_of(*layer)])
    assert "\x1b" not in failed("build", f"oci:{layout}", "-o", shared / "app")


DEEP = "/".join(["d"] * 1000)


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ([pax("s", {"linkpath": "a\0b"}, b"2")], "target in its tar holds a zero byte"),
        ([symlink("s", "t" * 4096)], "target in its tar has 4096 bytes; 1 to 4095 are possible"),
        (
            [file(f"{DEEP}/x"), symlink("s", DEEP), file(f"s/{DEEP}/x")],
            "is more than 1024 directories deep",
        ),
        (
            [pax("f", {f"SCHILY.xattr.user.{n}": "v" * 50_000 for n in range(3)})],
            "bytes of extended attributes; at most 131072 are taken",
        ),
    ],
)
def test_layers_that_nothing_could_read(shared: Path, layer: list[TarInfo], sentence: str) -> None:
    layout = write_layout(shared / "layout", [tar_of(*layer)])
    told = failed("build", f"oci:{layout}", "-o", shared / "app")
    assert sentence in told and len(told) < 500


@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [
        ("_MAX_TEXT", 1 << 20, "names and attributes of its tar exceed 1048576 bytes"),
        ("MAX_ENTRIES", 299, "its tar has more than 299 entries"),
    ],
)
def test_names_without_end(
    shared: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, sentence: str
) -> None:
    monkeypatch.setattr(f"toolkit.layers.packer.{limit}", value)
    layout = write_layout(
        shared / "layout", [tar_of(*(symlink(f"{n}", "t" * 4000) for n in range(300)))]
    )
    with pytest.raises(DockercError, match=sentence):
        build(f"oci:{layout}", shared / "app", Platform("linux", "amd64"), rootfull=False,
              baked=BakedOptions(), parameters=Parameters(), cache=None,
              progress=Silent())  # fmt: skip


def test_attributes_with_a_zero_byte_are_left_out(shared: Path) -> None:
    layer = tar_of(pax("f", {"SCHILY.xattr.user.a\0b": "1"}))
    layout = write_layout(shared / "layout", [layer])
    told = dockerc("build", f"oci:{layout}", "-o", shared / "app").stderr
    assert "1 extended attributes user.a\\x00b" in told


def test_thousands_of_whiteouts_of_one_directory() -> None:
    """The first does the work; 20,000 times 20,000 steps would take minutes."""
    entries = [Entry(b"d/%d" % n, EntryKind.FILE, 0o644, 0, 0, 0) for n in range(20_000)]
    for kind, path in ((EntryKind.OPAQUE, b"d"), (EntryKind.WHITEOUT, b"d")):
        entries += [Entry(path, kind, 0, 0, 0, 0) for _ in range(20_000)]
    with bounded("merge"):
        root = merge([Pack(io.BytesIO(), 4096, entries)])
    assert root.children and len(root.children[b"d"].children or ()) == 20_000
