"""Damaged executables, started: the program's status or one sentence, and never a defect of ours.

DOCKERC_FUZZ and DOCKERC_FUZZ_SEED as in tests/executable/test_mutants.py, a tenth as many.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hostile_support import write
from layout import directory, entry, file, hard_link, symlink, tar_of, write_layout
from mutants import Mutator
from support import Runner, dockerc

from toolkit.executable.executable import open_executable

MUTANTS = int(os.environ.get("DOCKERC_FUZZ", "600")) // 10
SEED = int(os.environ.get("DOCKERC_FUZZ_SEED", "1"))


@pytest.fixture(scope="module")
def readable(place: Path) -> Mutator:
    """Without compression, so that damage reaches the parsers, and with most kinds of files; the
    machine's programs are bound into it."""
    attributes = {f"SCHILY.xattr.user.{n}": "v" * n for n in range(10, 40)}
    layer = tar_of(
        *(symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")),
        directory("usr"),
        directory("x"),
        file("x/large", b"block" * 3000, pax_headers=attributes),
        *(file(f"x/small{n}", b"x" * n) for n in range(40)),
        hard_link("x/again", "x/large"),
        symlink("x/link", "t" * 300),
        entry("x/fifo", tarfile.FIFOTYPE),
        directory("x/empty", pax_headers=attributes),
    )
    layout = write_layout(place / "readable.layout", [layer])
    words = ["--compression", "none", "--block-size", "4K", "-o", place / "readable.app"]
    dockerc("build", f"oci:{layout}", *words)
    with open_executable(place / "readable.app") as executable:
        return Mutator((place / "readable.app").read_bytes(), executable.footer.offset)


@pytest.mark.parametrize("unpacks", [False, True])
def test_damaged_executables_run_or_say_why(
    readable: Mutator, run_as_user: Runner, shared: Path, unpacks: bool
) -> None:
    """The files are read by the machine's tar, or unpacked by the runtime."""
    out = shared / "out"
    words = ["-v", "/usr:/usr:ro", "/bin/sh", "-c", "tar -c --xattrs x | cat >/dev/null; exit 3"]
    good = 0
    for seed in range(SEED, SEED + MUTANTS):
        # Its own name: while the last one's watchdog lives, that cannot be written (ETXTBSY).
        app = write(shared / f"app{seed}", readable.mutant(seed))
        app.chmod(0o755)
        done = run_as_user(app, *(["--dockerc-extract", out] if unpacks else words))
        app.unlink()
        shutil.rmtree(out, ignore_errors=True)
        assert done.returncode in (0, 3, 125, 126, 127), (seed, done)
        assert done.stderr or done.returncode in (0, 3), (seed, done)
        good += done.returncode in (0, 3)
    assert 0 < good < MUTANTS, "mutants so tame, or so broken, prove nothing"
