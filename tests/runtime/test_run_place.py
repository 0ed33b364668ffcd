"""--cwd, --home and --userns keep-id: programs that work on the caller's files."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
from instances_support import USERS, User
from leftovers import wait_for
from support import Runner, dockerc, need

pytestmark = pytest.mark.root("starts runs as several users")


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


def uid_of(user: User) -> int:
    return int(user("id", "-u").stdout)


@pytest.fixture
def own(user: User, shared: Path) -> Path:
    """A directory of the user's."""
    directory = shared / "mine"
    assert user("mkdir", directory).returncode == 0
    return directory


def said(done: Any) -> str:
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def refused(done: Any) -> str:
    assert done.returncode == 125 and done.stderr.count("\n") == 1, done.stderr
    return str(done.stderr)


def test_the_working_directory(user: User, deb: Path, own: Path) -> None:
    (own / "in").write_text("given\n")
    script = "pwd; cat in; cp in out; id -u"
    assert said(user(deb, "--cwd", "sh", "-c", script, cwd=own)) == f"{own}\ngiven\n0\n"
    assert (own / "out").read_text() == "given\n"
    assert (own / "out").stat().st_uid == uid_of(user)
    # Only that one is there.
    assert said(user(deb, "--cwd", "ls", own.parent, cwd=own)) == "mine\n"
    # Other options count as ever.
    assert said(user(deb, "--cwd", "-w", "/srv", "sh", "-c", "pwd", cwd=own)) == "/srv\n"
    over = user(deb, "--cwd", "-v", f"/usr:{own}:ro", "sh", "-c", "ls", cwd=own)
    assert "bin" in said(over).split()


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b\\c", "ä\n", "'\"$x"])
def test_names_of_directories(user: User, deb: Path, own: Path, name: str) -> None:
    directory = own / name
    directory.mkdir()
    (directory / "file").write_text("x")
    script = 'test "$(pwd; echo .)" = "$1\n." && cat file'
    command = [deb, "--cwd", "--", "sh", "-c", script, "-", directory]
    assert said(user(*command, cwd=directory)) == "x"


def test_the_name_that_the_shell_has(user: User, deb: Path, own: Path) -> None:
    """A path with symbolic links is there by both names."""
    (own / "real").mkdir()
    (own / "link").symlink_to("real")
    (own / "real/file").write_text("x")
    logical, physical = own / "link", own / "real"
    environment = {**os.environ, "PWD": str(logical)}
    script = f"pwd; cat {logical}/file {physical}/file"
    done = user(deb, "--cwd", "sh", "-c", script, cwd=physical, env=environment)
    assert said(done) == f"{logical}\nxx"
    for wrong in ("/etc", "relative", f"{own}/./real", f"{own}/missing", ""):
        environment["PWD"] = wrong
        done = user(deb, "--cwd", "pwd", cwd=physical, env=environment)
        assert said(done) == f"{physical}\n"


def test_a_directory_that_the_image_has_too(user: User, deb: Path) -> None:
    """The caller's hides the image's."""
    outside = sorted(path.name for path in Path("/mnt").iterdir())
    assert said(user(deb, "--cwd", "ls", "-A", cwd="/mnt")).split() == outside
    assert said(user(deb, "--cwd", "pwd", cwd="/var/tmp")) == "/var/tmp\n"


@pytest.mark.parametrize(
    "directory", ["/", "/usr", "/usr/bin", "/etc", "/var", "/proc", "/dev/shm"]
)
def test_directories_that_the_image_needs(user: User, deb: Path, directory: str) -> None:
    sentence = refused(user(deb, "--cwd", "true", cwd=directory))
    assert sentence.startswith(f"dockerc: --cwd: {directory} would hide /"), sentence
    environment = {**os.environ, "HOME": directory}
    sentence = refused(user(deb, "--home", "true", env=environment))
    assert sentence.startswith(f"dockerc: --home: {directory} would hide /"), sentence


def test_a_directory_that_was_removed(user: User, deb: Path, own: Path) -> None:
    script = 'mkdir gone; cd gone; rmdir ../gone; exec "$0" --cwd true'
    sentence = refused(user("sh", "-c", script, deb, cwd=own))
    assert "--cwd: the working directory cannot be used: it has been removed" in sentence


def test_a_file_of_the_image_is_in_the_way(user: User, deb: Path, own: Path, place: Path) -> None:
    app, empty = own.parent / "app", own.parent / "empty"
    empty.touch()
    dockerc("cp", empty, f"{deb}:{place}", app)
    assert f"on {own} (nodev): not a directory" in refused(user(app, "--cwd", "true", cwd=own))


def test_the_home(user: User, deb: Path, own: Path) -> None:
    (own / ".config").write_text("mine\n")
    environment = {**os.environ, "HOME": str(own)}
    script = "echo $HOME; cat ~/.config; echo x >~/written; pwd"
    done = user(deb, "--home", "sh", "-c", script, env=environment)
    assert said(done) == f"{own}\nmine\n/\n"
    assert (own / "written").stat().st_uid == uid_of(user)
    done = user(deb, "--home", "-e", "HOME=/tmp", "sh", "-c", "echo $HOME", env=environment)
    assert said(done) == "/tmp\n"
    for wrong in ("", "relative"):
        environment["HOME"] = wrong
        assert "HOME is not set to a path" in refused(user(deb, "--home", "true", env=environment))
    environment["HOME"] = f"{own}/missing"
    assert "no such file" in refused(user(deb, "--home", "true", env=environment))


IDENTITY = "id -u; id -g; id -un; id -gn; echo $HOME; getent passwd $(id -u)"


def test_the_callers_ids(user: User, deb: Path, own: Path) -> None:
    uid, gid = uid_of(user), int(user("id", "-g").stdout)
    done = user(deb, "--userns", "keep-id", "--cwd", "sh", "-c", IDENTITY + "; touch f", cwd=own)
    lines = said(done).splitlines()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "caller"
    assert lines[:3] == [str(uid), str(gid), name]
    if uid == 0:
        assert lines[4:] == ["/root", "root:x:0:0:root:/root:/bin/bash"]
    else:
        assert lines[3:] == [name, str(own), f"{name}:x:{uid}:{gid}::{own}:/bin/sh"]
    assert (own / "f").stat().st_uid == uid and (own / "f").stat().st_gid == gid


def test_ids_with_a_home(user: User, deb: Path, own: Path) -> None:
    environment = {**os.environ, "HOME": str(own)}
    words = ["--userns=keep-id", "--home", "sh", "-c", "echo ~; touch ~/x; stat -c %u ~/x"]
    assert said(user(deb, *words, env=environment)) == f"{own}\n{uid_of(user)}\n"


def test_ids_of_an_image_with_a_user(user: User, deb: Path, shared: Path) -> None:
    """The image's owners are others' where there are sub-ids."""
    need("newuidmap")
    app = shared / "app"
    dockerc("edit", deb, app, "--user", "www-data")
    done = user(app, "--userns=keep-id", "sh", "-c", "id -u; stat -c %u /etc/passwd /bin/sh")
    uid = uid_of(user)
    other = str(uid) if user.kind == "one id" else "0"
    assert said(done).split() == [str(uid), "0" if user.kind == "sub-ids" else other, other]


def test_what_keep_id_is_not_for(user: User, deb: Path, own: Path) -> None:
    keep = ["--userns", "keep-id"]
    sentence = refused(user(deb, *keep, "-u", "daemon", "true"))
    assert "with --userns keep-id the program's user is you" in sentence
    assert "only keep-id and host" in refused(user(deb, "--userns", "auto", "true"))
    # The last one counts, as for one that was given at build.
    assert said(user(deb, *keep, "--userns", "host", "-u", "daemon", "id", "-un")) == "daemon\n"
    if uid_of(user):
        assert "owners of files" in refused(user(deb, *keep, "--overlay", own / "o", "true"))


def test_given_at_build(user: User, deb: Path, own: Path, shared: Path) -> None:
    app = shared / "wc"
    options = ["--cwd", "--home", "--userns", "keep-id", "--args", "program"]
    dockerc("edit", deb, app, "--entrypoint", "wc", "--cmd", "[]", *options)
    (own / "notes.txt").write_text("one two\n")
    environment = {**os.environ, "HOME": str(own)}
    assert said(user(app, "-w", "notes.txt", cwd=own, env=environment)) == "2 notes.txt\n"
    done = user(app, "--cwd=false", "--home=false", "--", "-w", "notes.txt", cwd=own)
    assert done.returncode == 1 and "No such file" in done.stderr


def test_a_command_in_the_run(user: User, deb: Path, own: Path) -> None:
    words = ["--cwd", "--userns=keep-id", "sleep", "60"]
    environment = {**os.environ, "PWD": str(own)}
    with user.running(deb, *words, cwd=own, env=environment) as row:
        done = user(deb, "--dockerc-exec", str(row.pid), "sh", "-c", "pwd; id -u", cwd="/")
        assert said(done) == f"{own}\n{uid_of(user)}\n"


def test_a_file_system_that_root_cannot_enter(deb: Path, hello: Path, shared: Path) -> None:
    """FUSE mounts are for the user who made them (fuse(4), allow_other)."""
    user = User("sub-ids")
    mine = shared / "mine"
    assert user("mkdir", mine).returncode == 0
    with subprocess.Popen(user.command(deb, "--dockerc-mount", mine)) as mounted:
        try:
            assert wait_for(lambda: user("test", "-e", mine / "etc").returncode == 0)
            script = f'cd {mine} && exec "$0" --cwd sh -c "pwd; ls etc/passwd"'
            assert said(user("sh", "-c", script, deb)) == f"{mine}\netc/passwd\n"
        finally:
            mounted.terminate()
            mounted.wait(timeout=60)


def test_without_it_nothing_of_the_caller_is_there(run: Runner, deb: Path, shared: Path) -> None:
    done = run(deb, "sh", "-c", "pwd; id -u; grep -c caller /etc/passwd", cwd=shared)
    assert done.stdout == "/\n0\n0\n"
