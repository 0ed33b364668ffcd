"""Runs that go on in the background, and where their output goes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from instances_support import USERS, User, is_alive
from leftovers import wait_for
from terminal_support import terminal

pytestmark = pytest.mark.root("starts runs as several users")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


@pytest.fixture
def state(user: User, shared: Path, deb: Path) -> Iterator[dict[str, str]]:
    """An environment with a directory for logs; what still runs is stopped afterwards."""
    yield {"PATH": os.environ["PATH"], "XDG_STATE_HOME": f"{shared}/state"}
    for row in user.ps(deb):
        user(deb, "--dockerc-stop", "-t", "0", str(row.pid))


def log_of(state: dict[str, str], name: str) -> Path:
    return Path(state["XDG_STATE_HOME"]) / "dockerc" / f"{name}.log"


def test_it_goes_on(user: User, deb: Path, state: dict[str, str]) -> None:
    script = "echo out >/dev/stdout; echo err >&2; cat; echo input ended; exec sleep 60"
    done = user(deb, "-d", "--name", "web", "sh", "-c", script, env=state)
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = user.ps(deb)
    assert done.stdout == f"web {row.pid}\n"
    log = log_of(state, "web")
    assert wait_for(lambda: log.read_text() == "out\nerr\ninput ended\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    # A session of its own, without a terminal.
    fields = Path(f"/proc/{row.pid}/stat").read_text().rpartition(")")[2].split()
    session, terminal_number = int(fields[3]), int(fields[4])
    assert (session, terminal_number) == (row.pid, 0)
    assert user(deb, "--dockerc-stop", "web").returncode == 0
    assert wait_for(lambda: has_ended(row.pid))
    assert user.ps(deb) == []


def test_a_second_run_appends(user: User, deb: Path, state: dict[str, str]) -> None:
    for word in ("one", "two"):
        words = ["--detach", "--name", "again", "echo", word]
        done = user(deb, *words, env=state)
        assert done.returncode == 0
        assert wait_for(partial(has_ended, int(done.stdout.split()[1])))
    assert wait_for(lambda: log_of(state, "again").read_text() == "one\ntwo\n")
    assert user(deb, "-d", "--name", "again", "sleep", "60", env=state).returncode == 0
    done = user(deb, "-d", "--name", "again", "true", env=state)
    assert (done.returncode, done.stdout) == (125, "")
    assert "another run writes to" in done.stderr


def test_names_and_places(user: User, deb: Path, state: dict[str, str], shared: Path) -> None:
    done = user(deb, "-d", "sh", "-c", "echo x; sleep 60", env=state)
    name, pid = done.stdout.split()
    assert name == f"deb-{pid}"
    assert wait_for(lambda: log_of(state, name).read_text() == "x\n")
    done = user(deb, "-d", "--log", "own", "echo", "y", env=state, cwd=shared)
    assert done.returncode == 0
    assert wait_for(lambda: (shared / "own").read_text() == "y\n")
    home = {"PATH": os.environ["PATH"], "HOME": f"{shared}/home", "XDG_STATE_HOME": "relative"}
    (shared / "home").mkdir()
    (shared / "home").chmod(0o777)
    assert user(deb, "-d", "--name", "h", "echo", "z", env=home).returncode == 0
    assert wait_for(lambda: (shared / "home/.local/state/dockerc/h.log").read_text() == "z\n")


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a b", "x" * 129, "é"])
def test_names_that_are_no_file_s(name: str, deb: Path, shared: Path) -> None:
    environment = {"XDG_STATE_HOME": str(shared)}
    done = User("root")(deb, "-d", "--name", name, "true", env=environment)
    assert done.returncode == 125 and "write letters, digits" in done.stderr
    assert list(shared.iterdir()) == []


def test_starts_that_fail(user: User, deb: Path, state: dict[str, str], shared: Path) -> None:
    """Status and message are those of a run in the foreground."""
    cases = [["no-such-program"], ["/etc"], ["/etc/passwd"], ["-u", "nobody-here", "true"]]
    cases += [
        ["--shm-size", "x", "true"],
        ["--init", "/etc/shadow-"],
        ["-w", "x", "true"],
    ]
    for words in cases:
        plain = user(deb, *words, env=state)
        done = user(deb, "--name", "fails", "-d", *words, env=state)
        assert (done.returncode, done.stdout, done.stderr) == (
            plain.returncode,
            "",
            plain.stderr,
        ), words
    assert user.ps(deb) == []
    for words, sentence in (
        (["--log", "x", "true"], "only with --detach"),
        (["-d", "--log", "/proc/no/log", "true"], "cannot write the log /proc/no/log"),
        (["-d", "--log", "/dev/null", "true"], "the log /dev/null is not a file"),
        (["-d", "--log", str(shared), "true"], "cannot write the log"),
    ):
        done = user(deb, *words, env=state)
        assert done.returncode == 125 and sentence in done.stderr, done.stderr
    done = user(deb, "-d", "true", env={})
    assert done.returncode == 125 and "no place for the log" in done.stderr


def test_a_file_s_name_can_be_typed(
    user: User, deb: Path, shared: Path, state: dict[str, str]
) -> None:
    file = shared / ".a\nb c"
    shutil.copy(deb, file)
    done = user(file, "-d", "sleep", "60", env=state)
    name = done.stdout.split()[0]
    (row,) = user.ps(file)
    assert name == row.name == f"_a_b_c-{row.pid}"
    assert log_of(state, name).exists()
    assert user(file, "--dockerc-stop", "-t", "0", name).returncode == 0


def test_a_log_that_another_planted(user: User, deb: Path, state: dict[str, str]) -> None:
    """HOME may be another user's, as with sudo."""
    directory = log_of(state, "x").parent
    user("mkdir", "-p", directory)
    secret = directory.parent / "another"
    user("touch", secret)
    for plant in (["ln", "-s", secret], ["mkfifo"]):
        user(*plant, log_of(state, "x"))
        done = user(deb, "-d", "--name", "x", "echo", "text", env=state)
        assert done.returncode == 125 and str(log_of(state, "x")) in done.stderr
        user("rm", log_of(state, "x"))
    for change in (["chmod", "g+w"], ["chown", "4711"]):
        subprocess.run([*change, directory], check=True)
        done = user(deb, "-d", "--name", "x", "echo", "text", env=state)
        assert done.returncode == 125 and "it must be a directory of yours" in done.stderr
    assert secret.read_bytes() == b""


def test_a_terminal_may_be_closed(user: User, deb: Path, state: dict[str, str]) -> None:
    words = [f"{key}={value}" for key, value in state.items()]
    script = f"env {' '.join(words)} {deb} -d --name stays sh -c 'test -t 0; echo $?; sleep 60'"
    with terminal(user.command("sh", "-c", f"{script}; echo done; sleep 60")) as typed:
        typed.until("stays ")
        typed.until("done")
        typed.hang_up()
    time.sleep(0.3)
    (row,) = user.ps(deb)
    assert row.name == "stays"
    assert log_of(state, "stays").read_text() == "1\n"


def test_a_caller_that_gives_up(deb: Path, shared: Path) -> None:
    """A start that nobody waits for any more does not go on."""
    user = User("root")
    environment = {"XDG_STATE_HOME": str(shared), "PATH": os.environ["PATH"]}
    # strace delays a call of the start.
    words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=pivot_root:delay_enter=3000000",
    ]
    with subprocess.Popen([*words, deb, "-d", "sleep", "60"], env=environment) as process:
        # strace has another child for a moment, too.
        assert wait_for(lambda: any(map(children, children(process.pid))))
        (caller,) = filter(children, children(process.pid))
        os.kill(caller, signal.SIGINT)
        assert wait_for(lambda: process.poll() is not None, 30)
    assert wait_for(lambda: user.ps(deb) == [])


def has_ended(pid: int) -> bool:
    return not is_alive(pid)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
            except OSError:
                continue
            if re.search(rf"^PPid:\t{pid}$", status, re.M):
                found.append(int(entry.name))
    return found
