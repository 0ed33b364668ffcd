"""`dockerc mount` and --dockerc-mount: an image's files in a directory, by FUSE."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from leftovers import processes_with, wait_for
from support import TESTS, TOOL, Runner, dockerc, failed, need


@pytest.fixture
def target(run: Runner) -> Iterator[Path]:
    """An empty directory of the user's."""
    need("fusermount3")
    directory = Path(tempfile.mkdtemp(prefix="dockerc-mount-"))
    directory.chmod(0o777)
    assert run("mkdir", directory / "m").returncode == 0
    yield directory / "m"
    if is_mounted(directory / "m"):
        subprocess.run(["umount", "-l", directory / "m"], check=True)
    shutil.rmtree(directory)


def is_mounted(directory: Path) -> bool:
    return f" {directory} fuse.dockerc " in Path("/proc/mounts").read_text()


@contextmanager
def mounted(command: list[str], target: Path) -> Iterator[subprocess.Popen[str]]:
    """From the line that says so to its end."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        try:
            line = process.stdout.readline()
            assert line == f"{target}\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], target: Path) -> int:
    status = process.wait(10)
    assert wait_for(lambda: not is_mounted(target))
    assert wait_for(lambda: processes_with(str(target)) == [])
    return status


def hashes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_the_image_s_files_are_there(run: Runner, deb: Path, target: Path, tmp_path: Path) -> None:
    with mounted(run.command(*TOOL, "mount", deb, target), target) as process:
        # The owner is the image's, and its mode is; the caller may read it nevertheless.
        told = run("sh", "-c", f"stat -c '%u %a' {target}/etc/shadow; wc -l <{target}/etc/shadow")
        assert told.stdout.splitlines()[0] == "0 640" and told.returncode == 0, told.stderr
        assert run("touch", target / "new").stderr.endswith("Read-only file system\n")
        if run.as_root:
            dockerc("extract", deb, "--rootfs", tmp_path / "files")
            assert hashes(target) == hashes(tmp_path / "files")
        process.send_signal(signal.SIGINT)
        assert ended(process, target) == 0


@pytest.mark.parametrize("way", ["SIGTERM", "SIGHUP", "umount", "SIGKILL"])
def test_it_ends_without_a_trace(run: Runner, deb: Path, target: Path, way: str) -> None:
    with mounted(run.command(deb, "--dockerc-mount", target), target) as process:
        if way == "umount":
            assert run("fusermount3", "-u", target).returncode == 0
        else:
            process.send_signal(getattr(signal, way))
        assert ended(process, target) == (-signal.SIGKILL if way == "SIGKILL" else 0)
    assert list(target.iterdir()) == []


def test_a_busy_one_is_detached(run: Runner, deb: Path, target: Path) -> None:
    with mounted(run.command(deb, "--dockerc-mount", target), target) as process:
        held = run.command("sh", "-c", f"cd {target}/etc && echo in && exec sleep 100")
        with subprocess.Popen(held, stdout=subprocess.PIPE, text=True) as busy:
            assert busy.stdout and busy.stdout.readline() == "in\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert wait_for(lambda: not is_mounted(target))
            busy.kill()


@pytest.mark.root("others may not mount over it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_is_mounted_over_it_stays(hello: Path, tmp_path: Path, number: int) -> None:
    need("fusermount3")
    command = [str(hello), "--dockerc-mount", str(tmp_path)]
    try:
        with mounted(command, tmp_path) as below, mounted(command, tmp_path) as above:
            below.send_signal(number)
            below.wait(10)
            assert wait_for(lambda: len(processes_with(str(tmp_path))) == 2)
            assert list(tmp_path.iterdir())
            above.terminate()
            above.wait(10)
            assert below.stderr
            told = below.stderr.read()
            assert ("something else is mounted" in told) == (number == signal.SIGTERM)
    finally:
        while is_mounted(tmp_path):
            subprocess.run(["umount", "-l", tmp_path], check=True)


def test_files_of_other_runtimes(run: Runner, target: Path, place: Path, hello: Path) -> None:
    other = place / "hello-for-arm64"
    dockerc("replace", hello, other, "--arch", "arm64")
    with mounted(run.command(*TOOL, "mount", other, target), target) as process:
        assert run("ls", target).stdout.split() != []
        process.terminate()
        assert ended(process, target) == 0


def test_where_it_cannot_be(run: Runner, hello: Path, deb: Path, target: Path) -> None:
    assert "none: no such directory" in failed("mount", hello, target.parent / "none")
    assert "not a dockerc executable" in failed("mount", TESTS / "conftest.py", target)
    done = run("/usr/bin/env", "PATH=/nowhere", deb, "--dockerc-mount", target)
    assert done.returncode == 125 and "not installed (package fuse3)" in done.stderr
    if not run.as_root:
        done = run(deb, "--dockerc-mount", "/etc")
        assert done.returncode == 125 and "fusermount3: " in done.stderr
