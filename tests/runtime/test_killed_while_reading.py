"""The stub, killed while its file system is busy, is gone at once: no thread of it may be left
waiting in the kernel for an answer that nobody gives any more."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from leftovers import descendants
from support import Runner, dockerc

PATIENCE = 60
"""Seconds: who waits for an answer that nobody gives waits for ever, for a busy disk less."""
READERS = """
cat /usr/lib/*/*.so* >/dev/null &
tar cf - /usr/bin | cat >/dev/null &
find / -xdev -type f -exec cat {} + >/dev/null &
xargs -d '\\n' cat >/dev/null
wait
"""


def stuck(program: str) -> list[str]:
    """The tests' processes of that name that wait in the kernel, and threads of that name."""
    found = []
    for pid in descendants():
        with contextlib.suppress(OSError):
            for path in Path(f"/proc/{pid}/task").glob("[0-9]*/stat"):
                name, _, rest = path.read_text().partition(" (")[2].rpartition(") ")
                if name == program and rest.startswith("D"):
                    found.append(str(path))
    return found


@pytest.fixture(scope="module")
def app(images: Path, place: Path) -> Path:
    """The debian image, built."""
    dockerc("build", f"oci:{images}/debian", "-o", place / "killed")
    return place / "killed"


def test_killed_while_reading(run_as_user: Runner, app: Path, shared: Path) -> None:
    moments = random.Random(1)
    found = run_as_user(app, "find", "/usr/share", "-type", "f")
    (shared / "names").write_text(found.stdout)
    for _ in range(60):
        command = run_as_user.command(app, "sh", "-c", READERS)
        streams = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
        with (
            (shared / "names").open() as names,
            subprocess.Popen(command, stdin=names, **streams) as process,
        ):
            # From the container's making to the readers' midst.
            time.sleep(moments.choice((0.001, 0.01, 0.2, 0.4)) * moments.random())
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while stuck(app.name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stuck(app.name) == []
