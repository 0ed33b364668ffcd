"""The tables of docs/figures.md: every figure that has a bar, beside its rival of the same run."""

from __future__ import annotations

import json
from pathlib import Path

import figures
from figures import Figure

BEGIN, END = "<!-- figures: drawn by bench -->\n", "<!-- end of figures -->\n"


def fill(page: str, results: Path) -> str:
    """The page with new tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tables(results) + END + after


def tables(results: Path) -> str:
    """One table for each subject of the benchmark, with its day and machine."""
    parts = []
    for subject, run in json.loads(results.read_text()).items():
        barred = [each for each in figures.read(results, subject) if each.bar is not None]
        if barred:
            rows = "".join(map(_row, barred))
            parts.append(
                f"\n**{subject}**, {run['date']}, {run['machine']}\n\n"
                "| what | ours | rival | ratio | bar | |\n|---|---|---|---|---|---|\n" + rows
            )
    return "".join(parts) + "\n"


def _row(figure: Figure) -> str:
    ours = f"{figure.ours}: {_value(figure.our_value)} {figure.unit}"
    rival = f"{figure.rival}: {_value(figure.rival_value)} {figure.unit}"
    cells = (
        figure.subject,
        ours,
        rival,
        f"{figure.ratio:.2f}",
        f"{figure.bar:.2f}",
        figure.verdict.lower(),
    )
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |\n"


def _value(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"
