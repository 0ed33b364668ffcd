"""What an app writes outside of volumes: on a disk, and gone with the run, however that ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Runner, dockerc, need


@pytest.fixture(scope="session")
def deb(images: Path, place: Path) -> Path:
    """The debian image, built."""
    output = place / "deb-changes"
    dockerc("build", f"oci:{images}/debian", "-o", output)
    return output


@pytest.fixture
def disk() -> Path:
    """A directory of the machine on a real disk, for everybody."""
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", "/var/tmp"], capture_output=True, text=True, check=True
    )
    if found.stdout.strip() in ("tmpfs", "overlayfs"):
        pytest.skip("/var/tmp is not on a disk")
    return Path("/var/tmp")


ASKED = {"PATH": os.environ["PATH"], "TMPDIR": "/var/tmp"}
"""For a disk where memory is plenty, too."""


def directories(place: Path) -> set[Path]:
    """Those of runs."""
    return set(place.glob("dockerc-*-*"))


@contextlib.contextmanager
def started(
    command: list[str], environment: dict[str, str] = ASKED
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that has said that it is up."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
            yield process
        finally:
            process.kill()


WRITE = """
shared() { sed -n 's/^Shmem: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo; }
before=$(shared)
dd if=/dev/zero of=/srv/large bs=1M count=512 2>/dev/null
echo $(( $(shared) - before ))
"""


def test_large_writes_cost_no_memory(run: Runner, deb: Path, disk: Path) -> None:
    before = directories(disk)
    done = run(deb, "sh", "-c", WRITE, env=ASKED)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 128 << 10
    assert directories(disk) == before


def test_they_go_where_temporary_files_go(run: Runner, deb: Path, disk: Path) -> None:
    chosen = disk / f"chosen-{os.getpid()}"
    chosen.mkdir()
    chosen.chmod(0o777)
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(chosen)}
    script = "echo kept apart >/srv/x; echo up; read line; chmod 0 /srv; mkdir -m 0 /closed"
    with started(run.command(deb, "sh", "-c", script), environment) as process:
        (written,) = chosen.iterdir()
        assert written.stat().st_mode & 0o777 == 0o700
        assert (written / "upper/srv/x").read_text() == "kept apart\n"
        process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    assert list(chosen.iterdir()) == []
    chosen.rmdir()


def test_plenty_of_memory_is_used(run: Runner, deb: Path, disk: Path) -> None:
    if "changes go to" in run(deb, "true", env={"DOCKERC_LOG": "debug"}).stderr:
        pytest.skip("most of this machine's memory is in use, or it has less than 8 GB")
    before = directories(disk)
    with started(run.command(deb, "sh", "-c", "echo up; read line"), {"PATH": os.environ["PATH"]}):
        assert directories(disk) == before


def test_rationed_memory_is_not(run: Runner, deb: Path, disk: Path) -> None:
    groups = Path("/sys/fs/cgroup/memory")
    limit = "memory.limit_in_bytes" if groups.is_dir() else "memory.max"
    if not groups.is_dir():
        groups = groups.parent
        (groups / "cgroup.subtree_control").write_text("+memory")
    if os.geteuid() != 0:
        pytest.skip("only root can make a control group")
    outer = groups / f"dockerc-test-{os.getpid()}"
    inner = outer / "inner"  # the limit stands above
    inner.mkdir(parents=True)
    try:
        (outer / limit).write_text(str(1 << 30))
        enter = ["sh", "-c", f'echo $$ >{inner}/cgroup.procs; exec "$@"', "-"]
        words = run.command(deb, "true")
        done = Runner(as_root=True)(*enter, *words, env={"DOCKERC_LOG": "debug"})
        assert done.returncode == 0 and "changes go to /var/tmp" in done.stderr
    finally:
        inner.rmdir()
        outer.rmdir()


CLOSED = "mkdir -m 0 /srv/closed; chown daemon /srv/closed; echo up; sleep 600"


def gone(left: set[Path]) -> bool:
    """Whether they are removed in time."""
    deadline = time.monotonic() + 10
    while any(path.exists() for path in left) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(path.exists() for path in left)


def test_nothing_is_left_of_a_killed_run(run: Runner, deb: Path, disk: Path) -> None:
    before = directories(disk)
    with started(run.command(deb, "sh", "-c", CLOSED)) as process:
        written = directories(disk) - before
        assert written
        process.send_signal(signal.SIGKILL)
        assert gone(written)


def test_nothing_is_left_of_a_killed_process_group(run: Runner, deb: Path, disk: Path) -> None:
    before = directories(disk)
    alone = ["setsid", *run.command(deb, "sh", "-c", CLOSED)]
    with started(alone) as process:
        written = directories(disk) - before
        assert written and os.getpgid(process.pid) == process.pid
        os.killpg(process.pid, signal.SIGKILL)
        assert gone(written)


def test_nothing_is_left_of_a_run_that_is_refused(run: Runner, deb: Path, disk: Path) -> None:
    before = directories(disk)
    for words in (["--add-host", "nonsense", "true"], ["-w", "/etc/passwd", "true"]):
        assert run(deb, *words, env=ASKED).returncode == 125
        assert gone(directories(disk) - before)


def test_what_processes_killed_at_once_left_goes_with_the_next_run(
    run: Runner, deb: Path, disk: Path
) -> None:
    before = directories(disk)
    command = run.command(deb, "sh", "-c", CLOSED)
    with started(command) as killed, started(command) as living:
        written = directories(disk) - before
        assert len(written) == 2
        children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
        # As the kernel does it to a whole control group.
        killed.send_signal(signal.SIGSTOP)
        for pid in (*map(int, children), killed.pid):
            os.kill(pid, signal.SIGKILL)
        killed.wait(timeout=60)
        time.sleep(0.2)
        assert directories(disk) - before == written
        assert run(deb, "true", env=ASKED).returncode == 0
        assert len(directories(disk) - before) == 1
        living.terminate()
        living.wait(timeout=60)
    assert gone(written)


DEEP = """
chdir "/srv"; for (1 .. 12000) { mkdir "d"; mkdir "0"; mkdir "0/x"; chdir "d" or die }
print "up\n"; close STDOUT; <STDIN>
"""
"""Deeper than descriptors and the stack go; with names that a mover of directories may choose."""


@pytest.mark.parametrize("end", ["itself", "killed"])
def test_a_deep_tree_goes_too(run: Runner, deb: Path, disk: Path, end: str) -> None:
    before = directories(disk)
    with started(run.command(deb, "perl", "-e", "$|=1;" + DEEP)) as process:
        written = directories(disk) - before
        assert len(written) == 1
        if end == "killed":
            process.kill()
        process.communicate(b"\n", timeout=60)
    assert process.returncode == (0 if end == "itself" else -signal.SIGKILL)
    assert gone(written)


def test_a_disk_without_locks_is_not_used(
    run: Runner, deb: Path, disk: Path, tmp_path: Path
) -> None:
    need("strace")
    chosen = disk / f"unlocked-{os.getpid()}"
    chosen.mkdir()
    chosen.chmod(0o777)
    try:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(chosen)}
        trace = ["strace", "-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK"]
        words = ["timeout", "-s", "KILL", "20", *trace, *map(str, (deb, "true"))]
        assert run(*words, env=environment).returncode == 0
        assert list(chosen.iterdir()) == []
    finally:
        shutil.rmtree(chosen)


ADOPT = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
assert subprocess.run(sys.argv[1:]).returncode == 0
sys.exit(len(open("/proc/thread-self/children").read().split()))
"""
"""What a first process of a container is that knows of no children but its own."""


@pytest.mark.parametrize("options", [[], ["--security-opt", "no-new-privileges=false"]])
def test_no_process_outlives_the_run(
    run: Runner, deb: Path, disk: Path, options: list[str]
) -> None:
    words = ["/usr/bin/python3", "-c", ADOPT, str(deb), *options, "true"]
    done = run(*words, env=ASKED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_user_s_directory_is_left_alone(deb: Path, disk: Path, run_as_user: Runner) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make one of another user")
    uid = run_as_user("id", "-u").stdout.strip()
    bait = disk / f"dockerc-{uid}-12345"
    bait.mkdir(mode=0o777)
    try:
        bait.chmod(0o777)
        (bait / "file").touch()
        assert run_as_user(deb, "true", env=ASKED).returncode == 0
        assert (bait / "file").exists()
    finally:
        (bait / "file").unlink()
        bait.rmdir()


@pytest.mark.parametrize(
    "state", ["mount -t tmpfs none /var/tmp", "mount --bind /proc/self /var/tmp"]
)
def test_without_a_disk_they_are_kept_in_memory(run: Runner, deb: Path, state: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change /var/tmp")
    script = "rm -r /usr/share/doc; mkdir /usr/share/doc; echo x >/srv/x; cat /srv/x"
    words = ["unshare", "-m", "sh", "-c", f'{state}; exec "$@"', "-"]
    done = Runner(as_root=True)(*words, *run.command(deb, "sh", "-c", script), env=ASKED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_an_unusual_disk_will_do(run: Runner, deb: Path, disk: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change /var/tmp")
    state = "mount --bind /var/tmp /var/tmp; mount -o remount,bind,noexec,nosuid,nodev /var/tmp"
    script = "cp /bin/true /srv/mine; /srv/mine && echo ran"
    words = ["unshare", "-m", "sh", "-c", f'{state}; exec "$@"', "-"]
    done = Runner(as_root=True)(*words, *run.command(deb, "sh", "-c", script), env=ASKED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
