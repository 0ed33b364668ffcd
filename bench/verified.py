"""Starts that check what they read beside those that do not."""

from __future__ import annotations

import os
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, note
from measure import ORDINARY, Measured

_MOST_MS = 0.3
"""What checking may take of `true`; of the others it is a ratio."""


@dataclass(frozen=True)
class _Case:
    image: str
    args: list[str]
    rounds: int
    bar: float | None = None
    is_cold: bool = False
    """Whether nothing of the file is in memory before."""

    @property
    def subject(self) -> str:
        command = " ".join(self.args[2:] if self.args[0] == "sh" else self.args)
        return f"{self.image}: {command}{', cold' if self.is_cold else ''}"


_TAR = "tar cf - --one-file-system /usr | wc -c"
CASES = (
    _Case("debian", ["true"], 200),
    _Case("python", ["python3", "-c", "import numpy"], 40, 1.03),
    _Case("python", ["sh", "-c", _TAR], 10, 1.05, is_cold=True),
)


def bench_verified(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print milliseconds of starts, in turn."""
    print("\nstarts in ms by an ordinary user, in turn: medians; the least; processor time")
    for case in CASES:
        app = work / "verified.app"
        words: list[str | Path] = [dockerc, "build", "-q", f"oci:{images[case.image]}", "-o", app]
        subprocess.run(words, check=True)
        ways: dict[str, list[str | Path]] = {
            "verified": [app, "--dockerc-verify", "--", *case.args],
            "not": [app, "--", *case.args],
        }
        taken: dict[str, list[Measured]] = {way: [] for way in ways}
        for number in range(case.rounds + 1):
            for way, words_of in ways.items():
                if case.is_cold:
                    _forget(app)
                run = ORDINARY.timed(*words_of)
                if number:  # the first does not count
                    taken[way].append(run)
        app.unlink()
        _print(case, taken)


def _print(case: _Case, taken: dict[str, list[Measured]]) -> None:
    medians = {}
    for way, runs in taken.items():
        walls = [run.wall * 1000 for run in runs]
        medians[way] = statistics.median(walls)
        cpu = statistics.median(run.cpu * 1000 for run in runs)
        print(f"{f'{case.subject}, {way}':72} {medians[way]:8.2f} {min(walls):8.2f} {cpu:8.2f}")
    bar = case.bar or 1 + _MOST_MS / medians["not"]
    figure = Figure(case.subject, "verified", "not", "ms", medians["verified"], medians["not"], bar)
    print(note(figure), flush=True)


def _forget(path: Path) -> None:
    """Take the file out of the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
