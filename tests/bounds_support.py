"""Running the tool and measuring what that took: hostile input must not cost more than honest."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from support import TOOL

MEMORY = 300 << 20
"""Bytes that no command may exceed with small hostile input."""
SECONDS = 10.0
"""Of processor time, likewise, where `_count` takes `_USUAL`: machines differ, and are shared."""
_USUAL = 0.4
MOMENT = 1.0
"""Seconds that a command may go on after it was told to end."""
_PATIENCE = 60.0


@dataclass(frozen=True)
class Measured:
    """A command that has ended: `seconds` of processor time, `memory` in bytes at its peak."""

    status: int
    stdout: str
    stderr: str
    memory: int
    seconds: float

    def is_bounded(self) -> bool:
        """Told in a sentence or done, and at no more cost than anything may have."""
        told = "Traceback" not in self.stderr and len(self.stderr) < 20_000
        return told and self.memory < MEMORY and self.seconds < SECONDS


def measured(*arguments: str | Path, env: dict[str, str] | None = None) -> Measured:
    """Run the tool to its end; after a minute it is killed, and its status is -9."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = started(*arguments, env=env, stdout=out.fileno(), stderr=err.fileno())
        end, memory = time.monotonic() + _PATIENCE, 0
        while True:
            # Not the child's ru_maxrss, which begins with what this process had when it forked.
            memory = max(memory, _peak(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
            time.sleep(0.005)
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(1 << 20).decode(errors="replace"))
        seconds = usage.ru_utime + usage.ru_stime
        if seconds > SECONDS / 2:
            seconds /= max(1.0, _count() / _USUAL)
        return Measured(process.returncode, *texts, memory, seconds)


def _count() -> float:
    """Seconds of processor time for thirty million steps of Python."""
    start = time.process_time()
    sum(range(30_000_000))
    return time.process_time() - start


def _peak(pid: int) -> int:
    """Bytes of memory that the process has had at most (proc(5), VmHWM); 0 when it has none."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    # Before it has become the tool, it is a copy of this process.
    return int(found[1]) << 10 if found and b"toolkit.cli" in command else 0


def started(
    *arguments: str | Path,
    env: dict[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """The tool, running."""
    command = [*TOOL, *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, **(env or {})}, stdout=stdout, stderr=stderr
    )


def ended_by(process: subprocess.Popen[bytes], number: signal.Signals) -> float:
    """Seconds that it took to end after the signal, with the status that belongs to it."""
    told = time.monotonic()
    process.send_signal(number)
    assert process.wait(_PATIENCE) == 128 + number
    return time.monotonic() - told
