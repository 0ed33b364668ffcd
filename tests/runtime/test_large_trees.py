"""Huge directories and deep trees through the runtime's own file system: all is there, and the time
that it takes grows as the number of names does, no faster."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from layout import directory, entry, symlink, tar_of, write_layout
from support import Runner, dockerc

FEW, MANY, DEPTH = 10_000, 100_000, 400
MACHINES_PROGRAMS = ("-v", "/usr:/usr:ro")


def names(count: int) -> list[str]:
    """Of the files in the directory with so many of them."""
    return [f"a-name-like-many-others-{i:06d}.data" for i in range(count)]


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    """An executable without programs of its own: the machine's are bound into it."""
    entries = [symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    for count in (FEW, MANY):
        entries.append(directory(str(count)))
        entries += [entry(f"{count}/{name}") for name in names(count)]
    path = "deep"
    for level in range(DEPTH):
        entries.append(directory(path))
        path += f"/{level % 10}"
    layout = write_layout(place / "large-layout", [tar_of(*entries)])
    dockerc("build", "--no-cache", f"oci:{layout}", "-o", place / "large")
    return place / "large"


def seconds_to_list(run: Runner, app: Path, count: int) -> float:
    """List a directory with every file's attributes."""
    start = time.perf_counter()
    done = run(app, *MACHINES_PROGRAMS, "/usr/bin/ls", "-lU", f"/{count}")
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    listed = [line.split()[-1] for line in done.stdout.splitlines()[1:]]
    assert sorted(listed) == names(count)
    return seconds


def test_huge_directories_take_time_in_proportion(run_as_user: Runner, app: Path) -> None:
    few = min(seconds_to_list(run_as_user, app, FEW) for _ in range(3))
    many = min(seconds_to_list(run_as_user, app, MANY) for _ in range(3))
    # Ten times the names; walking the listing anew for every bufferful would take a hundredfold.
    assert many < 30 * few, (few, many)


def test_names_in_a_huge_directory_are_found(run_as_user: Runner, app: Path) -> None:
    some = [f"/{MANY}/{name}" for name in names(MANY)[::250]]
    start = time.perf_counter()
    done = run_as_user(app, *MACHINES_PROGRAMS, "/usr/bin/stat", "-c", "%n", *some)
    assert done.stdout.split() == some
    # Without the directory's index each would be looked for from the start: a tenth of a second.
    assert time.perf_counter() - start < 10
    done = run_as_user(app, *MACHINES_PROGRAMS, "/usr/bin/stat", f"/{MANY}/{names(1)[0]}x")
    assert done.returncode == 1
    assert "No such file" in done.stderr


def test_deep_trees_are_walked_to_the_end(run_as_user: Runner, app: Path) -> None:
    done = run_as_user(app, *MACHINES_PROGRAMS, "/usr/bin/find", "/deep")
    assert len(done.stdout.splitlines()) == DEPTH
