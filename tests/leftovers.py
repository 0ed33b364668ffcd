"""What a run could leave behind, and waiting until it is gone.

Other work goes on beside the tests, so that only what is the tests' own counts. Processes: those
that descend from the one that was called, which adopts orphans (`adopt_orphans`). Mounts, and files
in the places for temporary ones: those in a mount namespace of the test's own, where these places
are new directories (`own_machine`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PLACES = ("/tmp", "/var/tmp", "/dev/shm", "/run")
"""Where programs put files for a while."""

NOT_SHOWN = re.compile(r"dockerc-(own-.*|[0-9]+)")
"""Directories of other tests like this, and what the runtime unpacked to where it has no cache."""

_LIBC: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_SHARED = 4096, 16384, 1 << 18, 1 << 20


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def adopt_orphans() -> None:
    """From now on this is a child of the process that was called, which adopts and reaps.

    A process whose parent ends becomes a child of that one, not of pid 1, so that whatever a test
    started can be told from the machine's other processes (prctl(2), PR_SET_CHILD_SUBREAPER).
    """
    _checked(_LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    child = os.fork()
    if child == 0:
        _checked(_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0))
        return
    # The keyboard's goes to both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def descendants() -> set[int]:
    """Pids of the living processes that the tests have started, directly or not."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # proc_pid_stat(5); the program's name may hold anything, parentheses too.
            state, parent = (entry / "stat").read_text().rpartition(") ")[2].split()[:2]
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    found: set[int] = set()
    waiting = [os.getppid()]
    while waiting:
        mine = children.get(waiting.pop(), [])
        found.update(mine)
        waiting += mine
    return found - {os.getpid()}


def processes_with(marker: str) -> list[int]:
    """Pids of the tests' processes that carry the marker on their command line."""
    found = []
    for pid in descendants():
        with contextlib.suppress(OSError):
            if marker.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@contextlib.contextmanager
def own_machine(*, network: bool = False) -> Iterator[None]:
    """Root's test goes on in namespaces of its own, in which nothing but its own happens.

    Mounts that a run lets out show up in it, since all mounts are shared in there. The places for
    temporary files are new directories on the same disks, in which the directories that were
    there before are to be seen, for the programs that tests run are in some.
    Others than root cannot have this, but neither can their runs mount anything here.
    """
    if os.geteuid() != 0:
        yield
        return
    # Of the thread: other threads stay where they are.
    before = [
        (os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY), flag)
        for kind, flag in (("mnt", _CLONE_NEWNS), ("net", _CLONE_NEWNET if network else 0))
        if flag
    ]
    where = Path.cwd()
    made = [(place, tempfile.mkdtemp(prefix="dockerc-own-", dir=place)) for place in PLACES]
    try:
        _checked(_LIBC.unshare(sum(flag for _, flag in before)))
        _cover(made)
        os.chdir(where)
        yield
    finally:
        for descriptor, flag in before:
            _checked(_LIBC.setns(descriptor, flag))
            os.close(descriptor)
        os.chdir(where)
        mounted = Path("/proc/self/mountinfo").read_text()
        for _, own in made:
            assert own not in mounted, "what is mounted there is not the test's to remove"
            shutil.rmtree(own)


def _cover(made: list[tuple[str, str]]) -> None:
    _mount("none", "/", _MS_REC | _MS_PRIVATE)
    for place, own in made:
        Path(own).chmod(Path(place).stat().st_mode & 0o7777)
        for entry in Path(place).iterdir():
            # Programs of the tests, sockets of services. No mount point is lost.
            if entry.is_dir() and not entry.is_symlink() and not NOT_SHOWN.fullmatch(entry.name):
                (Path(own) / entry.name).mkdir()
                _mount(str(entry), f"{own}/{entry.name}", _MS_BIND | _MS_REC)
        _mount(own, place, _MS_BIND | _MS_REC)
    _mount("none", "/", _MS_REC | _MS_SHARED)


def _mount(source: str, target: str, flags: int) -> None:
    _checked(_LIBC.mount(source.encode(), target.encode(), None, flags, None))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def traces() -> set[str]:
    """What a run could leave behind: processes, mounts, temporary files.

    Inside `own_machine` all is the test's; who is not root goes by names.
    """
    # A mount's number and where it is; others may remove the directory that it shows.
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = [f"mount {words[0]} {words[4]}" for words in lines]
    files = [str(path) for place in PLACES for path in Path(place).iterdir()]
    if os.geteuid() != 0:
        mounts, files = ([name for name in names if "dockerc" in name] for names in (mounts, files))
    return {*mounts, *files, *(f"process {pid}" for pid in descendants())}


@contextlib.contextmanager
def leaving_nothing() -> Iterator[None]:
    """Assert that after the block no process, mount or file is left."""
    with own_machine():
        before = traces()
        yield
        assert wait_for(lambda: traces() <= before), traces() - before
