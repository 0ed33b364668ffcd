"""Runs that share a mount, in tests: their keepers, and the directory where these are found."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leftovers import descendants, wait_for
from support import ORDINARY_USER, Runner

KEEPER = "dockerc-keeper"
GONE = "the keeper of the shared mount has ended"
NOT_SHARED = "the payload's mount is not shared: "


@dataclass
class Sharing:
    """Runs of `app` by one user, whose keepers have their sockets in `directory`."""

    run: Runner
    app: Path
    runtime: Path
    """$XDG_RUNTIME_DIR."""
    options: list[str] = field(default_factory=list)
    """Before those of a call."""

    @property
    def directory(self) -> Path:
        return self.runtime / "dockerc"

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), **more}

    def __call__(self, *words: str | Path, debug: bool = False, **options: Any) -> Any:
        """A run; returns the CompletedProcess."""
        environment = self.environment(**({"DOCKERC_LOG": "debug"} if debug else {}))
        return self.run(self.app, *self.options, *words, env=environment, **options)

    def start(self, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
        """A run that has begun: its program has said something."""
        process = subprocess.Popen(
            self.run.command(self.app, *self.options, *words),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(), **options,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline(), process.communicate()
        return process

    def waiting(self, *options: str | Path) -> subprocess.Popen[str]:
        """One that waits for the end of its input."""
        return self.start(*options, "sh", "-c", "echo begun; exec cat")

    def sockets(self) -> list[str]:
        """Names in the directory."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self.directory.iterdir())
        return []

    def keepers(self) -> list[int]:
        """The processes that hand mounts to runs; each has a child that serves."""
        found = processes(self.app)
        return sorted(pid for pid in found if parent(pid) not in found)

    def servers(self) -> list[int]:
        found = processes(self.app)
        return sorted(pid for pid in found if parent(pid) in found)

    def end(self) -> None:
        """Nothing is left, neither socket nor process."""
        assert wait_for(lambda: not processes(self.app) and not self.sockets()), (
            processes(self.app),
            self.sockets(),
        )


def processes(app: Path) -> set[int]:
    """The processes of keepers of this file that the tests have started."""
    found = set()
    for pid in descendants():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if comm(pid) == KEEPER and words[0] == os.fsencode(app):
                found.add(pid)
    return found


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    return 0


def runtime_directory(run: Runner, place: Path) -> Path:
    """One as systemd makes for a user."""
    directory = place / "runtime"
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0 and not run.as_root:
        try:
            user = pwd.getpwnam(ORDINARY_USER).pw_uid
        except KeyError:
            user = 12345
        os.chown(directory, user, user)
    return directory


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status, output and errors, once its input has ended."""
    out, errors = process.communicate(timeout=30)
    return process.returncode, out, errors


def end_all(app: Path, number: int = signal.SIGTERM) -> None:
    """End the keepers of this file."""
    for pid in processes(app):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    assert wait_for(lambda: not processes(app))
