"""Start-up of `true`: ours, bubblewrap, crun and bare unshare, interleaved in the same run."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

from measure import ORDINARY

RUNS = 50


def bench_startup(images: list[Path], work: Path, dockerc: str) -> None:
    """Print medians in milliseconds of RUNS warm starts by an ordinary user."""
    contenders: dict[str, list[str | Path]] = {"unshare -Ur + exec": ["unshare", "-Ur", "true"]}
    for image in images:
        app = work / f"{image.name}.app"
        subprocess.run([dockerc, "build", "-q", f"oci:{image}:latest", "-o", app], check=True)
        contenders[f"{image.name}: ours"] = [app, "true"]
        rootfs = _unpacked(image, work)
        contenders[f"{image.name}: bwrap --unshare-all, unpacked"] = [
            "bwrap", "--unshare-all", "--ro-bind", rootfs, "/", "--proc", "/proc",
            "--dev", "/dev", "true",
        ]  # fmt: skip
        contenders[f"{image.name}: crun run, unpacked"] = [
            "crun",
            "--cgroup-manager=disabled",
            "run",
            "-b",
            rootfs.parent,
            f"b-{image.name}",
        ]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for command in contenders.values():
        ORDINARY.timed(*command)
    for _ in range(RUNS):
        for name, command in contenders.items():
            times[name].append(ORDINARY.timed(*command).wall * 1000)
    print(f"\nstart-up of `true`, ordinary user, warm, {RUNS} runs each, interleaved")
    print(f"{'contender':46} {'median ms':>9} {'min':>7} {'max':>7}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:46} {median:9.2f} {min(values):7.2f} {max(values):7.2f}")


def _unpacked(image: Path, work: Path) -> Path:
    """The image's rootfs as umoci unpacks it for an ordinary user, its config to run `true`."""
    bundle = work / f"{image.name}.bundle"
    unpack = ["umoci", "unpack", "--rootless", "--image", f"{image}:latest", bundle]
    ORDINARY.timed(*unpack)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["args"] = ["true"]
    config["process"]["terminal"] = False
    (bundle / "config.json").write_text(json.dumps(config))
    (bundle / "rootfs" / "etc" / "resolv.conf").touch()  # crun would make it inside
    return bundle / "rootfs"
