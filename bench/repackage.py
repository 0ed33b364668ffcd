"""extract and replace beside cp and dd on a gigabyte, and what inspect takes on any file."""

from __future__ import annotations

import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from layers import synthetic
from measure import ORDINARY, Measured, User

RUNS = 9
PAYLOADS = {
    "1 MB": (10**6, 1),
    "200 MB": (2 * 10**8, 1),
    "1 GB": (10**9, 1),
    "2 GB": (2 * 10**9, 1),
    "200,000 files": (2 * 10**7, 200_000),
}
"""Bytes in all, and in how many files."""


def bench_repackage(work: Path, dockerc: str) -> None:
    """Print medians of RUNS, files cached, outputs new, on the same filesystem, synced by none."""
    user = ORDINARY if ORDINARY.can_run(dockerc) else User(None)
    with ProcessPoolExecutor(1) as pool:  # a child's peak memory begins with its parent's
        made = {n: pool.submit(_executable, work, *p, dockerc, user) for n, p in PAYLOADS.items()}
        apps = {name: future.result() for name, future in made.items()}
    print(f"\nrepackaging, {RUNS} runs each, interleaved")
    app, out = apps["1 GB"], work / "out"
    rivals: dict[str, list[str | Path]] = {
        "cp": ["cp", app, out],
        "dd bs=1M": ["dd", "bs=1M", f"if={app}", f"of={out}"],
        "dockerc extract": [dockerc, "extract", app, out],
        "dockerc replace": [dockerc, "replace", app, out],
    }
    found: dict[str, list[Measured]] = {name: [] for name in rivals}
    for _ in range(RUNS):
        for name, command in rivals.items():
            out.unlink(missing_ok=True)
            os.sync()  # nobody's copy is on its way to the disk while another's is made
            found[name].append(user.timed(*command))
    cp = statistics.median(row.wall for row in found["cp"])
    for name, rows in found.items():
        _print(f"1 GB: {name}", rows, f"{statistics.median(r.wall for r in rows) / cp:.2f} of cp")
    for name, path in apps.items():
        looks = [user.timed(dockerc, "inspect", path) for _ in range(RUNS)]
        _print(f"{name}: dockerc inspect", looks, "")


def _print(title: str, rows: list[Measured], note: str) -> None:
    wall = statistics.median(row.wall for row in rows)
    print(f"{title:32} {wall:7.2f} s {max(row.rss for row in rows) / 1e6:7.0f} MB  {note}")


def _executable(work: Path, size: int, files: int, dockerc: str, user: User) -> Path:
    """An executable whose payload is `size` bytes that do not compress, in so many files."""
    layout = synthetic(work / f"image-{size}-{files}", size, files)
    app = work / f"app-{size}-{files}"
    user.timed(dockerc, "build", "-q", "--no-cache", f"oci:{layout}", "--arch", "amd64", "-o", app)
    return app
