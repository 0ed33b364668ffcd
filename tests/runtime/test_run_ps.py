"""Which runs of a file there are: found without any record, and nobody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from instances_support import USERS, User
from leftovers import wait_for

pytestmark = pytest.mark.root("starts runs as several users")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


def test_a_run_is_listed(user: User, deb: Path) -> None:
    with user.running(deb, "--name", "web", "sleep", "60") as row:
        assert (row.name, row.command) == ("web", "sleep 60")
        assert Path(f"/proc/{row.pid}/exe").readlink() == deb
        status = Path(f"/proc/{row.app}/status").read_text()
        assert f"PPid:\t{row.pid}\n" in status and "Name:\tsleep\n" in status
        assert f"Uid:\t{row.user}\t" in Path(f"/proc/{row.pid}/status").read_text()
        assert row.uptime.endswith("s") and int(row.uptime[:-1]) < 30
    assert wait_for(lambda: user.ps(deb) == [])


def test_names(user: User, deb: Path) -> None:
    with user.running(deb, "sleep", "60") as unnamed:
        assert unnamed.name == f"deb-{unnamed.pid}"
    environment = {**os.environ, "DOCKERC_ARGS": "--name 'by environment'"}
    with user.running(deb, "sleep", "60", env=environment):
        assert "by?environment  " in user(deb, "--dockerc-ps").stdout
    # What would control a terminal is not printed.
    process = subprocess.Popen(user.command(deb, "--name", "a\x1b[2Jb", "sleep", "60"))
    try:
        assert wait_for(lambda: "a?[2Jb  " in user(deb, "--dockerc-ps").stdout)
        assert "\x1b" not in user(deb, "--dockerc-ps").stdout
    finally:
        process.kill()
        process.wait()


def test_all_forms_of_a_run(user: User, deb: Path) -> None:
    """Its init, its terminal and its options do not hide it."""
    for options in (["--init"], ["-u", "daemon"], ["--read-only"], ["-e", "A=--dockerc-ps"]):
        with user.running(deb, *options, "sleep", "60") as row:
            assert row.command == "sleep 60"


def test_everybody_sees_their_own(deb: Path) -> None:
    with (
        User("root").running(deb, "--name", "a", "sleep", "60"),
        User("sub-ids").running(deb, "--name", "b", "sleep", "60"),
        User("one id").running(deb, "--name", "c", "sleep", "60"),
    ):
        names = {kind: [row.name for row in User(kind).ps(deb)] for kind in USERS}
        assert {kind: sorted(found) for kind, found in names.items()} == {
            "root": ["a", "b", "c"],
            "sub-ids": ["b"],
            "one id": ["c"],
        }


def test_a_copy_is_another_file(deb: Path, shared: Path) -> None:
    copy = shared / "deb"
    shutil.copy(deb, copy)
    with User("root").running(copy, "sleep", "60"):
        assert User("root").ps(deb) == []


def test_a_container_has_no_runs(deb: Path) -> None:
    """One that is given the file could otherwise look like a run, with options of its choice."""
    script = f"{deb} --name inner --privileged sleep 6789 & wait"
    user = User("root")
    with user.running(deb, "--name", "outer", "-v", f"{deb}:{deb}", "sh", "-c", script):

        def inner() -> bool:
            told = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True)
            return "sleep 6789" in told.stdout.splitlines()

        assert wait_for(inner)
        assert [each.name for each in user.ps(deb)] == ["outer"]


def test_a_start_that_fails_is_no_run(user: User, deb: Path) -> None:
    assert user(deb, "/no/such/program").returncode == 127
    assert user.ps(deb) == []


def test_it_stands_first(user: User, deb: Path) -> None:
    done = user(deb, "-e", "A=1", "--dockerc-ps")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.endswith("--dockerc-stop stand before all other words\n")
