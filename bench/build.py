"""Build: ours against the old tool's pipeline (skopeo, umoci, mksquashfs), in the same run."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from measure import ORDINARY, Measured, User, write_policy

RUNS = 3


def ours(image: Path, work: Path, dockerc: str, user: User) -> tuple[Measured, int]:
    """`dockerc build` from the OCI layout; its time and the payload's size."""
    output = work / "ours"
    measured = user.timed(dockerc, "build", "--no-cache", f"oci:{image}:latest", "-o", output)
    footer = output.read_bytes()[-16:]
    return measured, output.stat().st_size - int.from_bytes(footer[:8], "little") - len(footer)


def pipeline(image: Path, work: Path, user: User) -> tuple[Measured, int]:
    """What dockerc 0.3 runs: skopeo copy, umoci unpack --rootless, mksquashfs -comp zstd."""
    bundle, output = work / "bundle", work / "theirs"
    steps = [
        ["skopeo", "copy", "--policy", write_policy(work), f"oci:{image}:latest",
         f"oci:{work}/image:latest"],
        ["umoci", "unpack", "--rootless", "--image", f"{work}/image:latest", bundle],
        ["mksquashfs", bundle, output, "-comp", "zstd", "-noappend",
         "-force-uid", "0", "-force-gid", "0"],
    ]  # fmt: skip
    done = [(user.timed(*step)) for step in steps]
    return Measured.total(done), output.stat().st_size


def bench_build(images: list[Path], work: Path, dockerc: str) -> None:
    """Print one line a contender and image: medians of RUNS, memory the largest, and the ratio."""
    user = ORDINARY if ORDINARY.can_run(dockerc) else User(None)
    who = user.name or "root, as no other user reaches the tool"
    print(f"\nbuild, {who}, {RUNS} runs each, interleaved, no cache; payload without the runtime")
    print(f"{'image':8} {'contender':9} {'wall s':>7} {'cpu s':>7} {'rss MB':>7} {'size MB':>8}")
    for image in images:
        found: dict[str, list[tuple[Measured, int]]] = {"ours": [], "pipeline": []}
        for _ in range(RUNS):
            for name in found:
                directory = work / f"build-{name}"
                directory.mkdir()
                directory.chmod(0o777)
                if name == "ours":
                    found[name].append(ours(image, directory, dockerc, user))
                else:
                    found[name].append(pipeline(image, directory, user))
                shutil.rmtree(directory)
        walls = {}
        for name, rows in found.items():
            walls[name] = statistics.median(row.wall for row, _ in rows)
            cpu = statistics.median(row.cpu for row, _ in rows)
            rss = max(row.rss for row, _ in rows)
            size = rows[0][1]
            print(
                f"{image.name:8} {name:9} {walls[name]:7.2f} {cpu:7.2f}"
                f" {rss / 1e6:7.0f} {size / 1e6:8.2f}"
            )
        print(f"{image.name:8} ours takes 1/{walls['pipeline'] / walls['ours']:.1f} of the time")
