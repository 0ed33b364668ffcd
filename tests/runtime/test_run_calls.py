"""The system calls of a start are those that docs/start.md justifies."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support import TESTS, Runner

CALL = re.compile(r"(?P<task>\d+) +(?P<name>\w+)\(")
MOST = 500
"""Calls of a start; 425 when this was written, a hundred of them for what the app must not reach:
a session, a watchdog and a launcher of its own, docker's masked paths, looks at the root. FUSE
requests make some come and go."""

NOT_IN_EVERY_START = {
    "faccessat", "futex", "sched_yield", "munmap", "set_tid_address", "exit",
    "openat2", "getdents64", "readlinkat", "getrandom", "renameat2",
}  # fmt: skip
"""For programs without a path; where threads meet, or much is decoded; where the app ends after the
decoding ahead; with a start list; while a profile is recorded."""


def test_every_call_is_justified(run_as_user: Runner, hello: Path, shared: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = shared / "trace"
    result = run_as_user("strace", "-f", "-qq", "-o", trace, hello)
    assert result.returncode == 0, result.stderr
    made = calls(trace.read_text())
    table = (TESTS.parent / "docs" / "start.md").read_text().split("| call |")[1]
    justified = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:60])}
    assert set(made) <= justified
    assert justified - set(made) <= NOT_IN_EVERY_START
    assert len(made) < MOST


def calls(trace: str) -> list[str]:
    """The runtime's calls in strace's output, without those of the app once it is executed."""
    made: list[str] = []
    executions: dict[str, int] = {}
    first = ""
    for line in trace.splitlines():
        if not (match := CALL.match(line)):
            continue
        task, name = match["task"], match["name"]
        first = first or task
        if executions.get(task, 0) == (2 if task == first else 1):
            continue  # the app
        if name == "execve":
            executions[task] = executions.get(task, 0) + 1
        made.append(name)
    return made
