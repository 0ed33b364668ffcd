"""Many starts, one after the other, leave nothing on the machine.

$DOCKERC_TEST_STARTS says how many: 500 unless told, and the issue asks for 10,000.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from leftovers import processes_with, traces, wait_for
from support import Runner

STARTS = int(os.environ.get("DOCKERC_TEST_STARTS", "500"))

LOOP = 'i=0; while [ $i -lt "$1" ]; do "$0" >/dev/null || exit; i=$((i + 1)); done; echo $i'


def held() -> dict[str, int]:
    """Counts of what a run could leave in the file system or in the kernel."""
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return {
        "mounts, loop devices, temporary files": len(traces()),
        # A namespace may wait in a message for its collection (farewell.zig).
        "unix sockets": len(Path("/proc/net/unix").read_text().splitlines()),
        "fuse connections": len(list(Path("/sys/fs/fuse/connections").glob("*"))),
        "processes": len(list(Path("/proc").glob("[0-9]*"))),
        "open files": int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        "memory, 64 MiB": int(memory["SUnreclaim"].split()[0]) >> 16,
        "shared memory, MiB": int(memory["Shmem"].split()[0]) >> 10,
    }


def test_many_starts_leave_nothing(run: Runner, hello: Path) -> None:
    assert run(hello).returncode == 0
    before = held()
    # Other processes of the machine come and go; what each start leaves would be far more.
    slack = STARTS // 20
    few = {"memory, 64 MiB": 1, "shared memory, MiB": 5}

    def settled() -> bool:
        now = held()
        return all(now[kind] <= before[kind] + few.get(kind, slack) for kind in before)

    began = time.monotonic()
    done = run("sh", "-c", LOOP, hello, str(STARTS), timeout=60 + STARTS / 10)
    took = time.monotonic() - began
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{STARTS}\n", "")
    assert wait_for(lambda: not processes_with(str(hello))), processes_with(str(hello))
    assert wait_for(settled), (before, held())
    print(f"{STARTS} starts, {took / STARTS * 1000:.2f} ms each")
