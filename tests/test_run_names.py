"""Readers who take files by their names, one after the other: the runtime goes ahead of them, and
what they read is what was put there."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from pathlib import Path

import pytest
from layout import directory, entry, file, noise, symlink, tar_of, write_layout
from support import Runner, dockerc

MACHINES_PROGRAMS = ("-v", "/usr:/usr:ro")
AHEAD = re.compile(r"names ahead: (.*)")
CROWD = 5_000
"""Directories in one: in so many the runtime does not look for one by its inode."""

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


def tree() -> list[Entry]:
    """Packages with files, directories in them, and names that lead astray."""
    found: list[Entry] = [symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    found += [directory("packages"), directory("crowd")]
    for package in range(40):
        path = f"packages/{package:02d}"
        found.append(directory(path))
        for name in ("a", "b é", "c\n", "d" * 255, "e", "f", "g", "h"):
            found.append(file(f"{path}/{name}", noise(100 + package, len(found))))
        found += [directory(f"{path}/sub"), symlink(f"{path}/to-usr", "/usr")]
        found += [file(f"{path}/sub/{name}", noise(70_000, len(found))) for name in "abcdefgh"]
    for number in range(CROWD):
        found += [directory(f"crowd/{number}")]
    found += [entry(f"crowd/{CROWD - 1}/{name}") for name in "abcdefghij"]
    return found


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    """An executable of that tree; the machine's programs are bound into it."""
    layout = write_layout(place / "names-layout", [tar_of(*tree())])
    dockerc("build", "--no-cache", f"oci:{layout}", "-o", place / "names")
    return place / "names"


def read(run: Runner, app: Path, names: list[bytes]) -> tuple[list[str], list[str]]:
    """What sha256sum says of files that are given by their names, and where the runtime went."""
    words = (*MACHINES_PROGRAMS, "/usr/bin/xargs", "-0", "/usr/bin/sha256sum", "-z")
    given = b"".join(b"/" + name + b"\0" for name in names)
    environment = {**os.environ, "DOCKERC_LOG": "debug"}
    done = run(app, *words, input=given, text=False, env=environment)
    assert done.returncode == 0, done.stderr
    sums = [line.partition(b" ")[0].decode() for line in done.stdout.split(b"\0")[:-1]]
    return sums, AHEAD.findall(done.stderr.decode())


def files(under: str) -> dict[bytes, str]:
    """Name and sum of the regular files there, in the order of a listing."""
    found = {
        os.fsencode(each[0].name): hashlib.sha256(each[1]).hexdigest()
        for each in tree()
        if isinstance(each, tuple) and each[0].name.startswith(under)
    }
    return dict(sorted(found.items(), key=lambda item: item[0].split(b"/")))


def test_in_their_order(run_as_user: Runner, app: Path) -> None:
    expected = files("packages/")
    sums, ahead = read(run_as_user, app, list(expected))
    assert sums == list(expected.values())
    # Not for each directory: who goes ahead goes on to those next to it.
    assert ahead[0] == "rootfs/packages/00"
    assert 2 < len(ahead) < 40
    assert len(set(ahead)) == len(ahead)


def test_in_no_order(run_as_user: Runner, app: Path) -> None:
    expected = files("packages/")
    names = sorted(expected, reverse=True)
    sums, ahead = read(run_as_user, app, names)
    assert sums == [expected[name] for name in names]
    assert ahead == []


def test_where_it_cannot_be_told_where_they_are(run_as_user: Runner, app: Path) -> None:
    names = [f"crowd/{CROWD - 1}/{name}".encode() for name in "abcdefghij"]
    sums, ahead = read(run_as_user, app, names)
    assert sums == [hashlib.sha256().hexdigest()] * len(names)
    assert ahead == []
