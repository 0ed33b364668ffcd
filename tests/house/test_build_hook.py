"""The build hook takes a stub from its cache only if nothing that went into it has changed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from support import TESTS

sys.path.append(str(TESTS.parent))
import hatch_build

RUNTIMES = TESTS.parent / "runtimes"
SOURCES = sorted(
    str(path.relative_to(RUNTIMES))
    for path in RUNTIMES.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the stub's sources."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(RUNTIMES, tmp_path / "runtimes", ignore=ignored))


def test_every_file_of_the_stub_counts(sources: Path) -> None:
    assert "src/cli/manual.txt" in SOURCES and "src/main.zig" in SOURCES and "build.py" in SOURCES
    before = hatch_build._key(sources, "1")
    assert before == hatch_build._key(RUNTIMES, "1")
    seen = {before, hatch_build._key(sources, "2")}
    for name in SOURCES:
        file = sources / name
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        seen.add(hatch_build._key(sources, "1"))
        file.write_bytes(content)
    assert len(seen) == len(SOURCES) + 2
    (sources / "src/new.bin").write_bytes(b"embedded")
    assert hatch_build._key(sources, "1") not in seen


def test_names_and_contents_are_kept_apart(sources: Path) -> None:
    (sources / "src/a").write_bytes(b"1src/b\x002")
    one = hatch_build._key(sources, "1")
    (sources / "src/a").write_bytes(b"1")
    (sources / "src/b").write_bytes(b"2")
    assert hatch_build._key(sources, "1") != one


def test_what_building_leaves_does_not_count(sources: Path) -> None:
    before = hatch_build._key(sources, "1")
    for name in ("__pycache__/build.cpython-311.pyc", ".zig-cache/o/x", "zig-out/x", "src/x.pyc"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_bytes(b"x")
    assert hatch_build._key(sources, "1") == before
