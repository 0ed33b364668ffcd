"""Reading what is in an executable: our FUSE server against the kernel's squashfs driver."""

from __future__ import annotations

import statistics
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from figures import Figure, note
from layers import with_file
from rivals import Rivals
from tree import Tree, drop_caches, kernel, ours

RUNS = 5
_LARGE = 512 << 20
"""Bytes."""
_PARTS = _LARGE // (128 << 10)

_TAR = "tar cf - --no-recursion --no-unquote --verbatim-files-from -T /mnt/list.{} | wc -c"
_READ = "dd if=/large bs=128k of=/dev/null skip={} count={}"
_RANDOM = "python3 /mnt/places.py {}"


@dataclass(frozen=True)
class Job:
    """What each of the readers that work at the same time does."""

    readers: list[str]
    cold: float
    warm: float
    """The bars: our time as a multiple of the kernel's, at most."""


JOBS: dict[str, list[Job]] = {
    "python": [
        Job(["find / -xdev"], 1.5, 2),
        Job(["tar cf - --one-file-system / | wc -c"], 1, 1),
        Job([_TAR.format(1), _TAR.format(2)], 1 / 1.4, 1),
    ],
    "large": [
        Job([_READ.format(0, _PARTS)], 1 / 0.9, 1 / 0.9),
        Job(
            [_READ.format(0, _PARTS // 2), _READ.format(_PARTS // 2, _PARTS // 2)], 1 / 0.9, 1 / 0.9
        ),
        Job([_RANDOM.format(1)], 1 / 0.9, 1 / 0.9),
        Job([_RANDOM.format(1), _RANDOM.format(2)], 1 / 0.9, 1 / 0.9),
    ],
}
"""By image."""

_RANDOM_READS = f"""\
import os, random, sys
file = os.open("/large", os.O_RDONLY)
places = random.Random(int(sys.argv[1]))
for _ in range(4000):
    assert len(os.pread(file, 4096, places.randrange({_LARGE // 4096}) * 4096)) == 4096
"""

Mount = Callable[[], AbstractContextManager[Tree]]


def bench_reads(python: Path, work: Path, dockerc: str) -> None:
    """Print medians of RUNS, interleaved; cold: a new mount, no caches; warm: the same again."""
    shared = work / "shared"
    shared.mkdir()
    (shared / "places.py").write_text(_RANDOM_READS)
    print(f"\nreads, {RUNS} runs, interleaved; seconds; x is ours as a multiple of the kernel's")
    print(
        f"{'readers':64}"
        + "".join(f"{w:>8}" for w in ("cold", "kernel", "x", "bar", "warm", "kernel", "x", "bar"))
    )
    for name, jobs in JOBS.items():
        image = python if name == "python" else with_large_file(python, work / "large")
        app, rival = work / f"{name}-reads.app", Rivals.prepare(image, work / "reads")
        subprocess.run([dockerc, "build", "-q", f"oci:{image}", "-o", app], check=True)
        mounts: dict[str, Mount] = {
            "ours": partial(ours, app, shared),
            "kernel": partial(kernel, rival.squashfs, shared),
        }
        if name == "python":
            with mounts["kernel"]() as tree:
                tree.run("find / -xdev ! -type d -printf '%s %p\\n' >/mnt/all")
            split(shared)
        for job in jobs:
            compare(job, mounts)


def with_large_file(image: Path, output: Path) -> Path:
    """The image and a file of so many bytes of its own."""
    data = bytearray()
    for blob in sorted(
        (image / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size
    ):
        with suppress(tarfile.ReadError), tarfile.open(blob) as archive:
            for member in archive:
                if member.isreg() and len(data) < _LARGE:
                    data += archive.extractfile(member).read()  # type: ignore[union-attr]
    data = data * (_LARGE // len(data) + 1)
    return with_file(image, output, "large", bytes(data[:_LARGE]))


def split(shared: Path) -> None:
    """From the list `all`, sizes and names, two lists of half of the bytes each."""
    files = [line.split(" ", 1) for line in (shared / "all").read_text().splitlines()]
    half, sofar = sum(int(size) for size, _ in files) // 2, 0
    names: tuple[list[str], list[str]] = [], []
    for size, name in files:
        names[sofar > half].append(name)
        sofar += int(size)
    for number, part in enumerate(names, 1):
        (shared / f"list.{number}").write_text("".join(f"{name}\n" for name in part))


def compare(job: Job, mounts: dict[str, Mount]) -> None:
    """One line: the job's times in each of the trees."""
    command = (
        " & ".join(f"{{ {reader}; }} >/dev/null 2>&1 || echo failed" for reader in job.readers)
        + " & wait"
    )
    cold: dict[str, list[float]] = {name: [] for name in mounts}
    warm: dict[str, list[float]] = {name: [] for name in mounts}
    for _ in range(RUNS):
        for name, mount in mounts.items():
            drop_caches()
            with mount() as tree:
                cold[name].append(tree.run(command))
                warm[name].append(tree.run(command))
    line = f"{' | '.join(job.readers)[:62]:64}"
    for which, times, bar in (("cold", cold, job.cold), ("warm", warm, job.warm)):
        us, kernels = statistics.median(times["ours"]), statistics.median(times["kernel"])
        subject = f"{' | '.join(job.readers)}, {which}"
        note(Figure(subject, "FUSE", "kernel's squashfs", "s", us, kernels, bar))
        line += f"{us:8.3f}{kernels:8.3f}{us / kernels:7.2f}x{bar:7.2f}x"
    print(line, flush=True)
