"""The kernel proper in a bzImage: decompressed, and made what QEMU boots without the code around
it. Judged by lz4(1) and readelf(1)."""

from __future__ import annotations

import gzip
import os
import random
import struct
import subprocess
from pathlib import Path

import pytest
from kernel_support import XEN, bzimage, lz4_frame, vmlinux
from support import need

from toolkit.errors import DamagedError
from toolkit.machine import kernel_elf, kernel_lz4
from toolkit.machine.kernel import find
from toolkit.machine.kernel_elf import bootable
from toolkit.machine.kernel_lz4 import unpack_frames


def sized(payload: bytes) -> bytes:
    return payload + b"size"


@pytest.mark.parametrize("pack", ["lz4", "gzip"])
def test_it_is_what_qemu_boots(tmp_path: Path, pack: str) -> None:
    need("readelf", "lz4")
    whole = vmlinux()
    (tmp_path / "whole").write_bytes(whole)
    command = ["lz4", "-lc"] if pack == "lz4" else ["gzip", "-nc"]
    with (tmp_path / "whole").open("rb") as file:
        packed = subprocess.run(command, stdin=file, check=True, capture_output=True).stdout
    image = bzimage(payload=sized(packed) if pack == "lz4" else packed)
    (tmp_path / "kernel").write_bytes(image)
    kernel = find(str(tmp_path / "kernel"), "x86_64")
    made = kernel.image.read_bytes()
    assert made == bootable(whole) and len(made) < len(whole) - 4000

    def shown(path: Path) -> list[list[str]]:
        """Kind, addresses, size in memory and rights of each segment."""
        done = subprocess.run(["readelf", "-lW", path], check=True, capture_output=True, text=True)
        assert not done.stderr
        rows = [line.split() for line in done.stdout.splitlines() if " 0x" in line]
        return [[row[0], *row[2:4], *row[5:-1]] for row in rows if row[0] in ("LOAD", "NOTE")]

    assert shown(kernel.image) == shown(tmp_path / "whole") != []
    notes = subprocess.run(["readelf", "-nW", kernel.image], check=True, capture_output=True)
    assert b"Xen" in notes.stdout


@pytest.mark.parametrize(
    "whole",
    [
        vmlinux(notes=b""),
        vmlinux(notes=struct.pack("<III4sI", 4, 4, 6, b"Xen\0", 0)),
        vmlinux(notes=XEN.replace(b"Xen", b"Abc")),
        vmlinux(machine=3),
        vmlinux()[:60],
        vmlinux()[:170],
        vmlinux()[:200],
        b"\x7fELF\x01" + vmlinux()[5:],
        b"no ELF file",
    ],
)
def test_kernels_that_only_their_own_code_starts(tmp_path: Path, whole: bytes) -> None:
    """Without the entry, or not readable by us: QEMU gets the bzImage."""
    image = bzimage(payload=gzip.compress(whole))
    (tmp_path / "kernel").write_bytes(image)
    assert find(str(tmp_path / "kernel"), "x86_64").image.read_bytes() == image


def test_segments_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    most = kernel_elf.MAX_SEGMENTS
    assert bootable(vmlinux(segments=most)) is not None
    assert bootable(vmlinux(segments=most + 1)) is None


def test_lz4_as_lz4_packs_it(tmp_path: Path) -> None:
    need("lz4")
    chance = random.Random(1)
    words = [chance.randbytes(chance.randrange(1, 40)) for _ in range(300)]
    for number, data in enumerate(
        (
            b"",
            b"a",
            bytes(100_000),
            os.urandom(100_000),
            b"".join(chance.choice(words) for _ in range(50_000)),
            bytes((9 << 20) + 5),  # more than one block
        )
    ):
        path = tmp_path / str(number)
        path.write_bytes(data)
        for level in ("-1", "-9"):
            packed = subprocess.run(
                ["lz4", "-lc", level, path], check=True, capture_output=True
            ).stdout
            assert b"".join(unpack_frames(packed)) == data


@pytest.mark.parametrize(
    "packed",
    [
        lz4_frame(b"\x10a")[:-1],
        lz4_frame(b"") + b"\1",
        lz4_frame(b""),
        lz4_frame(b"\x10"),
        lz4_frame(b"\x10a\x01"),
        lz4_frame(b"\xf0"),
        lz4_frame(b"\x1fa\x01\x00\xff"),
        lz4_frame(b"\x10a\x02\x00"),  # from before the block
        lz4_frame(b"\x10a\x00\x00"),
    ],
)
def test_damaged_lz4(packed: bytes) -> None:
    with pytest.raises(DamagedError):
        list(unpack_frames(packed))


def test_lz4_that_expands_without_end() -> None:
    """A block has at most so many bytes, whatever its lengths say."""
    most = kernel_lz4.MAX_BLOCK
    rest = most - 1 - 4 - 15
    longest = b"\x1fa\x01\x00" + b"\xff" * (rest // 255) + bytes([rest % 255])
    assert list(unpack_frames(lz4_frame(longest + b"\x00"))) == [b"a" * most]
    with pytest.raises(DamagedError, match="larger than 8 MiB"):
        list(unpack_frames(lz4_frame(longest + b"\x10a")))
    with pytest.raises(DamagedError, match="larger than 8 MiB"):
        list(unpack_frames(lz4_frame(b"\x1fa\x01\x00" + b"\xff" * (rest // 255 + 1) + b"\x00\x00")))
