"""`dockerc vm` in a Python that lacks what macOS or Windows lack; QEMU is Linux's (tests/hosts)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machine_support import command
from support import TESTS, dockerc

pytestmark = pytest.mark.slow


def on(host: str) -> dict[str, Any]:
    # QEMU here is for this machine's accelerators, which Windows calls otherwise.
    here = {"DOCKERC_TEST_HOST": host, "DOCKERC_TEST_MACHINE": os.uname().machine}
    return {"env": os.environ | here | {"PYTHONPATH": str(TESTS / "hosts")}}


@pytest.fixture(scope="module", params=["macos", "windows"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_starts_on_linux_alone(tmp_path: Path) -> None:
    """Before anything is fetched or built."""
    told = "dockerc: executables start on Linux alone; `dockerc {}` runs it in a machine of its own"
    code = "import sys; from toolkit.cli import main; sys.platform = 'darwin'; main()"
    for words, instead in (
        (["run", "-e", "A=1", "docker://nowhere.invalid/x"], "run --vm docker://nowhere.invalid/x"),
        (["shell", "app"], "vm app"),
        (["record", "-o", tmp_path / "profile", "app"], "vm app"),
    ):
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (1, told.format(instead) + "\n")


def test_streams_and_status(deb: Path, host: str) -> None:
    words = ["-e", "A=1", "-w", "/tmp", "--", "sh", "-c", "cat; echo $A; pwd >&2; exit 7"]
    done = subprocess.run(
        command(deb, *words), input=b"a\r\nb\x1a\n", capture_output=True, timeout=240, **on(host)
    )
    assert done.stdout == b"a\r\nb\x1a\n1\n", done.stderr
    assert (done.stderr, done.returncode) == (b"/tmp\n", 7)


def test_many_bytes(deb: Path, host: str, tmp_path: Path) -> None:
    data = os.urandom(20 << 20)
    (tmp_path / "given").write_bytes(data)
    with (tmp_path / "given").open("rb") as given:
        words = command(deb, "--", "cat")
        done = subprocess.run(words, stdin=given, capture_output=True, timeout=240, **on(host))
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest(), done.stderr
    assert done.returncode == 0


def test_a_build_there_starts_there(host: str, tmp_path: Path, images: Path) -> None:
    dockerc("build", "-q", f"oci:{images}/debian", "-o", tmp_path / "app", **on(host))
    words = command(tmp_path / "app", "--", "cat", "/etc/debian_version")
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=240, text=True, **on(host)
    )
    assert done.stdout[0].isdigit() and done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"app"}
