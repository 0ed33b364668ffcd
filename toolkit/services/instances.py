"""Runs of dockerc's executables on this machine: each executable lists its own.

A file is only executed by the user who runs it already. Root asks everybody's files as their users.
What a container executes is not: it may have written that itself.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError, UnsupportedError
from toolkit.files.flags import DIRECTORY
from toolkit.files.user import user_id
from toolkit.limits import MAX_STUB

_OPTION = b"dockerc-ps"
"""Stands in each runtime that lists its runs; others could start the program instead."""
_SECONDS = 20
_SIZE = 1 << 20
"""Bytes of an answer."""
_COLUMNS = 6


@dataclass(frozen=True)
class Run:
    """A run: process ids are those of the runtime and of the program, as the machine has them."""

    name: str
    pid: int
    app: int
    user: int
    uptime: str
    command: str
    file: str


@dataclass(frozen=True)
class Runs:
    """Those that were found, and files that run with a runtime which cannot list them."""

    found: tuple[Run, ...]
    old: tuple[str, ...]


def find_runs(proc: Path = Path("/proc")) -> Runs:
    """All runs that the caller may see, in the order of their process ids."""
    if not proc.is_dir():
        raise UnsupportedError("executables run on Linux only, and this system has no /proc")
    found: dict[int, Run] = {}
    old: set[str] = set()
    silent: set[int] = set()
    for process in _processes(proc):
        try:
            with _file(process) as file:
                if file.user in silent:
                    continue
                if not _can_list(file.path):
                    old.add(file.name)
                    continue
                try:
                    found |= {run.pid: run for run in _listed(file)}
                except RefusedError:
                    # A user with many such files must not delay the others' for ever.
                    silent |= {file.user} - {user_id()}
        except (DockercError, OSError):
            continue  # another program's, or ended meanwhile
    return Runs(tuple(found[pid] for pid in sorted(found)), tuple(sorted(old)))


def choose_run(runs: Runs, word: str) -> Run:
    """The run of that name or process id; raises DockercError unless it is the only one."""
    fitting = [run for run in runs.found if word in (run.name, str(run.pid), str(run.app))]
    # What other users' files call their runs must not hide one's own.
    fitting = [run for run in fitting if run.user == user_id()] or fitting
    if len(fitting) > 1:
        listed = ", ".join(f"{run.pid} ({run.file})" for run in fitting)
        raise DockercError(f"several runs are called {word}: name one by its process id: {listed}")
    if not fitting:
        hint = f"; {runs.old[0]} runs with an older runtime, replace it first" if runs.old else ""
        raise AbsentError(f"no run is called {word}; `dockerc ps` lists them{hint}")
    return fitting[0]


def become_run(run: Run, words: list[str], proc: Path = Path("/proc")) -> NoReturn:
    """Become the run's own executable, with these words; raises DockercError.

    Only that of a run of one's own: it gets the caller's terminal.
    """
    if run.user != user_id():
        raise RefusedError(f"{run.name} is user {run.user}'s: do this as that user")
    try:
        with _file(proc / str(run.pid)) as file:
            os.execve(file.descriptor, [run.file, *words], os.environ)
    except OSError as error:
        raise DockercError(f"cannot run {run.file}: {error.strerror}") from None


def ask_run(run: Run, words: list[str], seconds: float, proc: Path = Path("/proc")) -> bytes:
    """What the run's executable answers; it is started as the run's user."""
    with _file(proc / str(run.pid)) as file:
        if file.user != run.user:
            raise RefusedError(f"{run.name} is not user {run.user}'s")
        return _answer(file, words, seconds)


@dataclass(frozen=True)
class _File:
    """What a process of the machine executes, open, and the process's real ids."""

    descriptor: int
    name: str
    user: int
    group: int

    @property
    def path(self) -> Path:
        return Path(f"/proc/self/fd/{self.descriptor}")


@contextmanager
def _file(process: Path) -> Iterator[_File]:
    """Raises DockercError if it is a container's: another PID namespace, or a mount not ours."""
    with ExitStack() as stack:

        def opened(path: str | Path, flags: int, within: int | None = None) -> int:
            descriptor = os.open(path, flags, dir_fd=within)
            stack.callback(os.close, descriptor)
            return descriptor

        # That process's, even if its number is used again.
        directory = opened(process, DIRECTORY)
        if os.stat("ns/pid", dir_fd=directory).st_ino != Path("/proc/self/ns/pid").stat().st_ino:
            raise DockercError(f"{process}: a process of a container")
        descriptor = opened("exe", os.O_RDONLY, directory)
        told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
        mount = re.search(r"^mnt_id:\t(\d+)$", told, re.M)
        if mount is None or not re.search(rf"^{mount[1]} ", mounts, re.M):
            raise DockercError(f"{process}: it executes a file of a container")
        name = os.readlink("exe", dir_fd=directory).removesuffix(" (deleted)")
        status = os.read(opened("status", os.O_RDONLY, directory), 1 << 12)
        ids = re.search(rb"^Uid:\t(\d+).*\nGid:\t(\d+)", status, re.M)
        if ids is None:
            raise DamagedError(f"{process}/status has no ids")
        yield _File(descriptor, name, int(ids[1]), int(ids[2]))


def _processes(proc: Path) -> Iterator[Path]:
    """One process of each file and user that execute one."""
    seen = set()
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            file = (entry / "exe").stat()
            key = (file.st_dev, file.st_ino, (entry / "ns/pid").stat().st_ino, entry.stat().st_uid)
        except OSError:
            continue
        if key not in seen:
            seen.add(key)
            yield entry


def _can_list(executable: Path) -> bool:
    from toolkit.executable.executable import open_executable

    with open_executable(executable) as opened:
        return _OPTION in opened.stub(MAX_STUB)


def _listed(file: _File) -> list[Run]:
    """What the file says of its runs of that user."""
    told = _answer(file, ["--dockerc-ps"], _SECONDS)
    lines = told.decode(errors="backslashreplace").splitlines()[1:]
    rows = [line.split(maxsplit=_COLUMNS - 1) for line in lines]
    return [
        Run(row[0], int(row[1]), int(row[2]), int(row[3]), row[4], (row[5:] or [""])[0], file.name)
        for row in rows
        if len(row) >= _COLUMNS - 1 and all(number.isdigit() for number in row[1:4])
        if int(row[3]) == file.user
    ]


def _answer(file: _File, words: list[str], seconds: float) -> bytes:
    """Its output, bounded in size and time; raises DockercError. It gets no terminal of ours."""
    as_user: dict[str, Any] = {}
    if user_id() == 0 and file.user != 0:
        as_user = {"user": file.user, "group": file.group, "extra_groups": []}
    process = subprocess.Popen(
        [file.path, *words], pass_fds=[file.descriptor],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True, env={}, cwd="/", **as_user,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        told, deadline = b"", time.monotonic() + seconds
        try:
            while len(told) <= _SIZE:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    break
                if not (piece := os.read(process.stdout.fileno(), 1 << 16)):
                    return told
                told += piece
        finally:
            process.kill()
    raise RefusedError(f"{file.name}: it does not answer, or without end")
