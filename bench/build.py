"""Build: ours against the pipeline of dockerc 0.3 (skopeo, umoci, mksquashfs), in the same run."""

from __future__ import annotations

import os
import random
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from layers import merged_tar, with_file
from measure import ORDINARY, Measured, User, write_policy

RUNS = 3


@dataclass(frozen=True)
class Contest:
    """One image, built in one fresh directory, for one run."""

    image: Path
    work: Path
    dockerc: str
    user: User

    def ours(self, *options: str, image: Path | None = None) -> Measured:
        """`dockerc build` from the OCI layout."""
        source = f"oci:{image or self.image}:latest"
        return self.user.timed(self.dockerc, "build", source, "-o", self.work / "ours", *options)

    def cold(self) -> Measured:
        """Nothing cached."""
        return self.ours("--no-cache")

    def changed(self) -> Measured:
        """The image's layers are cached; one more, of a megabyte, is not."""
        self.ours()
        return self.ours(
            image=with_file(
                self.image, self.work / "changed", "srv/changed", random.randbytes(1 << 20)
            )
        )

    def cached(self) -> Measured:
        """Every layer is cached."""
        self.ours()
        return self.ours()

    def pipeline(self) -> Measured:
        """What dockerc 0.3 runs: skopeo copy, umoci unpack --rootless, mksquashfs -comp zstd."""
        work = self.work
        steps: list[list[str | Path]] = [
            ["skopeo", "copy", "--policy", write_policy(work), f"oci:{self.image}:latest",
             f"oci:{work}/image:latest"],
            ["umoci", "unpack", "--rootless", "--image", f"{work}/image:latest", work / "bundle"],
            ["mksquashfs", work / "bundle", work / "theirs", "-comp", "zstd", "-noappend",
             "-force-uid", "0", "-force-gid", "0"],
        ]  # fmt: skip
        return Measured.total([self.user.timed(*step) for step in steps])

    def tar2sqfs(self) -> Measured:
        """squashfs-tools-ng, from the layers' tars, joined beforehand."""
        merged = merged_tar(self.image, self.work / "merged.tar")
        command = f"exec tar2sqfs -q -f -c zstd {self.work}/theirs <{merged}"
        return self.user.timed("sh", "-c", command)

    def size(self) -> int:
        """Bytes of the squashfs that came out."""
        if (self.work / "theirs").exists():
            return (self.work / "theirs").stat().st_size
        data = self.work / "ours"
        with data.open("rb") as file:
            file.seek(-16, os.SEEK_END)
            offset = int.from_bytes(file.read(8), "little")
        return data.stat().st_size - offset - 16


CONTENDERS: dict[str, tuple[str, Callable[[Contest], Measured]]] = {
    "cold": ("ours, cold", Contest.cold),
    "changed": ("ours, one new layer on a cached base", Contest.changed),
    "cached": ("ours, all cached", Contest.cached),
    "pipeline": ("skopeo + umoci + mksquashfs", Contest.pipeline),
    "tar2sqfs": ("tar2sqfs, merged tar given", Contest.tar2sqfs),
}

OCI2BIN = {"debian": (0.5, 64.5), "python": (0.8, 120.9)}
"""Seconds and MB that another machine's run was recorded with: it copies the layers as they are."""


def bench_build(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print one line a contender and image: medians of RUNS, memory the largest, and the ratio."""
    user = ORDINARY if ORDINARY.can_run(dockerc) else User(None)
    who = user.name or "root, as no other user reaches the tool"
    print(f"\nbuild, {who}, {RUNS} runs each, interleaved; size is the squashfs's")
    header = ("wall s", "cpu s", "rss MB", "size MB", "of pipeline")
    print(f"{'image':8} {'contender':38}" + "".join(f"{word:>12}" for word in header))
    for image in images.values():
        found: dict[str, list[Measured]] = {key: [] for key in CONTENDERS}
        sizes: dict[str, int] = {}
        for _ in range(RUNS):
            for key, (_, build) in CONTENDERS.items():
                directory = work / "build"
                directory.mkdir()
                directory.chmod(0o777)
                contest = Contest(image, directory, dockerc, user.with_cache(directory))
                found[key].append(build(contest))
                sizes[key] = contest.size()
                shutil.rmtree(directory)
        pipeline = statistics.median(row.wall for row in found["pipeline"])
        for key, (title, _) in CONTENDERS.items():
            wall = statistics.median(row.wall for row in found[key])
            cpu = statistics.median(row.cpu for row in found[key])
            rss = max(row.rss for row in found[key])
            print(
                f"{image.name:8} {title:38}{wall:12.2f}{cpu:12.2f}{rss / 1e6:12.0f}"
                f"{sizes[key] / 1e6:12.2f}{f'1/{pipeline / wall:.1f}':>12}"
            )
        if image.name in OCI2BIN:
            wall, size = OCI2BIN[image.name]
            print(f"{image.name:8} {'oci2bin, as recorded':38}{wall:12.2f}{size:36.2f}")
