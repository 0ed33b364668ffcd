"""Runs of an executable that last, for tests that list, enter and stop them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leftovers import wait_for
from support import ORDINARY_USER

USERS = {
    "root": [],
    "sub-ids": ["setpriv", "--reuid", ORDINARY_USER, "--regid", ORDINARY_USER, "--init-groups"],
    "one id": ["setpriv", "--reuid", "23456", "--regid", "23456", "--clear-groups"],
}
"""How root runs a command as each kind of user."""


@dataclass(frozen=True)
class Row:
    """A line of --dockerc-ps."""

    name: str
    pid: int
    app: int
    user: int
    uptime: str
    command: str


@dataclass(frozen=True)
class User:
    """Somebody who starts and looks after runs."""

    kind: str

    def command(self, *words: str | Path) -> list[str]:
        return [*USERS[self.kind], *map(str, words)]

    def __call__(self, *words: str | Path, **options: Any) -> Any:
        """Run; returns the CompletedProcess, with output as text."""
        options = {"stdin": subprocess.DEVNULL, "timeout": 60, "text": True, **options}
        return subprocess.run(self.command(*words), capture_output=True, **options)

    def ps(self, app: Path) -> list[Row]:
        done = self(app, "--dockerc-ps")
        assert (done.returncode, done.stderr) == (0, "")
        heading, *lines = done.stdout.splitlines()
        assert heading.split() == ["NAME", "PID", "APP", "USER", "UPTIME", "COMMAND"]
        rows = [re.split("  +", line, maxsplit=5) for line in lines]
        return [Row(r[0], int(r[1]), int(r[2]), int(r[3]), r[4], r[5]) for r in rows]

    @contextmanager
    def running(self, app: Path, *words: str | Path, **options: Any) -> Iterator[Row]:
        """A run that has started, as the list shows it; it is ended afterwards."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **options}
        process = subprocess.Popen(self.command(app, *words), **options)
        try:
            # setpriv becomes the runtime.
            assert wait_for(lambda: any(row.pid == process.pid for row in self.ps(app)))
            yield next(row for row in self.ps(app) if row.pid == process.pid)
        finally:
            process.kill()
            process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
