"""Where the output goes: readers that leave, full disks, closed streams, terminals that hang up."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from layout import file, tar_of, write_layout
from support import FIXTURES, TOOL, dockerc

COMMANDS = [
    ["--version"],
    ["--help"],
    ["cache", "ls"],
    ["inspect", "APP"],
    ["inspect", "--config", "APP"],
    ["ls", "-R", "APP"],
    ["cat", "APP", "large"],
    ["cp", "APP:/large", "-"],
    ["history", "APP"],
    ["images"],
    ["diff", "APP", "HELLO"],
    ["extract", "APP", "-"],
]


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    layout = write_layout(place / "streams.layout", [tar_of(file("large", os.urandom(1 << 20)))])
    dockerc("build", f"oci:{layout}", "-o", place / "streams")
    return place / "streams"


@pytest.fixture(params=COMMANDS, ids=" ".join)
def command(request: pytest.FixtureRequest, app: Path, hello: Path) -> list[str]:
    words = [word.replace("APP", str(app)).replace("HELLO", str(hello)) for word in request.param]
    return [*TOOL, *words]


def test_a_reader_that_is_gone(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_a_full_disk(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"dockerc: No space left on device\n")


def test_a_closed_output(command: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "-", *command], stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (1 if "diff" in command else 0, "")


def test_a_build_without_streams(tmp_path: Path) -> None:
    words = [*TOOL, "build", f"oci:{FIXTURES}/hello", "-o", str(tmp_path / "app")]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "-", *words], check=True)
    dockerc("verify", tmp_path / "app")


def test_nohup(app: Path) -> None:
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "-", *TOOL, "cat", str(app), "large"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.read(1)
    process.send_signal(signal.SIGHUP)
    assert len(process.stdout.read()) == (1 << 20) - 1
    assert process.wait() == 0
