"""What is shown while an image is built, and what is said in the end."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from layout import file, tar_of, write_layout
from support import TOOL, dockerc


@pytest.fixture
def build(tmp_path: Path) -> list[str]:
    """A build of two layers, of 1.0 and 0.5 MB as they are stored."""
    layers = [tar_of(file("a", os.urandom(1_000_000))), tar_of(file("b", os.urandom(500_000)))]
    layout = write_layout(tmp_path / "layout", layers)
    return ["build", f"oci:{layout}", "--arch", "amd64", "-o", f"{tmp_path}/app"]


SUMMARY = (
    r".*/app: (\d\.\d) MB from 1\.5 MB, linux/amd64, sha256:[0-9a-f]{64},"
    r" (\d) of 2 layers cached, \d+\.\d s"
)


def test_bars_on_a_terminal(build: list[str]) -> None:
    ours, theirs = pty.openpty()
    terminal = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([*TOOL, *build], stderr=theirs, env=terminal) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 1 << 16):
                shown += piece
        except OSError:  # what Linux says where the other end is closed
            pass
    assert process.returncode == 0
    os.close(ours)
    *drawn, last, usage = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).split("\r")[:-1]
    for layer, size in (("layer 1/2", "1.0"), ("layer 2/2", "500.")):
        bars = [line for line in drawn if layer in line]
        assert any("reading" in line for line in bars), drawn
        assert re.search(rf"━+ {size}.*[kM]B .*[kM]?B/s .*packed", bars[-1]), bars
    assert re.fullmatch(SUMMARY, last.strip())
    assert usage.strip().startswith("usage: ")
    assert shown.rpartition(b"packed")[2].count(b"\x1b[1A\x1b[2K") == 2, "the bars are gone"


def test_lines_elsewhere_and_nothing_when_quiet(build: list[str]) -> None:
    first, second, last, usage = sorted(
        dockerc(*build).stderr.splitlines(), key=lambda line: line[0] != "l"
    )
    assert {first, second} == {"layer 1/2: 1.0 MB", "layer 2/2: 0.5 MB"}
    told = re.fullmatch(SUMMARY, last)
    assert usage.startswith("usage: ")
    assert told and float(told[1]) > 1.5 and told[2] == "0"
    assert sorted(dockerc(*build).stderr.splitlines())[1:] == [
        "layer 1/2: cached", "layer 2/2: cached", usage
    ]  # fmt: skip
    assert dockerc(*build, "--quiet").stderr == ""
