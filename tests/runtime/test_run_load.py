"""Under load: what the runtime takes of memory, and many of it at once."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support import Runner, dockerc

RESIDENT = 24 << 20
"""Bytes that the runtime may hold at most, whatever is read through it, by two processors."""
READERS = "for part in usr var; do tar cf - /$part | cat >/dev/null & done; wait"


@pytest.fixture(scope="module")
def app(images: Path, place: Path) -> Path:
    """The python image, built."""
    output = place / "python-load"
    dockerc("build", f"oci:{images}/python", "-o", output)
    return output


def test_what_is_read_does_not_stay_in_memory(run_as_user: Runner, app: Path) -> None:
    command = run_as_user.command(app, "sh", "-c", f"{READERS} 2>/dev/null; echo read; read end")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"read\n"
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
        process.stdin.close()
    assert peak <= RESIDENT


def test_a_hundred_starts_at_once(run: Runner, hello: Path) -> None:
    command = run.command(hello)
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(100)
    ]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert said == ["Hello from dockerc on x86_64\n"] * 100
    assert [process.returncode for process in started] == [0] * 100
