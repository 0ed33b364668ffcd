"""Where user namespaces are refused: our path translation beside proot and an unpacked tree."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from figures import Figure, note

_USER: dict[str, Any] = {"user": "dockerc-test", "group": "dockerc-test", "extra_groups": []}
_FORKS = "for i in $(seq 20); do /bin/true; done"
_WORK = {
    "true": ("debian", ["true"]),
    "find /usr": ("debian", ["find", "/usr", "-name", "nothing"]),
    "20 forks": ("debian", ["sh", "-c", _FORKS]),
    "import numpy": ("python", ["python3", "-c", "import numpy"]),
}
_BINDS = ["-b", "/proc", "-b", "/dev", "-w", "/"]
_ROUNDS = 15
_BARS = {
    ("find /usr", "proot"): 0.5,
    ("20 forks", "proot"): 0.5,
    ("import numpy", "unpacked, bwrap"): 1.6,
}
"""Our time as a multiple of the rival's, at most."""
_START_BAR = 6.0
"""Milliseconds of `true`, at most."""
_CALL_BAR = 25.0
"""Microseconds of a call with a path, at most."""
_CALLS = """
import os, statistics, time
def missing():
    try:
        os.stat("/etc/none")
    except FileNotFoundError:
        pass
calls = {
    "stat": lambda: os.stat("/etc/passwd"),
    "stat of nothing": missing,
    "access": lambda: os.access("/etc/passwd", os.R_OK),
    "open and close": lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)),
    "chdir": lambda: os.chdir("/usr/lib"),
    "getcwd": os.getcwd,
    "listdir": lambda: os.listdir("/srv"),
}
for name, call in calls.items():
    times = []
    for _ in range(50):
        begin = time.perf_counter()
        for _ in range(50):
            call()
        times.append((time.perf_counter() - begin) / 50 * 1e6)
    print(f"{name}={statistics.median(times)}")
"""


def bench_translated(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print the medians of each contender, in one run."""
    cache = work / "translated"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    ours = {**environment, "DOCKERC_LOG": "quiet", "DOCKERC_FORCE": "translate"}
    for name, (image, command) in _WORK.items():
        app = work / f"translated-{image}"
        if not app.exists():
            subprocess.run([dockerc, "build", "-q", f"oci:{images[image]}", "-o", app], check=True)
        shown = [app, "cat", "/proc/self/maps"]
        maps = _output(shown, ours)
        tree = next(line.split()[-1] for line in maps.splitlines() if "/rootfs/" in line)
        root = tree.split("/rootfs/")[0] + "/rootfs"
        bound = ["--bind", root, "/", "--proc", "/proc", "--dev", "/dev"]
        ways = {
            "ours": ([app, *command], ours),
            "proot": (["proot", "-r", root, *_BINDS, *command], environment),
            "unpacked, bwrap": (["bwrap", *bound, *command], environment),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, (words, given) in ways.items():
                times[way].append(_milliseconds(words, given))
        medians = {way: statistics.median(each) for way, each in times.items()}
        for rival in ("proot", "unpacked, bwrap"):
            subject, bar = f"paths translated: {name}", _BARS.get((name, rival))
            values = medians["ours"], medians[rival]
            print(note(Figure(subject, "ours", rival, "ms", *values, bar)))
        if name == "true":
            values = medians["ours"], _START_BAR
            print(note(Figure(f"paths translated: {name}", "ours", "bar", "ms", *values, 1.0)))
    for line in _output([work / "translated-python", "python3", "-c", _CALLS], ours).splitlines():
        call, _, value = line.partition("=")
        # It is two calls, an open and a look at what it is.
        bar = None if call == "listdir" else 1.0
        values = float(value), _CALL_BAR
        print(note(Figure(f"paths translated: {call}", "ours", "bar", "us", *values, bar)))


def _output(words: list[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, text=True, check=True, **_USER
    )
    return done.stdout


def _milliseconds(words: list[str | Path], environment: dict[str, str]) -> float:
    before = time.perf_counter()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True, **_USER)
    return (time.perf_counter() - before) * 1000
