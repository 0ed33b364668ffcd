"""`python bench DIR [--json FILE] [SUBJECT...]`: ours and theirs (SUBJECTS below; all of them).
FILE gets the figures as well, in place of those that it has of the same subjects.
`python bench --docs FILE` draws its start-up times into docs/startup.svg, for the README, and
its figures that have a bar into docs/figures.md.

DIR holds OCI layouts made by tests/make_images.sh. Wants root, the user `dockerc-test`, and the
rivals: skopeo, umoci, squashfs-tools, squashfs-tools-ng, squashfuse, fuse-overlayfs, bubblewrap,
crun, proot, zsync and curl; and docker-registry.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import figures
from build import bench_build
from cache import bench_cache
from page import fill
from picture import draw
from ports import bench_ports
from reads import bench_reads
from recorded import bench_recorded
from repackage import bench_repackage
from scale import bench_scale
from share import bench_share
from startup import bench_startup
from translated import bench_translated
from travel import bench_travel
from verified import bench_verified
from vm import bench_vm

_ENTERED = "DOCKERC_BENCH_ENTERED"


def enter_mount_namespace() -> None:
    """crun runs only where cgroup v2 stands alone; mount it so, for this process only."""
    if os.environ.get(_ENTERED):
        return
    os.environ[_ENTERED] = "1"
    script = 'mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
    python = [sys.executable, str(Path(__file__).parent), *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "-m", "sh", "-c", script, "sh", *python])


SUBJECTS: dict[str, Callable[[dict[str, Path], Path, str], object]] = {
    "build": bench_build,
    "scale": lambda _, work, dockerc: bench_scale(work, dockerc),
    "startup": bench_startup,
    "recorded": bench_recorded,
    "share": lambda images, work, dockerc: bench_share(images["python"], work, dockerc),
    "ports": lambda images, work, dockerc: bench_ports(images["python"], work, dockerc),
    "reads": lambda images, work, dockerc: bench_reads(images["python"], work, dockerc),
    "repackage": lambda _, work, dockerc: bench_repackage(work, dockerc),
    "translated": bench_translated,
    "travel": bench_travel,
    "cache": bench_cache,
    "verified": bench_verified,
    "vm": bench_vm,
}
"""Each with the images, a directory for its work, and the tool."""
DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--docs", type=Path, metavar="FILE")
    parser.add_argument("images", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("subjects", nargs="*")
    given = parser.parse_intermixed_args()
    if unknown := set(given.subjects) - set(SUBJECTS):
        parser.error(f"nothing measures {', '.join(sorted(unknown))}")
    if given.docs:
        (DOCS / "startup.svg").write_text(draw(figures.read(given.docs, "startup")))
        page = DOCS / "figures.md"
        page.write_text(fill(page.read_text(), given.docs))
    if given.images:
        enter_mount_namespace()
        measure(given.images, given.subjects or list(SUBJECTS), given.json)


def measure(directory: Path, subjects: list[str], json: Path | None) -> None:
    """Each of the subjects, with the images of that directory."""
    images = {path.name: path for path in sorted(directory.iterdir()) if path.name[0] != "."}
    dockerc = shutil.which("dockerc", path=Path(sys.executable).parent)
    assert dockerc, "install the tool beside this Python first"
    print(subprocess.run(["uname", "-srm"], capture_output=True, text=True).stdout, end="")
    for subject in subjects:
        work = Path(tempfile.mkdtemp(prefix="dockerc-bench-"))
        work.chmod(0o777)
        try:
            SUBJECTS[subject](images, work, dockerc)
        finally:
            shutil.rmtree(work)
            if json:
                figures.write(json, subject)


main()
