"""What replace, edit and cp write over: executables of ours, and other files only with --force."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import dockerc, failed

from toolkit.executable.executable import open_executable


def words(command: str, app: Path, new: Path, source: Path) -> list[str | Path]:
    """A command line that writes `new`."""
    return {
        "replace": ["replace", app, new],
        "edit": ["edit", app, new, "--env", "A=1"],
        "cp": ["cp", source, f"{app}:/etc/added", new],
    }[command]


@pytest.mark.parametrize("command", ["replace", "edit", "cp"])
def test_a_foreign_file_stays(tmp_path: Path, hello: Path, command: str) -> None:
    source, new = tmp_path / "source", tmp_path / "new"
    source.write_text("added")
    new.write_text("mine")
    line = words(command, hello, new, source)
    assert f"{new} exists and is no executable made by dockerc" in failed(*line)
    assert new.read_text() == "mine"
    dockerc(*line, "--force")
    with open_executable(new):
        pass
    # Over one of ours, and over an empty file, as mktemp makes one.
    dockerc(*line)
    new.write_bytes(b"")
    dockerc(*line)
    with open_executable(new):
        pass


@pytest.mark.parametrize("command", ["replace", "edit", "cp"])
def test_an_input_that_is_damaged_is_called_damaged(tmp_path: Path, command: str) -> None:
    source, app = tmp_path / "source", tmp_path / "app"
    source.write_text("added")
    app.write_bytes(b"\x7fELF" + b"\0" * 5000)
    assert "exists" not in failed(*words(command, app, app, source))
