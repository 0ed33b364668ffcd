"""Where user namespaces are refused: our path translation beside proot and an unpacked tree."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

from figures import Figure, note

_USER = ["setpriv", "--reuid", "dockerc-test", "--regid", "dockerc-test", "--init-groups"]
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
        shown = [*_USER, app, "cat", "/proc/self/maps"]
        maps = subprocess.run(shown, env=ours, capture_output=True, text=True, check=True).stdout
        tree = next(line.split()[-1] for line in maps.splitlines() if "/rootfs/" in line)
        root = tree.split("/rootfs/")[0] + "/rootfs"
        bound = ["--bind", root, "/", "--proc", "/proc", "--dev", "/dev"]
        ways = {
            "ours": ([*_USER, app, *command], ours),
            "proot": ([*_USER, "proot", "-r", root, *_BINDS, *command],
                      environment),
            "unpacked, bwrap": ([*_USER, "bwrap", *bound, *command], environment),
        }  # fmt: skip
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way, (words, given) in ways.items():
                times[way].append(_milliseconds(words, given))
        medians = {way: statistics.median(each) for way, each in times.items()}
        for rival in ("proot", "unpacked, bwrap"):
            subject, bar = f"paths translated: {name}", _BARS.get((name, rival))
            values = medians["ours"], medians[rival]
            print(note(Figure(subject, "ours", rival, "ms", *values, bar)))


def _milliseconds(words: list[str | Path], environment: dict[str, str]) -> float:
    before = time.perf_counter()
    subprocess.run(words, env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - before) * 1000
