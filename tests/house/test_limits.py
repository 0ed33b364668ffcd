"""docs/limits.md says what the code does: modules, bounds, values and tests are there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from support import TESTS

from toolkit import limits

ROOT = TESTS.parent
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "s": 1, "": 1}
_ROW = re.compile(r"\| (.+) \| ([\d.]+) ?(\w*) \| (\S+) `(\w+)` \| (\S+) `(\w+)` \|")


def rows() -> list[re.Match[str]]:
    lines = (ROOT / "docs" / "limits.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| what")]
    found = [(line, _ROW.fullmatch(line)) for line in table]
    assert not [line for line, row in found if row is None]
    return [row for _, row in found if row]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[5])
def test_a_limit_is_as_the_table_says(row: re.Match[str]) -> None:
    _, number, unit, module, name, test_file, test = row.groups()
    bound = import_module(module.removesuffix(".py").replace("/", "."))
    assert getattr(bound, name) == float(number) * _UNITS[unit]
    assert re.search(rf"^def {test}\(", (ROOT / test_file).read_text(), re.MULTILINE), test


def test_every_shared_limit_is_in_the_table() -> None:
    listed = {row[5] for row in rows() if Path(row[4]).name == "limits.py"}
    assert {name for name in vars(limits) if name.startswith("MAX_")} - listed == {
        "MAX_PAYLOAD_PATH"
    }
