"""What a benchmark measured, for programs: each figure beside its rival's of the same run."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A ratio, and what it may be at most."""

    subject: str
    """What was measured: a command, an operation."""
    ours: str
    rival: str
    unit: str
    our_value: float
    rival_value: float
    bar: float | None = None

    @property
    def ratio(self) -> float:
        """Ours as a multiple of the rival's."""
        return self.our_value / self.rival_value

    def __str__(self) -> str:
        """A line of a table."""
        values = f"{self.our_value:8.1f} {self.rival_value:8.1f} {self.unit:>3} {self.ratio:6.2f}x"
        bar = "" if self.bar is None else f"{self.bar:6.2f}x {self.verdict}"
        return f"{f'{self.subject}: {self.ours} / {self.rival}':72} {values} {bar}"

    @property
    def verdict(self) -> str:
        """Whether the bar is kept."""
        return "" if self.bar is None else "kept" if self.ratio <= self.bar else "MISSED"


_FIGURES: list[Figure] = []


def note(figure: Figure) -> Figure:
    """Keep a figure for `write`."""
    _FIGURES.append(figure)
    return figure


def write(path: Path, subject: str) -> None:
    """The figures that were noted, in place of those that the file has of that subject."""
    figures = [{**asdict(f), "ratio": round(f.ratio, 3), "verdict": f.verdict} for f in _FIGURES]
    _FIGURES.clear()
    machine = f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[subject] = {"date": date.today().isoformat(), "machine": machine, "figures": figures}
    path.write_text(json.dumps(known, indent=1) + "\n")


def read(path: Path, subject: str) -> list[Figure]:
    """What `write` wrote."""
    names = {field.name for field in fields(Figure)}
    return [
        Figure(**{name: value for name, value in each.items() if name in names})
        for each in json.loads(path.read_text())[subject]["figures"]
    ]
