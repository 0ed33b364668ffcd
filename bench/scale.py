"""Large images: what a build takes as they grow, a million files and ten gibibytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from layers import synthetic
from measure import ORDINARY, User

IMAGES = {
    "100,000 files": (10**8, 10**5),
    "1,000,000 files": (10**9, 10**6),
    "10 GiB": (10 << 30, 100),
}
"""Bytes and files."""


def bench_scale(work: Path, dockerc: str) -> None:
    """Print one cold build of each."""
    user = ORDINARY if ORDINARY.can_run(dockerc) else User(None)
    print("\nlarge images, one cold build each")
    print(f"{'image':20}{'wall s':>10}{'rss MB':>10}{'us a file':>12}")
    for name, (size, files) in IMAGES.items():
        directory = work / "scale"
        directory.mkdir()
        directory.chmod(0o777)
        layout = synthetic(directory / "image", size, files)
        options: list[str | Path] = ["--no-cache", "--arch", "amd64", "-o", directory / "app"]
        took = user.timed(dockerc, "build", "-q", f"oci:{layout}", *options)
        print(
            f"{name:20}{took.wall:10.1f}{took.rss / 1e6:10.0f}{took.wall / files * 1e6:12.1f}",
            flush=True,
        )
        shutil.rmtree(directory)
