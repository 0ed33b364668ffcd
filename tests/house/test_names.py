"""The names of tests are the same in every process, or `-n auto` runs none of them."""

from __future__ import annotations

import os
import subprocess
import sys

from support import TESTS


def collected(seed: int) -> list[str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"],
        capture_output=True, text=True, cwd=TESTS.parent, env=ours | {"PYTHONHASHSEED": str(seed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_neither_the_time_nor_the_order_of_sets_is_in_them() -> None:
    """Each takes seconds, so that the clock is another."""
    names = collected(1)
    assert len(names) > 1000 and collected(2) == names
