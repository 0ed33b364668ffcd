"""What a profile does to the data of an image: where files go, and by how much the file grows."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from layout import directory, file, tar_of, write_layout
from support import dockerc

from toolkit.executable.executable import open_executable
from toolkit.executable.payload import filesystem_of
from toolkit.squashfs.read.blocks import stored_size
from toolkit.squashfs.read.inodes import Node

BLOCK = 64 << 10
SMALL, LARGE = 6000, 10 * BLOCK
WORDS = [f"word{number} ".encode() for number in range(4000)]


def prose(size: int, seed: int) -> bytes:
    """Compresses to about a third, as programs do."""
    words = random.Random(seed).choices(WORDS, k=size // 5)
    return b"".join(words)[:size]


@pytest.fixture(scope="module")
def layout(place: Path) -> Path:
    names = [directory("d"), *(file(f"d/s{i:03}", prose(SMALL, i)) for i in range(300))]
    large = [file(f"d/large{i}", prose(LARGE, 1000 + i)) for i in range(4)]
    return write_layout(place / "hot.layout", [tar_of(*names, *large)], {"Cmd": ["/d/s000"]})


def build(layout: Path, output: Path, profile: str = "") -> Path:
    words: list[str | Path] = []
    if profile:
        text = output.with_suffix(".profile")
        text.write_text(f"# dockerc profile 1\nstart /d/s000\n{profile}")
        words = ["--profile", text]
    dockerc("build", f"oci:{layout}", "-o", output, "--block-size", "64K", *words)
    assert dockerc("verify", output).returncode == 0
    return output


def nodes(app: Path, *names: str) -> list[Node]:
    with open_executable(app) as executable:
        filesystem = filesystem_of(executable)
        found = [filesystem.find(f"rootfs/d/{name}".encode()) for name in names]
        assert all(found)
        return [node for node in found if node is not None]


def test_few_files_get_a_fragment_of_their_own(layout: Path, tmp_path: Path) -> None:
    hot = ["s250", "s003", "s100"]
    reads = "".join(f"read 0+{SMALL} /d/{name}\n" for name in hot)
    plain, app = build(layout, tmp_path / "plain"), build(layout, tmp_path / "app", reads)
    assert json.loads(dockerc("diff", "--json", plain, app, check=False).stdout)["files"] == []
    assert len({node.fragment for node in nodes(plain, *hot)}) == 3
    found = nodes(app, *hot)
    assert {node.fragment for node in found} == {0}  # the first of all
    assert [node.fragment_offset for node in found] == [0, SMALL, 2 * SMALL]
    assert app.stat().st_size <= 1.02 * plain.stat().st_size


def test_a_fragment_that_is_mostly_hot_stays(layout: Path, tmp_path: Path) -> None:
    plain = build(layout, tmp_path / "plain")
    everything = [f"s{i:03}" for i in range(300)]
    together = [node.fragment for node in nodes(plain, *everything)]
    first = [name for name, number in zip(everything, together, strict=True) if number == 3]
    reads = "".join(f"read 0+1 /d/{name}\n" for name in first[: len(first) // 2 + 1])
    app = build(layout, tmp_path / "app", reads)
    # All of it, cold files too, and in front.
    assert {node.fragment for node in nodes(app, *first)} == {0}
    assert app.stat().st_size - plain.stat().st_size < 8192


def test_blocks_that_are_read_are_compressed_for_speed(layout: Path, tmp_path: Path) -> None:
    reads = f"read {5 * BLOCK}+4096 /d/large2\nread 0+4096 /d/large1\n"
    plain, app = build(layout, tmp_path / "plain"), build(layout, tmp_path / "app", reads)

    def sizes(which: Path, name: str) -> list[int]:
        with open_executable(which) as executable:
            (node,) = nodes(which, name)
            return [stored_size(word) for word in filesystem_of(executable).words(node)]

    changed = {
        name: [i for i, pair in enumerate(zip(sizes(plain, name), sizes(app, name), strict=True))
               if pair[0] != pair[1]]
        for name in ("large0", "large1", "large2", "large3")
    }  # fmt: skip
    # As far as the file may grow, in the order of first use.
    assert changed["large2"] == [5] and changed["large0"] == changed["large3"] == []
    second, first = nodes(app, "large1", "large2")
    assert first.start < second.start < min(node.start for node in nodes(app, "large0", "large3"))
    assert app.stat().st_size <= 1.02 * plain.stat().st_size + 4096
    whole = build(layout, tmp_path / "whole", "".join(
        f"read 0+{LARGE} /d/large{i}\n" for i in range(4)
    ))  # fmt: skip
    assert whole.stat().st_size <= 1.02 * plain.stat().st_size + 8192
