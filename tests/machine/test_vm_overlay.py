"""What a program in a machine writes, kept on a disk."""

from __future__ import annotations

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


def test_a_file_that_is_no_disk(deb: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("text")
    done = run(deb, "--overlay", other)
    assert done.returncode == 125
    assert "this is a disk that dockerc makes, and the file is something else" in done.stderr
    assert other.read_text() == "text"
    done = run(deb, "--overlay", tmp_path / "nowhere" / "disk")
    assert done.returncode == 125 and "No such file or directory" in done.stderr
