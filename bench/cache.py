"""Builds from a cache in a registry, beside those from the local cache and from none."""

from __future__ import annotations

import filecmp
import shutil
import statistics
import subprocess
from pathlib import Path

from figures import Figure, note
from measure import ORDINARY, Measured, User
from served import registry

ROUNDS = 7
BAR = 1.3
_LOCAL, _SIGNED, _CHECKED, _NONE = (
    "the local cache, warm",
    "a remote cache, signed",
    "a remote cache, checked",
    "no cache",
)


def bench_cache(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print seconds of builds of the python image, in turn; image and cache in one registry."""
    user = ORDINARY if ORDINARY.can_run(dockerc) else User(None)
    key = work / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for file in (key, key.with_suffix(".pub")):
        file.chmod(0o644)
    with registry(work) as meter:
        image = f"docker://{meter.direct}/python:1"
        subprocess.run(
            ["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false",
             f"oci:{images['python']}:latest", image],
            check=True,
        )  # fmt: skip
        cache: list[str | Path] = ["--cache-from", f"docker://{meter.direct}/cache"]
        store = ["--cache-to", cache[1], "--cache-sign", key]

        def build(kept: Path, *words: str | Path) -> Measured:
            output = kept.with_suffix(".app")
            where = user.with_cache(kept)
            return where.timed(dockerc, "build", "-q", image, "-o", output, *words)

        build(work / "warm", *store)
        ways: dict[str, list[str | Path]] = {
            _LOCAL: [],
            _SIGNED: [*cache, "--cache-key", key.with_suffix(".pub")],
            _CHECKED: [*cache],
            _NONE: [],
        }
        taken: dict[str, list[Measured]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, words in ways.items():
                kept = work / ("warm" if way == _LOCAL else "cold")
                taken[way].append(build(kept, *words))
                if way != _LOCAL:
                    assert filecmp.cmp(work / "cold.app", work / "warm.app", shallow=False), way
                    shutil.rmtree(work / "cold")
    _print(taken)


def _print(taken: dict[str, list[Measured]]) -> None:
    print(f"\nbuilds of the python image in s, {ROUNDS} each, in turn, medians; least; processor s")
    for way, runs in taken.items():
        walls = [run.wall for run in runs]
        cpu = statistics.median(run.cpu for run in runs)
        print(f"{way:30} {statistics.median(walls):8.2f} {min(walls):8.2f} {cpu:8.2f}")
    walls_of = {way: statistics.median(run.wall for run in runs) for way, runs in taken.items()}
    for ours, rival, bar in (
        (_SIGNED, _LOCAL, BAR),
        (_CHECKED, _LOCAL, None),
        (_CHECKED, _NONE, None),
    ):
        values = walls_of[ours], walls_of[rival]
        print(note(Figure("build of python", ours, rival, "s", *values, bar)), flush=True)
