"""Many runs of one file: those that share a mount beside bubblewrap on the unpacked tree."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from figures import Figure, note
from measure import ORDINARY, in_turn
from rivals import Rivals
from startup import with_one_id

ROUNDS = 20
CROWDS = {32: 5, 128: 3}
"""How many at once, and rounds."""
COMMANDS = (["true"], ["python3", "-c", "pass"], ["python3", "-c", "import numpy"])
BARS = {
    ("true", "joined"): 1.15,
    ("python3 -c import numpy", "joined"): 1.08,
    ("32 at once", "joined"): 1.15,
    ("128 at once", "joined"): 1.15,
}
"""Our time as a multiple of bubblewrap's, at most."""
KEEPER_MB, MEMORY_BAR = 25, 1.1
_LINGER = "120"
_STAYS = "import numpy, sys; print(flush=True); sys.stdin.read()"

Words = list[str | Path]


def bench_share(image: Path, work: Path, dockerc: str) -> None:
    """Print single starts, crowds, and the memory of crowds."""
    rival = Rivals.prepare(image, work)
    built = work / "shared.app"
    subprocess.run([dockerc, "build", "-q", f"oci:{image}", "-o", built], check=True)
    app = with_one_id(built)
    _one_by_one(app, rival)
    for count, rounds in CROWDS.items():
        _crowds(app, rival, count, rounds)
    for count in CROWDS:
        _memory(app, rival, count)


def _one_by_one(app: Path, rival: Rivals) -> None:
    print(f"\nstarts in ms by an ordinary user, one id, in turn, {ROUNDS} rounds")
    print(f"{'contender':60} {'median':>8} {'min':>8} {'of bwrap':>9} {'(min)':>7}")
    for args in COMMANDS:
        contenders: dict[str, Words] = {
            "bwrap, unpacked": rival.bwrap(args),
            "joined": [app, "--linger", _LINGER, "--", *args],
            "a mount of its own": [app, "--", *args],
        }
        _print(" ".join(args), in_turn(contenders, ROUNDS))
    _end_keepers(app)


def _crowds(app: Path, rival: Rivals, count: int, rounds: int) -> None:
    args = COMMANDS[-1]
    print(f"\n{count} at once, `{' '.join(args)}`, ms until all have ended, {rounds} rounds")
    joined: Words = [app, "--linger", _LINGER, "--", *args]
    contenders: dict[str, Callable[[], object]] = {
        "bwrap, unpacked": lambda: _all(rival.bwrap(args), count),
        "joined": lambda: _all(joined, count),
        "shared, the first starts the keeper": lambda: _all([app, "--share", "--", *args], count),
    }
    if count <= 32:
        contenders["mounts of their own"] = lambda: _all([app, "--", *args], count)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            if name == "joined":
                ORDINARY.timed(*joined)
            else:
                _end_keepers(app)
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * 1000)
    _end_keepers(app)
    _print(f"{count} at once", times)


def _memory(app: Path, rival: Rivals, count: int) -> None:
    """Free memory that is gone while all of them wait, page cache included."""
    args = ["python3", "-c", _STAYS]
    print(f"\n{count} that have imported numpy and wait, MB of free memory, 5 rounds, median")
    contenders: dict[str, Words] = {
        "bwrap, unpacked": rival.bwrap(args),
        "shared": [app, "--share", "--", *args],
    }
    used: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(5):
        for name, words in contenders.items():
            used[name].append(_used_by(words, count))
            _end_keepers(app)
    middle = {name: statistics.median(values) for name, values in used.items()}
    rival_s, ours = middle.values()
    figure = Figure(
        f"memory of {count}", "shared, but 25 MB", "bwrap, unpacked", "MB",
        ours - KEEPER_MB, rival_s, MEMORY_BAR,
    )  # fmt: skip
    print(note(figure), flush=True)


def _used_by(words: Words, count: int) -> float:
    os.sync()
    time.sleep(1)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    before = _free()
    with _started(words, count, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as processes:
        for each in processes:
            assert each.stdout is not None and each.stdout.readline()
        used = before - _free()
        for each in processes:
            assert each.stdin is not None
            each.stdin.close()
    return used / 1e6


def _free() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemFree"].split()[0]) * 1024


def _all(words: Words, count: int) -> None:
    with _started(words, count, stdout=subprocess.DEVNULL):
        pass


@contextlib.contextmanager
def _started(words: Words, count: int, **streams: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [str(word) for word in words]
    processes = [subprocess.Popen(command, **streams, **ORDINARY.identity()) for _ in range(count)]
    yield processes
    for each in processes:
        if each.wait():
            raise subprocess.CalledProcessError(each.returncode, command)


def _end_keepers(app: Path) -> None:
    """SIGTERM to those of this file, and wait for their end."""
    name = os.fsencode(app)
    while True:
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cmdline").read_bytes().split(b"\0")[0] == name:
                    found.append(int(entry.name))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)
        time.sleep(0.01)


def _print(what: str, times: dict[str, list[float]]) -> None:
    (first, rival), *_ = times.items()
    for name, values in times.items():
        median, least = statistics.median(values), min(values)
        if name != first:
            bar = BARS.get((what, name))
            note(Figure(what, name, first, "ms", median, statistics.median(rival), bar))
        print(
            f"{f'{what}: {name}':60} {median:8.1f} {least:8.1f}"
            f" {median / statistics.median(rival):8.2f}x {least / min(rival):6.2f}x",
            flush=True,
        )
