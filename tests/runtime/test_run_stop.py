"""A run is stopped by the image's signal, and killed if that does not help."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from instances_support import USERS, User, is_alive
from leftovers import wait_for
from support import dockerc, with_config

pytestmark = pytest.mark.root("starts runs as several users")
TRAP = "trap 'echo %s; exit 3' %s; echo ready; while :; do sleep 0.1; done"


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


def start(user: User, app: Path, *words: str) -> subprocess.Popen[str]:
    """A run whose program has said that it is ready."""
    command = user.command(app, *words)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_program_that_handles_the_signal(user: User, deb: Path) -> None:
    with start(user, deb, "--name", "web", "sh", "-c", TRAP % ("caught", "TERM")) as process:
        done = user(deb, "--dockerc-stop")
        assert (done.returncode, done.stdout, done.stderr) == (0, "web\n", "")
        assert process.stdout is not None and process.stdout.read() == "caught\n"
    assert process.returncode == 3
    assert user.ps(deb) == []


def test_a_program_that_does_not(user: User, deb: Path) -> None:
    """PID 1 gets no signal that it does not handle: it need not wait for the end."""
    with start(user, deb, "sh", "-c", "echo ready; sleep 60; true") as process:
        begun = time.monotonic()
        assert user(deb, "--dockerc-stop", "-t", "50").returncode == 0
        assert time.monotonic() - begun < 30
    assert process.returncode in (143, -signal.SIGTERM)


def test_a_program_that_does_not_want_to(user: User, deb: Path) -> None:
    with start(user, deb, "sh", "-c", "trap '' TERM; " + TRAP % ("no", "USR1")) as process:
        (row,) = user.ps(deb)
        assert user(deb, "--dockerc-stop", "-t", "1", str(row.app)).returncode == 0
    assert process.returncode == 137
    assert wait_for(lambda: not is_alive(row.app))


def test_a_runtime_that_is_stopped(user: User, deb: Path) -> None:
    with start(user, deb, "sh", "-c", "echo ready; sleep 60; true") as process:
        process.send_signal(signal.SIGSTOP)
        assert user(deb, "--dockerc-stop", "-t", "0").returncode == 0
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "number"), [("SIGQUIT", "QUIT"), ("12", "USR2"), ("SIGRTMIN+3", "37")]
)
def test_the_image_s_signal(name: str, number: str, deb: Path, place: Path) -> None:
    config = json.loads(dockerc("inspect", "--config", deb).stdout)
    config["annotations"]["org.opencontainers.image.stopSignal"] = name
    app = with_config(deb, config, place / f"stops-by-{number}")
    app.chmod(0o755)
    user = User("root")
    with start(user, app, "bash", "-c", TRAP % (number, number)) as process:
        assert user(app, "--dockerc-stop").returncode == 0
        assert process.stdout is not None and process.stdout.read() == f"{number}\n"


def test_which_run(user: User, deb: Path) -> None:
    none = user(deb, "--dockerc-stop")
    assert (none.returncode, none.stderr) == (125, "dockerc: no run of this file that is yours\n")
    with (
        user.running(deb, "--name", "one", "sleep", "60") as one,
        user.running(deb, "--name", "two", "sleep", "60"),
    ):
        several = user(deb, "--dockerc-stop")
        assert several.returncode == 125 and f"one ({one.pid}), two (" in several.stderr
        assert user(deb, "--dockerc-stop", "three").returncode == 125
        assert user(deb, "--dockerc-stop", "-t", "x", "one").returncode == 125
        assert user(deb, "--dockerc-stop", "-x").returncode == 125
        assert user(deb, "--dockerc-stop", "two").stdout == "two\n"
        assert [row.name for row in user.ps(deb)] == ["one"]


def test_root_stops_everybody_s(deb: Path) -> None:
    with User("sub-ids").running(deb, "--name", "theirs", "sleep", "60") as row:
        assert User("one id")(deb, "--dockerc-stop", "theirs").returncode == 125
        assert is_alive(row.app)
        assert User("root")(deb, "--dockerc-stop", "theirs").returncode == 0
        assert wait_for(lambda: not is_alive(row.app))
