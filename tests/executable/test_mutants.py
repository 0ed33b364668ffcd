"""Thousands of damaged executables: each is looked at, or gets one sentence, in bounded time.

DOCKERC_FUZZ=100000 makes so many mutants instead of some hundreds; DOCKERC_FUZZ_SEED=N starts
elsewhere, and a failure names the seed that it came from.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hostile_support import NoElf, attempt, write
from mutants import Mutator

import toolkit.services.inspect
from toolkit.executable.executable import open_executable
from toolkit.executable.payload import config_of

MUTANTS = int(os.environ.get("DOCKERC_FUZZ", "600"))
SEED = int(os.environ.get("DOCKERC_FUZZ_SEED", "1"))
_BATCH = 200
_MEMORY = 400 << 20
_FAST = Path("/dev/shm")
"""Files in memory: a mutant lives for three milliseconds."""


def look(name: str, data: bytes, seeds: range) -> tuple[set[str], int]:
    """What is said of these mutants, and by how many bytes the process has grown."""
    toolkit.services.inspect.ElfProbe = NoElf  # type: ignore[misc,assignment]
    mutator = Mutator(data, data.index(b"hsqs"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = set()
    with tempfile.TemporaryDirectory(dir=_FAST if _FAST.is_dir() else None) as directory:
        app, out = Path(directory, "app"), Path(directory, "out")
        assert attempt(write(app, data), out) == []
        for seed in seeds:
            try:
                said.update(attempt(write(app, mutator.mutant(seed)), out))
            except BaseException as error:
                raise AssertionError(f"mutant {seed} of {name}: {error!r}") from error
    return said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.parametrize("name", ["compressed", "readable", "first generation"])
def test_mutants(sound: dict[str, bytes], name: str) -> None:
    end = SEED + MUTANTS // len(sound)
    starts = range(SEED, end, _BATCH)
    fresh = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=fresh) as pool:
        batches = [
            pool.submit(look, name, sound[name], range(start, min(start + _BATCH, end)))
            for start in starts
        ]
        found = [batch.result() for batch in batches]
    assert max(grown for _, grown in found) < _MEMORY
    said = {sentence for sentences, _ in found for sentence in sentences}
    assert len(said) > 10, "mutants so tame prove nothing"


PARSERS = (
    "blocks.Blocks.raw", "blocks.Blocks.metadata", "blocks.Blocks.data", "blocks.Blocks.pointers",
    "inodes.NodeReader.node", "inodes.NodeReader.words", "filesystem.Filesystem.walk",
    "filesystem.Filesystem.content", "xattrs.Attributes.of", "census.Census.add",
    "space_usage._read_inodes",
)  # fmt: skip


@pytest.mark.usefixtures("no_elf")
@pytest.mark.parametrize("defect", [IndexError, AssertionError, KeyError, TypeError])
@pytest.mark.parametrize("parser", PARSERS)
def test_a_defect_of_our_own_is_not_taken_for_damage(
    sound: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parser: str,
    defect: type[Exception],
) -> None:
    """Else these mutants would find nothing."""

    def fail(*_: object, **__: object) -> None:
        raise defect("planted")

    app = write(tmp_path / "app", sound["compressed"])
    monkeypatch.setattr(f"toolkit.squashfs.read.{parser}", fail)
    with pytest.raises(defect, match="planted"):
        attempt(app, tmp_path / "out")


AROUND_THE_LIBRARY = (
    "blocks.Blocks.raw", "blocks.Blocks.metadata", "blocks.Blocks.data",
    "lookup.SquashfsReader._find",
)  # fmt: skip


@pytest.mark.parametrize("what", AROUND_THE_LIBRARY)
def test_nor_is_one_that_passes_through_the_library(
    sound: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("planted")

    app = write(tmp_path / "app", sound["compressed"])
    with open_executable(app) as executable:
        config_of(executable)
        monkeypatch.setattr(f"toolkit.squashfs.read.{what}", fail)
        with pytest.raises(IndexError, match="planted"):
            config_of(executable)
