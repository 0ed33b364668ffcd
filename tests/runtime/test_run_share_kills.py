"""Runs that share a mount, where calls are refused and processes are killed at any moment.

$DOCKERC_TEST_SHARED_ROUNDS says how many rounds of kills.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import PLACES, own_machine, traces, wait_for
from sharing import NOT_SHARED, Sharing, end_all, processes, runtime_directory
from support import Runner
from test_run_safety import REFUSING, private

ROUNDS = int(os.environ.get("DOCKERC_TEST_SHARED_ROUNDS", "10"))


@pytest.fixture
def sharing(run: Runner, deb: Path, shared: Path) -> Iterator[Sharing]:
    """Runs of a file that no other test runs."""
    app = Path(shutil.copy(deb, shared / "app"))
    yield Sharing(run, app, runtime_directory(run, shared), ["--linger", "30"])
    end_all(app, signal.SIGKILL)


REFUSED = [
    "setns=EPERM", "setns=0", "socketpair=EPERM", "setsid=EPERM", "dup3=EPERM", "fchdir=EPERM",
    "chroot=EPERM", "open_tree=EPERM", "open_tree=0", "move_mount=EPERM", "move_mount=0",
    "unshare=EPERM", "unshare=0", "mount=EPERM", "mount=0", "pivot_root=EPERM", "pivot_root=0",
    "umount2=EPERM", "umount2=0", "statx=ENOSYS", "sendmsg=EPERM", "recvmsg=EPERM", "ppoll=EPERM",
    "prctl=EPERM", "prctl=0", "signalfd4=EPERM", "chdir=EPERM", "chdir=0", "fchdir=0", "chroot=0",
]  # fmt: skip


RUNS = [("user", "first"), ("user", "joined"), ("root", "joined")]


@pytest.mark.parametrize(("run", "which"), RUNS, indirect=["run"])
@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_call_harms_nothing(sharing: Sharing, refused: str, which: str) -> None:
    """The run ends with a message, or has taken another way; the machine is as before."""
    with own_machine():
        before = traces()
        sharing.options = ["--linger", "20"] if which == "joined" else ["--share"]
        if which == "joined":
            assert sharing("true").returncode == 0
        keepers = processes(sharing.app)
        words = sharing.run.command(sharing.app, "--share", "sh", "-c", "echo ran")
        done = subprocess.run(
            [*private(sharing.run), *REFUSING, refused, *words],
            capture_output=True, text=True, timeout=60, env=sharing.environment(),
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            assert done.stdout == "ran\n"
        elif not done.stderr.startswith("setpriv: "):
            assert (done.returncode, done.stdout) == (125, ""), done
            assert done.stderr.startswith("dockerc: "), refused
        assert "internal error" not in done.stderr
        # Of a keeper that lives, nobody else knows.
        assert processes(sharing.app) >= keepers
        sharing.options = ["--linger", "0"]
        after = sharing("echo", "ran")
        assert (after.returncode, after.stdout) == (0, "ran\n"), after.stderr
        end_all(sharing.app)
        # A cache's directories stay, as without sharing.
        caches = {f"{place}/dockerc-{sharing.runtime.stat().st_uid}" for place in PLACES}
        assert wait_for(lambda: traces() - caches <= before), traces() - before


def test_kills_at_any_moment(run: Runner, deb: Path, shared: Path) -> None:
    """Nobody hangs, and nothing is left."""
    with own_machine():
        before = traces()
        own = Sharing(run, deb, runtime_directory(run, shared), ["--linger", "1"])
        chance = random.Random(run.as_root)
        for number in range(ROUNDS):
            one_round(own, chance)
            if number % 5 == 4:
                after = own("--linger", "0", "echo", "ran")
                assert (after.returncode, after.stdout, after.stderr) == (0, "ran\n", "")
        assert wait_for(lambda: not processes(deb), 20)
        # A killed keeper's socket is all that may be left, and the next start replaces it.
        assert len(own.sockets()) <= 1
        assert own("--linger", "0", "true").returncode == 0
        own.end()
        assert wait_for(lambda: traces() <= before), traces() - before


def one_round(own: Sharing, chance: random.Random) -> None:
    script = "i=0; while [ $i -lt 20 ]; do cat /bin/* > /dev/null; i=$((i + 1)); done; echo ran"
    command = own.run.command(own.app, *own.options, "sh", "-c", script)
    pipe, env = subprocess.PIPE, own.environment()
    runs = [
        subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) for _ in range(8)
    ]
    for _ in range(chance.randint(1, 3)):
        time.sleep(chance.random() * 0.15)
        victims = sorted(processes(own.app)) if chance.random() < 0.5 else []
        pid = chance.choice([*victims, *(each.pid for each in runs)])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for each in runs:
        out, errors = each.communicate(timeout=60)
        if each.returncode == 0:
            assert out == "ran\n"
        else:
            assert each.returncode in (-9, 125), (each.returncode, errors)
            assert each.returncode == -9 or "dockerc: " in errors, errors


def test_a_killed_cgroup(run: Runner, deb: Path, shared: Path) -> None:
    """All at once, as by an end of a session: the next run replaces what is left."""
    if os.geteuid() != 0:
        pytest.skip("only root may make control groups here")
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    if not roots:
        pytest.skip("no control groups (v2)")
    group = roots[0] / f"dockerc-test-{os.getpid()}"
    group.mkdir()
    own = Sharing(run, deb, runtime_directory(run, shared), ["--linger", "60"])
    try:

        def enter() -> None:
            (group / "cgroup.procs").write_text("0")

        runs = [own.start("sh", "-c", "echo begun; exec sleep 60", preexec_fn=enter)
                for _ in range(3)]  # fmt: skip
        (group / "cgroup.kill").write_text("1")
        for each in runs:
            each.communicate(timeout=60)
        assert wait_for(lambda: not processes(deb))
        assert own("--linger", "0", "echo", "ran").stdout == "ran\n"
        own.end()
    finally:
        assert wait_for(lambda: "populated 0" in (group / "cgroup.events").read_text())
        group.rmdir()


ANOTHER_ROOT = """set -e
mount -t tmpfs none "$1"; cd "$1"; mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none root
for d in proc dev sys tmp var/tmp run; do mount --rbind /$d root/$d; done
mkdir -p root/lower/rootfs; echo there > root/only-there
shift; exec chroot root "$@"
"""
"""Runs a command in a root that has a directory at the payload's path in the server's namespace."""


@pytest.mark.parametrize("refused", [[], [*REFUSING, "setns=0"]], ids=["made", "pretended"])
def test_the_root_of_the_caller_is_kept(deb: Path, shared: Path, refused: list[str]) -> None:
    """While the mount is taken out of another namespace; and nothing else is taken for it."""
    if os.geteuid() != 0:
        pytest.skip("only root can have another root")
    run = Runner(as_root=True)
    own = Sharing(run, deb, runtime_directory(run, shared), ["--linger", "30"])
    assert own("true").returncode == 0
    (shared / "place").mkdir()
    # Unlike a volume's, its source is not made where it is missing.
    words = [deb, "--share", "--mount", "type=bind,source=/only-there,target=/x", "cat", "/x"]
    done = run(
        *private(run), "sh", "-c", ANOTHER_ROOT, "sh", shared / "place", *refused, *words,
        env=own.environment(DOCKERC_LOG="debug"),
    )  # fmt: skip
    end_all(deb)
    assert done.stdout == "there\n", done.stderr
    assert "joined keeper" in done.stderr
    assert (NOT_SHARED in done.stderr) == bool(refused)
