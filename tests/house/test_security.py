"""SECURITY.md names tests that exist."""

from __future__ import annotations

import re

from support import TESTS

TABLE = (TESTS.parent / "SECURITY.md").read_text().partition("| CVE |")[2]


def test_every_known_escape_has_its_test() -> None:
    rows = [row for row in TABLE.splitlines() if row.startswith("| CVE-")]
    assert len({row.split()[1] for row in rows}) == len(rows) >= 30
    for row in rows:
        cell = row.rstrip("| ").rpartition("| ")[2]
        if match := re.fullmatch(r"`(test_\w+)` in `(\w+/test_\w+\.py)`", cell):
            name, file = match.groups()
            assert f"\ndef {name}(" in (TESTS / file).read_text(), row
        else:
            assert cell in ("none: there is no such part", "`runtime/test_run_safety.py`"), row
