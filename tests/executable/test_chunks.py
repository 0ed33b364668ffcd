"""Executables cut into chunks: nothing is left out, and what is the same is cut the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from forge import Forge, forged_directory, forged_file
from hostile_support import write
from layout import file, noise, tar_of, write_layout
from support import dockerc

from toolkit.errors import RefusedError
from toolkit.executable import chunks
from toolkit.executable.chunks import Chunk, cut, cut_alike, hashed
from toolkit.executable.executable import open_executable
from toolkit.limits import MAX_CHUNK
from toolkit.squashfs.read import data_blocks

MEAN = chunks.MEANS[0]
SMALL = 100_000


def built(place: Path, *layers: bytes, words: tuple[str, ...] = ()) -> Path:
    """An executable of these layers; names of layouts are of no account."""
    name = hashlib.sha256(b"".join(layers)).hexdigest()[:16]
    layout = write_layout(place / f"{name}.layout", layers)
    app = place / name
    dockerc("build", "-q", f"oci:{layout}", "--arch", "amd64", "-o", app, *words)
    return app


def layer(name: str, megabytes: int, seed: int, size: int = SMALL) -> bytes:
    """So many megabytes that do not compress, in files of `size` bytes."""
    count = megabytes * 1_000_000 // size
    return tar_of(*(file(f"{name}/{n}", noise(size, seed * 1000 + n)) for n in range(count)))


def pieces(app: Path, mean: int | None = None) -> list[tuple[Chunk, str]]:
    with open_executable(app) as executable:
        found = cut(executable)[1] if mean is None else cut_alike(executable, mean)
        return list(hashed(executable, found))


def new_bytes(old: Path, new: Path) -> int:
    """Bytes of `new` in chunks that `old` does not have."""
    known = {digest for _, digest in pieces(old)}
    return sum(chunk.size for chunk, digest in pieces(new) if digest not in known)


def is_tiled(found: list[tuple[Chunk, str]], data: bytes) -> bool:
    """Whether the chunks are the file, one after the other, and their digests right."""
    at = 0
    for chunk, digest in found:
        part = data[chunk.offset : chunk.offset + chunk.size]
        assert chunk.offset == at and 0 < chunk.size <= MAX_CHUNK
        assert digest == f"sha256:{hashlib.sha256(part).hexdigest()}"
        at += chunk.size
    return at == len(data)


@pytest.mark.parametrize("name", ["compressed", "readable", "first generation"])
def test_every_kind_of_file_is_cut_whole(
    sound: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    app = write(tmp_path / "app", sound[name])
    for mean in (None, 1, 4096, *chunks.MEANS):
        assert is_tiled(pieces(app, mean), sound[name])


def test_a_layer_on_top_moves_no_cut_below(tmp_path: Path) -> None:
    base = layer("base", 20, 1)
    old = built(tmp_path, base, layer("app", 3, 2))
    new = built(tmp_path, base, layer("app", 3, 3))
    assert is_tiled(pieces(new), new.read_bytes())
    assert 3_000_000 < new_bytes(old, new) < 3_000_000 * 1.1 + MEAN
    assert len(pieces(new)) > 20


@pytest.mark.parametrize("block_size", ["512K", "16K"])
def test_a_file_in_the_middle_moves_no_cut_elsewhere(tmp_path: Path, block_size: str) -> None:
    words = ("--block-size", block_size)
    base, more = layer("base", 10, 1), tar_of(file("more", noise(2_000_001, 9)))
    old = built(tmp_path, base, layer("app", 10, 2), words=words)
    new = built(tmp_path, base, more, layer("app", 10, 2), words=words)
    assert 2_000_000 < new_bytes(old, new) < 2_000_000 * 1.1 + 2 * MEAN
    holes = tar_of(file("base/.wh.7"), file("base/.wh.8"))
    without = built(tmp_path, base, holes, layer("app", 10, 2), words=words)
    # The hash tree, one part in 128, is another from the first block on that is gone.
    assert new_bytes(old, without) < 5 * MEAN + without.stat().st_size // 100


def test_another_configuration_is_all_that_is_new(tmp_path: Path) -> None:
    base = layer("base", 3, 1)
    old = built(tmp_path, base)
    old = old.rename(tmp_path / "old")
    (tmp_path / "again").mkdir()
    new = built(tmp_path / "again", base, words=("--env", "A=1"))
    # With the tables, the signed block, and what of the hash tree speaks of them.
    assert 100 < new_bytes(old, new) < 48 << 10


def test_chunks_have_the_size_that_was_asked_for_in_the_mean(tmp_path: Path) -> None:
    app = built(tmp_path, layer("base", 40, 5, size=20_000), words=("--block-size", "16K"))
    for mean in (64 << 10, 256 << 10, 1 << 20):
        found = [chunk.size for chunk, _ in pieces(app, mean)]
        assert 0.6 * mean < sum(found) / len(found) < 1.6 * mean


def test_larger_files_have_larger_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = built(tmp_path, layer("base", 4, 5, size=20_000), words=("--block-size", "16K"))
    monkeypatch.setattr(chunks, "_WANTED", 8)
    with open_executable(app) as executable:
        mean, found = cut(executable)
    assert mean == 1 << 20 and len(found) < 20


def test_what_has_no_blocks_is_cut_as_well() -> None:
    found = list(chunks._chunks([0, 3 * MAX_CHUNK + 5], []))
    assert [chunk.size for chunk in found] == [MAX_CHUNK] * 3 + [5]
    middle = MAX_CHUNK - 7
    found = list(chunks._chunks([0, MAX_CHUNK + 100], [middle]))
    assert found == [Chunk(0, middle), Chunk(middle, 107)]


def test_a_file_of_more_chunks_than_a_manifest_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = built(tmp_path, layer("base", 4, 5))
    monkeypatch.setattr(chunks, "MAX_CHUNKS", 3)
    with (
        open_executable(app) as executable,
        pytest.raises(RefusedError, match="are more than 3 chunks hold"),
    ):
        cut(executable)


def test_blocks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = built(tmp_path, layer("base", 4, 5), words=("--block-size", "4K"))
    monkeypatch.setattr(data_blocks, "_MAX_STARTS", 500)
    with (
        open_executable(app) as executable,
        pytest.raises(RefusedError, match="more than 500 blocks"),
    ):
        cut(executable)


def test_blocks_that_lie_about_their_place(tmp_path: Path) -> None:
    """They overlap, lie in the tables or behind the end: the chunks are the file all the same."""
    words = (b"\1\0\0\1" * 3) + b"\xff\xff\xff\0"
    for start in (0, 1, 96, 97, 4000, 1 << 20, (1 << 64) - 1):
        rootfs = forged_directory((b"a", forged_file(4 * 4096, start, words)))
        app = Forge(rootfs).write(tmp_path / "app")
        assert is_tiled(pieces(app, 1), app.read_bytes())
