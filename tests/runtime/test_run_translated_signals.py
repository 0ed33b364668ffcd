"""Signals of a program whose paths are translated: they reach its run, and none of the caller's
other processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Runner, dockerc
from translated import Translated, translated


@pytest.fixture(scope="module")
def python(images: Path, place: Path) -> Path:
    dockerc("build", f"oci:{images}/python", "-o", place / "signals")
    return place / "signals"


@pytest.fixture(scope="module")
def cache(place: Path) -> Path:
    """Unpacked once for all tests."""
    directory = place / "translated-signals"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


@pytest.fixture(params=["translate", "translate-stops"])
def run(request: pytest.FixtureRequest, cache: Path) -> Translated:
    return translated(request.param, cache)


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """Another process of the same user."""
    command = Runner(as_root=False).command("sleep", "300")
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process
        process.kill()


SIGNALS = """
import os, signal, subprocess, sys, time
other = int(sys.argv[1])
def tried(call, *arguments):
    try:
        call(*arguments)
        return "sent"
    except OSError as error:
        return error.strerror
child = subprocess.Popen(["sleep", "100"])
print(tried(os.kill, other, 0), "|", tried(os.kill, os.getppid(), 0), "|",
      tried(os.killpg, os.getpgid(other), 9), "|", tried(os.pidfd_open, other))
there = os.open(f"/proc/{other}", os.O_RDONLY | os.O_DIRECTORY)
print(tried(signal.pidfd_send_signal, there, 9))
print(tried(os.kill, child.pid, 0), tried(signal.pidfd_send_signal, os.pidfd_open(child.pid), 0))
os.kill(-1, 15)
print(child.wait())
dead = subprocess.Popen(["true"])
time.sleep(0.3)
print(tried(os.kill, dead.pid, 0), dead.wait(), tried(os.kill, dead.pid, 0))
signal.signal(signal.SIGUSR1, lambda *_: print("got it"))
os.killpg(0, signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def test_signals_stay_in_the_run(
    run: Translated, python: Path, neighbour: subprocess.Popen[bytes]
) -> None:
    done = run(python, "python3", "-c", SIGNALS, str(neighbour.pid))
    none = "No such process"
    assert done.stdout.splitlines() == [
        f"{none} | {none} | {none} | {none}",
        "Bad file descriptor",
        "sent sent",
        "-15",
        f"sent 0 {none}",
        "got it",
        "got it",
    ], done.stderr
    assert done.returncode == 137
    assert neighbour.poll() is None


def test_job_control_of_a_shell(run: Translated, python: Path) -> None:
    script = (
        "set -m; sleep 100 | sleep 100 & kill %1; wait; echo $?;"
        " (trap 'echo told; exit 3' TERM; kill -TERM 0; sleep 5); echo $?"
    )
    done = run(python, "bash", "-c", script)
    assert done.stdout.splitlines() == ["0", "told", "3"], done
