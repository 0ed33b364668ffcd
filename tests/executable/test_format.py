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
    assert size % 4096 == 0 and offset + size + 64 == len(data)
    command = ["unsquashfs", "-q", "-n", "-offset", str(offset), "-d", tmp_path / "out", app]
    # An ordinary user gets no device nodes, which unsquashfs tells by its status.
    assert subprocess.run(command, capture_output=True).returncode in {0, 2 if os.geteuid() else 0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "rootfs"]


def test_the_annotations_are_those_of_the_document(app: Path) -> None:
    documented = set(re.findall(r"^\| `(dev\.dockerc\.[a-z.]+)` \|", DOCUMENT, re.MULTILINE))
    annotations = json.loads(dockerc("inspect", "--config", app).stdout)["annotations"]
    assert {name for name in annotations if name.startswith("dev.")} == documented
