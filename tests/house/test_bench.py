"""The README's picture is of figures that were measured."""

from __future__ import annotations

import subprocess
import sys

from support import TESTS

BENCH = TESTS.parent / "bench"
DRAW = """
import pathlib, figures, picture
print(picture.draw(figures.read(pathlib.Path("results.json"), "startup")), end="")
"""
FILL = """
import pathlib, page
path = pathlib.Path("../docs/figures.md")
print(page.fill(path.read_text(), pathlib.Path("results.json")), end="")
"""


def test_the_picture_is_drawn_from_the_results() -> None:
    drawn = subprocess.run([sys.executable, "-c", DRAW], cwd=BENCH, check=True, capture_output=True)
    assert drawn.stdout.count(b"<rect") > 10
    assert drawn.stdout == (TESTS.parent / "docs" / "startup.svg").read_bytes()


def test_the_page_has_the_figures_of_the_results() -> None:
    page = (TESTS.parent / "docs" / "figures.md").read_text()
    filled = subprocess.run([sys.executable, "-c", FILL], cwd=BENCH, capture_output=True)
    assert filled.stdout.decode() == page
    assert "| kept |" in page
