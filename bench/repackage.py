"""extract and replace beside cp and dd on a gigabyte, and what inspect takes on any file."""

from __future__ import annotations

import io
import json
import os
import random
import statistics
import tarfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from layers import store
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
    layout, app = work / f"image-{size}", work / f"app-{size}"
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layer = layout / "layer"
    with tarfile.open(layer, "w") as archive:
        for number in range(files):
            info = tarfile.TarInfo(f"d{number // 100}/f{number}")
            info.size = size // files
            archive.addfile(info, _Noise(info.size))
    stored = store(layout, layer)
    config = {
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [stored["digest"]]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | store(layout, config),
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar"} | stored],
    }
    listed = {"mediaType": "application/vnd.oci.image.manifest.v1+json"} | store(layout, manifest)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    user.timed(dockerc, "build", "-q", "--no-cache", f"oci:{layout}", "--arch", "amd64", "-o", app)
    return app


class _Noise(io.RawIOBase):
    """Random bytes, so many of them."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return random.randbytes(size)
