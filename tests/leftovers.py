"""What a run could leave behind, and waiting until it is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def processes_with(marker: str) -> list[int]:
    """Pids of all processes that carry the marker on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def traces() -> set[str]:
    """What a run could leave behind: mounts, loop devices in use, files in temporary places."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    loops = [str(path) for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    places = ["/tmp", "/var/tmp", "/dev/shm", "/run"]
    files = [str(path) for place in places for path in Path(place).iterdir()]
    return {*mounts, *loops, *files}


@contextlib.contextmanager
def leaving_nothing(marker: str) -> Iterator[None]:
    """Assert that after the block no process, mount, loop device or file is left."""
    before = traces()
    yield
    assert wait_for(lambda: not processes_with(marker)), processes_with(marker)
    assert wait_for(lambda: traces() <= before), traces() - before
