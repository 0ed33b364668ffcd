"""--share and --linger: runs of one file share a mount, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import own_machine, traces, wait_for
from sharing import GONE, Sharing, comm, finish, runtime_directory
from support import TESTS, Runner, dockerc
from test_run_calls import calls


@pytest.fixture
def sharing(run: Runner, deb: Path, shared: Path) -> Iterator[Sharing]:
    """Runs that share; afterwards nothing is left of them."""
    own = Sharing(run, deb, runtime_directory(run, shared), ["--share"])
    yield own
    try:
        own.end()
    finally:
        for pid in own.keepers():
            os.kill(pid, signal.SIGKILL)


OWN = "for n in mnt pid ipc uts; do readlink /proc/self/ns/$n; done"


def test_two_runs_share_a_mount_and_nothing_else(sharing: Sharing) -> None:
    first = sharing.start("sh", "-c", f"echo begun; {OWN}; echo first > /written; exec cat")
    assert first.stdout is not None
    theirs = [first.stdout.readline() for _ in range(4)]
    (keeper,) = sharing.keepers()
    second = sharing("sh", "-c", f"{OWN}; test ! -e /written; echo second > /written", debug=True)
    assert second.returncode == 0
    assert f"joined keeper {keeper}\n" in second.stderr
    assert "payload mounted by FUSE" not in second.stderr
    ours = second.stdout.splitlines(keepends=True)
    assert len(ours) == 4 and not set(theirs) & set(ours)
    assert finish(first) == (0, "", "")


def test_the_user_namespace_is_one(run_as_user: Runner, deb: Path, shared: Path) -> None:
    own = Sharing(run_as_user, deb, runtime_directory(run_as_user, shared), ["--share"])
    show = ["readlink", "/proc/self/ns/user"]
    first = own.waiting()
    assert own(*show).stdout == own(*show).stdout != ""
    assert own("--share=false", *show).stdout != own(*show).stdout
    finish(first)
    own.end()


def test_what_is_read_is_what_is_in_the_image(sharing: Sharing) -> None:
    script = "cd /usr; find . -type f | sort | head -300 | xargs sha256sum | sha256sum"
    alone = sharing("--share=false", "sh", "-c", script)
    first = sharing.waiting()
    joined = [sharing("sh", "-c", script) for _ in range(2)]
    assert {each.stdout for each in joined} == {alone.stdout}
    finish(first)


def test_a_keeper_lingers(sharing: Sharing) -> None:
    began = time.monotonic()
    assert sharing("--linger", "2", "true").returncode == 0
    (keeper,) = sharing.keepers()
    (name,) = sharing.sockets()
    assert f"joined keeper {keeper}\n" in sharing("true", debug=True).stderr
    assert sharing.sockets() == [name] and sharing.keepers() == [keeper]
    assert wait_for(lambda: not sharing.keepers())
    assert 1.9 < time.monotonic() - began < 8
    sharing.end()


def test_the_longest_linger_counts(sharing: Sharing) -> None:
    for seconds in ("3", "0", "1"):
        assert sharing("--linger", seconds, "true").returncode == 0
    time.sleep(1.5)
    assert sharing.keepers()
    assert wait_for(lambda: not sharing.keepers())


def test_a_keeper_ends_when_it_is_asked_to(sharing: Sharing) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        assert sharing("--linger", "60", "true").returncode == 0
        os.kill(sharing.keepers()[0], number)
        sharing.end()


@pytest.mark.parametrize("log", ["debug", "quiet"])
def test_a_keeper_holds_nothing_of_the_caller_s(sharing: Sharing, log: str) -> None:
    """Or a pipeline would not end before its time."""
    script = 'exec 5<"$1" 6<>"$2/pipe"; cd "$2"; "$0" --linger 60 true 2>&1 | cat'
    os.mkfifo(sharing.runtime / "pipe")
    (sharing.runtime / "pipe").chmod(0o666)
    done = sharing.run(
        "sh", "-c", script, sharing.app, "/etc/passwd", sharing.runtime,
        env=sharing.environment(DOCKERC_LOG=log), timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    (keeper,), (server,) = sharing.keepers(), sharing.servers()
    allowed = {
        keeper: {"/dev/null", "anon_inode:[signalfd]", str(sharing.directory)},
        # As paths in its own mount namespace, which has neither /dev nor the machine's root.
        server: {"/null", "/fuse", "/lower", str(sharing.app)},
    }
    for pid, files in allowed.items():
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        session, terminal = stat[3], stat[4]
        assert (int(session), terminal) == (keeper, "0")
        for task in Path(f"/proc/{pid}/task").iterdir():
            held = {str(link.readlink()) for link in (task / "fd").iterdir()}
            others = {name for name in held if not re.match(r"(socket|mnt|user):\[", name)}
            assert others <= files
    if sharing.run.as_root or os.geteuid() == 0:
        mounts = Path(f"/proc/{server}/mounts").read_text().splitlines()
        assert {line.split()[1] for line in mounts} == {"/", "/lower"}
    os.kill(keeper, signal.SIGTERM)


def test_many_first_runs_have_one_keeper(sharing: Sharing) -> None:
    sharing.options = ["--linger", "2"]
    command = sharing.run.command(sharing.app, *sharing.options, "sh", "-c", "sleep 1; echo ran")
    pipe, env = subprocess.PIPE, sharing.environment()
    runs = [
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) for _ in range(20)
    ]
    assert wait_for(lambda: len(sharing.keepers()) == 1)
    for each in runs:
        out, errors = each.communicate(timeout=60)
        assert (each.returncode, out, errors) == (0, "ran\n", "")
        assert len(sharing.keepers()) == 1
    assert len(sharing.sockets()) == 1


@pytest.mark.parametrize("which", ["keeper", "server"])
def test_runs_end_with_their_keeper(sharing: Sharing, which: str) -> None:
    runs = [sharing.waiting() for _ in range(3)]
    (killed,) = sharing.keepers() if which == "keeper" else sharing.servers()
    os.kill(killed, signal.SIGKILL)
    for each in runs:
        assert each.wait(timeout=60) == 125
        errors = finish(each)[2]
        assert GONE in errors
        assert len(errors.splitlines()) == 1
    # What it has left is replaced.
    after = sharing("echo", "ran")
    assert (after.returncode, after.stdout, after.stderr) == (0, "ran\n", "")


def test_a_program_that_fails_of_it_says_so(sharing: Sharing, shared: Path) -> None:
    """The program may see it first: it reads what nobody serves."""
    script = "echo begun; read line; find / -xdev -type f | xargs cat > /dev/null"
    for _ in range(5):
        with (shared / "errors").open("w+") as errors:
            command = sharing.run.command(sharing.app, "--share", "sh", "-c", script)
            reading = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=sharing.environment(),
            )  # fmt: skip
            assert reading.stdin and reading.stdout and reading.stdout.readline()
            (server,) = sharing.servers()
            reading.stdin.write(b"\n")
            os.kill(server, signal.SIGKILL)
            assert reading.wait(timeout=60) == 125
            errors.seek(0)
            assert GONE in errors.read()


def test_a_killed_run_is_nobody_else_s_end(sharing: Sharing) -> None:
    first, second, third = (sharing.waiting() for _ in range(3))
    # The first has started the keeper.
    for each in (first, second):
        each.kill()
        each.communicate()
    assert sharing("echo", "ran").stdout == "ran\n"
    assert finish(third) == (0, "", "")


def test_a_run_that_is_killed_before_it_has_joined(sharing: Sharing) -> None:
    for delay in (0.0, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016):
        command = sharing.run.command(sharing.app, "--linger", "60", "true")
        null = subprocess.DEVNULL
        with subprocess.Popen(
            command, stdout=null, stderr=null, env=sharing.environment()
        ) as process:
            time.sleep(delay)
            process.kill()
        assert sharing("echo", "ran").stdout == "ran\n"
        for pid in sharing.keepers():
            os.kill(pid, signal.SIGTERM)
        sharing.end()


def test_options_that_make_other_ids_have_other_mounts(
    run_as_user: Runner, deb: Path, shared: Path
) -> None:
    own = Sharing(run_as_user, deb, runtime_directory(run_as_user, shared), ["--linger", "30"])
    assert own("-u", "0:0", "id", "-u").stdout == "0\n"
    assert own("-u", "33:33", "id", "-u").stdout == "33\n"
    assert len(own.keepers()) == 2 == len(own.sockets())
    for options in (["-e", "A=1"], ["-w", "/tmp"], ["--read-only"], ["-v", f"{shared}:/data"]):
        assert own(*options, "true").returncode == 0
    assert len(own.keepers()) == 2
    for pid in own.keepers():
        os.kill(pid, signal.SIGTERM)
    own.end()


def test_options_of_a_run_are_its_own(sharing: Sharing, shared: Path) -> None:
    (shared / "file").write_text("of the machine\n")
    first = sharing.waiting()
    done = sharing(
        "-v", f"{shared}/file:/f:ro", "--hostname", "two", "-e", "A=b", "-w", "/usr",
        "--tmpfs", "/t", "sh", "-c", "cat /f; hostname; echo $A; pwd; echo x > /t/x",
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("of the machine\ntwo\nb\n/usr\n", "")
    assert sharing("ls", "/f").returncode == 2
    none = sharing("--network", "none", "cat", "/proc/net/dev")
    assert len(none.stdout.splitlines()) == 3
    kept = sharing("--overlay", shared / "kept", "sh", "-c", "echo 1 >> /kept; cat /kept")
    kept = sharing("--overlay", shared / "kept", "sh", "-c", "echo 2 >> /kept; cat /kept")
    assert kept.stdout == "1\n2\n", kept.stderr
    finish(first)


def test_volumes_are_the_caller_s_at_the_time(run: Runner, deb: Path, shared: Path) -> None:
    """Not those of the run that started the keeper: a mount that was made since is there."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    with own_machine():
        own = Sharing(run, deb, runtime_directory(run, shared), ["--share"])
        first = own.waiting()
        (shared / "disk").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "disk"], check=True)
        (shared / "disk" / "file").write_text("since\n")
        try:
            assert own("-v", f"{shared}/disk:/d", "cat", "/d/file").stdout == "since\n"
        finally:
            # And the keeper does not hold it.
            subprocess.run(["umount", shared / "disk"], check=True)
        finish(first)
        own.end()


def test_different_users_share_nothing(deb: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is two users")
    by = [Sharing(Runner(as_root=each), deb, shared / str(each), ["--linger", "5"])
          for each in (True, False)]  # fmt: skip
    for each in by:
        each.runtime.mkdir()
        each.runtime = runtime_directory(each.run, each.runtime)
        assert each("true").returncode == 0
    assert len(by[0].keepers()) == 2
    for pid in by[0].keepers():
        os.kill(pid, signal.SIGTERM)
    for each in by:
        each.end()


def test_it_can_be_baked_in(run: Runner, hello: Path, shared: Path) -> None:
    app = shared / "app"
    dockerc("edit", hello, app, "--linger", "3")
    own = Sharing(run, app, runtime_directory(run, shared))
    assert own().returncode == 0 and len(own.keepers()) == 1
    assert own("--share=false", "--").returncode == 0
    os.kill(own.keepers()[0], signal.SIGTERM)
    own.end()
    assert own("--share=false", "--").returncode == 0
    assert own.keepers() == []


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "", "4294967296"])
def test_a_wrong_number_of_seconds(run: Runner, deb: Path, value: str) -> None:
    done = run(deb, f"--linger={value}", "true")
    assert done.returncode == 125
    assert done.stderr == f"dockerc: --linger {value}: write a number of seconds\n"


def test_the_doctor_finds_keepers(sharing: Sharing) -> None:
    said = "keepers of shared mounts of this file:"
    assert f"{said} none\n" in sharing("--dockerc-doctor").stdout
    assert not sharing.directory.exists()
    first = sharing.waiting()
    (keeper,) = sharing.keepers()
    assert f"{said} process {keeper}\n" in sharing("--dockerc-doctor").stdout
    finish(first)


def test_a_runtime_directory_that_vanishes(sharing: Sharing, home_of_user: Path) -> None:
    sharing.options = ["--linger", "3"]
    env = {"HOME": str(home_of_user), "XDG_CACHE_HOME": str(home_of_user / "cache")}
    command = sharing.run.command("env", *(f"{k}={v}" for k, v in env.items()), sharing.app)
    first = subprocess.run(
        [*command, "--linger", "3", "true"], env=sharing.environment(), check=True
    )
    assert first.returncode == 0
    shutil.rmtree(sharing.runtime)
    done = subprocess.run(
        [*command, "--linger", "1", "echo", "ran"],
        env=sharing.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ran\n", "")
    assert len(sharing.keepers()) == 2
    cache = home_of_user / "cache/dockerc/keeper"
    assert len(list(cache.iterdir())) == 1 and cache.stat().st_mode & 0o777 == 0o700
    assert wait_for(lambda: not sharing.keepers()) and not list(cache.iterdir())


@pytest.fixture
def home_of_user(run: Runner, shared: Path) -> Path:
    (shared / "home").mkdir(mode=0o777)
    (shared / "home").chmod(0o777)
    return shared / "home"


def test_a_joined_start_is_told(run_as_user: Runner, hello: Path, shared: Path) -> None:
    """Its system calls are in the tables of docs/start.md."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    own = Sharing(run_as_user, hello, runtime_directory(run_as_user, shared))
    tables = (TESTS.parent / "docs" / "start.md").read_text().split("| call |")[1:]
    told = [
        {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:60])}
        for table in tables
    ]
    words = ["strace", "-f", "-qq", "-o", shared / "trace", hello, "--linger", "1", "--"]
    made: set[str] = set()
    for joins in (False, True):
        if joins:
            assert own("--linger", "5", "--").returncode == 0
        assert run_as_user(*words, env=own.environment()).returncode == 0
        made |= set(calls((shared / "trace").read_text()))
    assert made <= told[0] | told[1]
    # Where two runs are first, and where the keeper is killed.
    assert told[1] <= made | {"nanosleep", "pidfd_getfd"}
    own.end()


def test_many_rounds_leave_nothing(run: Runner, deb: Path, shared: Path) -> None:
    with own_machine():
        before = traces()
        own = Sharing(run, deb, runtime_directory(run, shared), ["--share"])
        for _ in range(20):
            first = own.waiting()
            assert own("true").returncode == 0
            finish(first)
        own.end()
        assert wait_for(lambda: traces() <= before), traces() - before


def test_comm(sharing: Sharing) -> None:
    """`ps` tells keepers from runs."""
    first = sharing.waiting()
    assert {comm(pid) for pid in (*sharing.keepers(), *sharing.servers())} == {"dockerc-keeper"}
    finish(first)
