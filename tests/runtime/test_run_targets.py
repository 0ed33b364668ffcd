"""Where mounts go: what the image has there, and volumes whose content others change meanwhile."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from layout import file, on_top, tar_of
from support import Runner, dockerc
from test_run_flags import refused, said
from test_run_safety import PRIVATE, REFUSING

STARTS = int(os.environ.get("DOCKERC_TEST_STARTS", "60"))
AT_FDCWD = -100
RENAME_EXCHANGE = 2


@pytest.fixture(scope="module")
def files_as_roots(images: Path, place: Path) -> Path:
    """The debian image with a file where /sys and /data are mounted."""
    layer = tar_of(file(".wh.sys"), file("data", b"a file\n"))
    layout = on_top(images / "debian", place / "no-sys-layout", layer, {})
    layer = tar_of(file("sys", b"a file\n"))
    layout = on_top(layout, place / "file-sys-layout", layer, {})
    dockerc("build", f"oci:{layout}", "-o", place / "file-sys")
    return place / "file-sys"


def test_a_file_of_the_image_where_a_directory_is_mounted(
    run: Runner, files_as_roots: Path, deb: Path, shared: Path
) -> None:
    assert refused(run, files_as_roots, "true").endswith("): a file is there\n")
    words = ["-v", f"{shared}:/etc/passwd", "true"]
    assert "on /etc/passwd (nodev): a file is there" in refused(run, deb, *words)
    (shared / "file").write_text("x")
    words = ["-v", f"{shared}/file:/etc", "true"]
    assert refused(run, deb, *words).endswith(" on /etc: a directory is there\n")


class Swapper(threading.Thread):
    """Another process in effect: exchanges two names of a directory, again and again."""

    def __init__(self, left: Path, right: Path) -> None:
        super().__init__(daemon=True)
        self._names = os.fsencode(left), os.fsencode(right)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.going = True

    def run(self) -> None:
        left, right = self._names
        while self.going:
            self._libc.renameat2(AT_FDCWD, left, AT_FDCWD, right, RENAME_EXCHANGE)


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that nobody gave to a container; not in /tmp, which the run's own mounts hide."""
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["directory", "file", "tmpfs", "directory, before Linux 5.2"])
def test_nothing_is_made_outside_of_a_volume_that_changes(
    run: Runner, deb: Path, shared: Path, outside: Path, kind: str
) -> None:
    """A directory in the volume becomes a link to the machine's root and back: CVE-2021-30465."""
    volume = shared / "volume"
    (volume / "sub").mkdir(parents=True)
    for directory in (volume, volume / "sub"):
        directory.chmod(0o777)
    (volume / "link").symlink_to(f"/proc/self/cwd{outside}")
    (shared / "file").write_text("x")
    swapper = Swapper(volume / "sub", volume / "link")
    swapper.start()
    statuses = set()
    for number in range(STARTS):
        target = f"/m/sub/made{number}"
        options = {
            "directory": ["-v", f"{shared}:{target}"],
            "file": ["-v", f"{shared}/file:{target}"],
            "tmpfs": ["--tmpfs", target],
            "directory, before Linux 5.2": ["-v", f"{shared}:{target}:ro"],
        }
        words = [deb, "-v", f"{volume}:/m", *options[kind], "--", "true"]
        # Should it go wrong, then in a mount namespace of its own.
        command = run.command(*words)
        if "before" in kind:
            # By root, for an ordinary user may install no filter.
            command = [*REFUSING, "open_tree=ENOSYS,mount_setattr=ENOSYS", *command]
        if os.geteuid() == 0:
            command = [*PRIVATE, *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 or "cannot " in done.stderr, done.stderr
        statuses.add(done.returncode)
    swapper.going = False
    swapper.join()
    assert list(outside.iterdir()) == []
    # Both have been seen, else nothing was tried.
    assert statuses == {0, 125}


def test_volumes_in_volumes(run: Runner, deb: Path, shared: Path) -> None:
    for name in ("outer", "inner", "third"):
        (shared / name).mkdir()
        (shared / name).chmod(0o777)
        (shared / name / name).write_text(f"{name}\n")
    words = [
        "-v", f"{shared}/third:/m/a/b:ro", "-v", f"{shared}/inner:/m/a", "-v",
        f"{shared}/outer:/m", "-v", f"{shared}/third/third:/m/one:ro", "--tmpfs", "/m/tmp",
    ]  # fmt: skip
    script = (
        "cat /m/outer /m/a/inner /m/a/b/third /m/one; touch /m/tmp/x /m/a/x && ! touch /m/a/b/x"
        " 2>/dev/null && ! sh -c 'echo >/m/one' 2>/dev/null && grep -c ' /m' /proc/mounts"
    )
    told = said(run, deb, *words, "sh", "-c", script)
    assert told.split() == ["outer", "inner", "third", "third", "5"]
    assert sorted(path.name for path in (shared / "inner").iterdir()) == ["b", "inner", "x"]
