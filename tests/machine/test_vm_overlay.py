"""What a program in a machine writes, kept on a disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from machine_support import command, run
from support import need

from toolkit.machine.ext4 import SIZE, overlay_disk

pytestmark = pytest.mark.slow


def check(disk: Path) -> None:
    """As e2fsck sees it."""
    need("e2fsck")
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_empty_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    overlay_disk(disk)
    check(disk)
    assert disk.stat().st_size == SIZE
    assert disk.stat().st_blocks * 512 < 8 << 20
    assert disk.stat().st_mode & 0o777 == 0o600


def test_files_are_kept(deb: Path, tmp_path: Path) -> None:
    """From one run to the next, by one machine at a time."""
    disk = tmp_path / "disk"
    script = "echo kept >/etc/kept; rm /etc/debian_version; echo done"
    done = run(deb, "--overlay", disk, "--", "sh", "-c", script)
    assert done.stdout == "done\n", done.stderr
    script = "cat /etc/kept; ls /etc/debian_version; echo ready; read line"
    with subprocess.Popen(
        command(deb, "--overlay", disk, "--", "sh", "-c", script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        assert [process.stdout.readline() for _ in range(2)] == ["kept\n", "ready\n"]
        second = run(deb, "--overlay", disk)
        assert second.returncode == 125
        assert second.stderr == "dockerc: the disk of --overlay is in use by another machine\n"
        process.stdin.close()
        assert "No such file" in process.stderr.read()
    subprocess.run(["e2fsck", "-p", disk], check=False, capture_output=True)  # replays the journal
    check(disk)


def kept(disk: Path, name: str) -> str:
    """A file that a program has written to its disk; by debugfs, after what a mount mends."""
    need("e2fsck", "debugfs")
    subprocess.run(["e2fsck", "-p", disk], check=False, capture_output=True)
    check(disk)
    wanted = ["debugfs", "-R", f"cat /kept/upper{name}", disk]
    return subprocess.run(wanted, check=True, capture_output=True, text=True).stdout


def test_a_disk_that_is_full(deb: Path, tmp_path: Path) -> None:
    """The program is told, has back what it removes, and ends as it wants to."""
    need("mke2fs")
    disk = tmp_path / "disk"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "40M"], check=True, capture_output=True)
    script = "echo before >/etc/before; head -c 100000000 /dev/zero >/var/large; echo $?"
    script += "; rm /var/large; echo after >/etc/after; exit 5"
    done = run(deb, "--overlay", disk, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (5, "1\n")
    assert "No space left on device" in done.stderr
    assert kept(disk, "/etc/before") == "before\n" and kept(disk, "/etc/after") == "after\n"


def test_a_computer_whose_disk_is_full(deb: Path, tmp_path: Path) -> None:
    """The program is told that its file is not on the disk; the machine does not stop."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    small, copied = tmp_path / "small", tmp_path / "copied"
    small.mkdir()
    script = "echo before >/etc/before; sync; head -c 60000000 /dev/zero >/var/large"
    script += "; sync /var/large || echo lost; cat /etc/before; exit 5"
    words = command(deb, "--overlay", small / "disk", "--", "sh", "-c", script)
    outside = f'mount -t tmpfs -o size=24m tmpfs {small}; "$@"; status=$?'
    outside += f"; cp --sparse=always {small}/disk {copied}; exit $status"
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", outside, "-", *words],
        capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "lost\nbefore\n"), done.stderr
    assert "Input/output error" in done.stderr
    assert kept(copied, "/etc/before") == "before\n"


def test_a_file_that_is_no_disk(deb: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("text")
    done = run(deb, "--overlay", other)
    assert done.returncode == 125
    assert "this is a disk that dockerc makes, and the file is something else" in done.stderr
    assert other.read_text() == "text"
    done = run(deb, "--overlay", tmp_path / "nowhere" / "disk")
    assert done.returncode == 125 and "No such file or directory" in done.stderr
