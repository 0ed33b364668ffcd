"""`python bench DIR [build|scale|startup|reads|repackage|picture]`: our figures beside our rivals'.

`picture` is `startup`, drawn into docs/startup.svg, which the README shows.

DIR holds OCI layouts made by tests/make_images.sh. Wants root, the user `dockerc-test`, and the
rivals: skopeo, umoci, squashfs-tools, squashfs-tools-ng, squashfuse, fuse-overlayfs, bubblewrap and
crun.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from build import bench_build
from picture import draw
from reads import bench_reads
from repackage import bench_repackage
from scale import bench_scale
from startup import bench_startup

_ENTERED = "DOCKERC_BENCH_ENTERED"


def enter_mount_namespace() -> None:
    """crun runs only where cgroup v2 stands alone; mount it so, for this process only."""
    if os.environ.get(_ENTERED):
        return
    os.environ[_ENTERED] = "1"
    script = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
    python = [sys.executable, str(Path(__file__).parent), *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "-m", "sh", "-c", script, "sh", *python])


def main() -> None:
    """Print what was asked for."""
    enter_mount_namespace()
    images = {
        path.name: path for path in sorted(Path(sys.argv[1]).iterdir()) if path.name[0] != "."
    }
    wanted = sys.argv[2:] or ["build", "scale", "startup", "reads", "repackage"]
    dockerc = shutil.which("dockerc", path=Path(sys.executable).parent)
    assert dockerc, "install the tool beside this Python first"
    work = Path(tempfile.mkdtemp(prefix="dockerc-bench-"))
    work.chmod(0o777)
    try:
        print(subprocess.run(["uname", "-srm"], capture_output=True, text=True).stdout, end="")
        if "build" in wanted:
            bench_build(images, work, dockerc)
        if "scale" in wanted:
            bench_scale(work, dockerc)
        if "startup" in wanted or "picture" in wanted:
            medians = bench_startup(images, work, dockerc)
        if "picture" in wanted:
            draw(shown(medians), Path(__file__).parent.parent / "docs" / "startup.svg")
        if "reads" in wanted:
            bench_reads(images["python"], work, dockerc)
        if "repackage" in wanted:
            bench_repackage(work, dockerc)
    finally:
        shutil.rmtree(work)


def shown(medians: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The commands and contenders of the picture, under short names; ours first."""
    return {
        command: {
            ("dockerc" if name.startswith("ours, one id") else name): milliseconds
            for name, milliseconds in times.items()
            if not name.startswith("ours, a range")
        }
        for command, times in medians.items()
        if command.endswith(("(debian)", "(python)"))
    }


main()
