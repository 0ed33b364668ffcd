"""docs/format.md is enough to read the file by: a reader that knows nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
from pathlib import Path

import pytest
from corpus import CORPUS
from layout import write_layout
from support import TESTS, dockerc, need

DOCUMENT = (TESTS.parent / "docs" / "format.md").read_text()


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    layout = write_layout(
        place / "format.layout", CORPUS["types and modes"], {"Cmd": ["a"], "Volumes": {"/v": {}}}
    )
    options = ["--rootfull", "-v", "./a:/b", "--read-only"]
    dockerc("build", f"oci:{layout}", "-o", place / "format", *options)
    return place / "format"


def test_the_parts_are_where_the_document_says(app: Path, tmp_path: Path) -> None:
    need("unsquashfs")
    data = app.read_bytes()
    offset, mapped = struct.unpack("<Q?7x", data[-16:])
    assert offset % 4096 == 0 and mapped and data[-7:] == bytes(7)
    assert data[:4] == b"\x7fELF" and data[offset : offset + 4] == b"hsqs"
    (size,) = struct.unpack_from("<Q", data, offset + 40)
    magic, digest = struct.unpack("<8s32s8x", data[-64:-16])
    assert magic == b"dcsha256" and f"`{magic.decode()}`" in DOCUMENT
    assert digest == hashlib.sha256(data[offset : offset + size]).digest()
    assert size % 4096 == 0
    command = ["unsquashfs", "-q", "-n", "-offset", str(offset), "-d", tmp_path / "out", app]
    # An ordinary user gets no device nodes, which unsquashfs tells by its status.
    assert subprocess.run(command, capture_output=True).returncode in {0, 2 if os.geteuid() else 0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "rootfs"]


def test_a_verifier_by_the_document_alone(app: Path) -> None:
    """One of a few lines, which finds the block and checks every block of data from the root on."""
    data = app.read_bytes()
    offset, flags = struct.unpack("<QB7x", data[-16:])
    (size,) = struct.unpack_from("<Q", data, offset + 40)
    count = -(-size // 4096)
    levels = []
    while (levels[-1] if levels else count) > 1:
        levels.append(-(-(levels[-1] if levels else count) // 128))
    tree = offset + 4096 * count
    at = tree + 4096 * sum(levels)
    assert at + 4096 + 48 + 16 == len(data)
    block = data[at : at + 4096]
    assert struct.unpack_from("<8sHHIQQQ", block) == (
        b"dcsigned", 1, 1, 4096, size, tree - offset, at - tree
    )  # fmt: skip
    salt, root, recorded, config = struct.unpack_from("<32s32sQ32s", block, 40)
    assert recorded == flags
    text = subprocess.run(
        ["unsquashfs", "-offset", str(offset), "-cat", app, "config.json"], capture_output=True
    )
    assert config == hashlib.sha256(text.stdout).digest()
    assert struct.unpack_from("<Q32s", block, 192) == (
        offset, hashlib.sha256(data[:offset]).digest()
    )  # fmt: skip
    assert block[232:248].rstrip(b"\0").decode() in DOCUMENT and not any(block[264:])

    def digest(start: int) -> bytes:
        return hashlib.sha256(salt + data[start : start + 4096]).digest()

    expected, start = root, tree
    for blocks in reversed(levels):
        assert b"".join(digest(start + 4096 * i) for i in range(blocks)) == expected
        expected = data[start : start + 4096 * blocks]
        start += 4096 * blocks
        expected = expected[: 32 * (count if start == at else blocks * 128)]
    assert b"".join(digest(offset + 4096 * i) for i in range(count)) == expected


def test_the_annotations_are_those_of_the_document(app: Path, tmp_path: Path) -> None:
    documented = set(re.findall(r"^\| `(dev\.dockerc\.[a-z.]+)` \|", DOCUMENT, re.MULTILINE))
    (tmp_path / "profile").write_text("# dockerc profile 1\nstart /a\n")
    dockerc("edit", app, tmp_path / "prepared", "--profile", tmp_path / "profile")
    annotations = json.loads(dockerc("inspect", "--config", tmp_path / "prepared").stdout)
    names = {name for name in annotations["annotations"] if name.startswith("dev.")}
    assert names == documented
