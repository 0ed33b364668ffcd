"""Nothing of the machine's is touched, whatever an image holds or a kernel refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from images_support import hello_program
from layout import directory, file, symlink, tar_of, write_layout
from leftovers import own_machine
from support import TESTS, Runner, dockerc

REFUSING = [sys.executable, str(TESTS / "refusing.py")]
"""Runs a command whose system calls are refused: refusing.py CALL[=ERRNO],... COMMAND."""

PRIVATE = ["unshare", "-m", "--propagation", "private"]
"""Where root tries what could harm the machine."""


def private(run: Runner) -> list[str]:
    return PRIVATE if run.as_root else []


def built(place: Path, *entries: object, name: str = "app", **config: object) -> Path:
    """An executable of the fixture's program and these entries."""
    layer = tar_of(
        directory("bin"),
        file("bin/hello", hello_program(), mode=0o755),
        *entries,  # type: ignore[arg-type]
    )
    layout = write_layout(
        place / f"{name}-layout", [layer], {"Entrypoint": ["/bin/hello"], **config}
    )
    dockerc("build", f"oci:{layout}", "-o", place / name, "--args", "docker")
    return place / name


@pytest.fixture
def secret(shared: Path) -> Path:
    """A file of the machine, by a path from its root."""
    (shared / "secret").write_text("of the machine")
    (shared / "secret").chmod(0o666)
    return shared / "secret"


ROOTS = {
    "root": "/",
    "parents": "../../../..",
    "proc": "/proc/self/root",
    "far": "/usr/../..",
    "chain": "/second",
}
"""Links of an image that are its root, or lead there."""


@pytest.mark.parametrize("link", ROOTS)
@pytest.mark.parametrize("option", ["volume", "tmpfs", "mount", "baked", "deep"])
def test_nothing_is_mounted_over_the_root(
    run: Runner, shared: Path, secret: Path, link: str, option: str
) -> None:
    (shared / "volume").mkdir()
    entries = [symlink("data", ROOTS[link]), symlink("second", "third/.."), directory("third")]
    app = built(shared, directory("usr"), *entries)
    target = "/data/../data/." if option == "deep" else "/data"
    volume = f"{shared}/volume:{target}"
    options = {
        "volume": ["-v", volume], "deep": ["-v", volume], "tmpfs": ["--tmpfs", target],
        "mount": ["--mount", f"type=bind,source={shared}/volume,target={target}"], "baked": [],
    }[option]  # fmt: skip
    if option == "baked":
        dockerc("edit", app, shared / "baked", "-v", volume)
        app = shared / "baked"
    done = run(*private(run), app, *options, "cat", f"/..{secret}")
    assert "of the machine" not in done.stdout
    assert done.returncode == 125
    assert "the container's root, or leads there" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["/", "/.", "/..", "/../..", "//"])
def test_the_root_itself_is_no_target(run: Runner, shared: Path, secret: Path, target: str) -> None:
    app = built(shared)
    for options in (["-v", f"{shared}:{target}"], ["--tmpfs", target]):
        done = run(*private(run), app, *options, "cat", f"/..{secret}")
        assert (done.returncode, done.stdout) == (125, ""), done.stderr
        assert "the container's root" in done.stderr


@pytest.mark.parametrize("name", ["proc", "dev", "sys", "etc", "etc/hosts", "dev/pts", "tmp"])
@pytest.mark.parametrize("where", ["/", "../../..", "/proc/self/root"])
def test_no_link_of_the_image_uncovers_the_machine(
    run: Runner, shared: Path, secret: Path, name: str, where: str
) -> None:
    parents = [directory(name.split("/")[0])] if "/" in name else []
    app = built(shared, *parents, symlink(name, where))
    done = run(*private(run), app, "cat", f"/..{secret}")
    assert "of the machine" not in done.stdout
    assert done.returncode != 0
    options = ["--add-host", "a:1.2.3.4", "-w", "/tmp/x", "--hostname", "h"]
    assert "of the machine" not in run(*private(run), app, *options, "cat", f"/..{secret}").stdout
    assert secret.read_text() == "of the machine"


def test_what_config_json_masks_or_protects_is_not_the_root(
    run: Runner, shared: Path, secret: Path
) -> None:
    app = built(shared, symlink("data", "/"))
    for key in ("maskedPaths", "readonlyPaths"):
        changed = with_linux(app, shared / key, {key: ["/data", "/"]})
        done = run(*private(run), changed, "cat", f"/..{secret}")
        assert done.returncode == 125 and "the container's root" in done.stderr


def with_linux(app: Path, output: Path, linux: dict[str, object]) -> Path:
    """The executable with other members of config.json's `linux`."""
    from support import with_config

    config = json.loads(dockerc("inspect", "--config", app).stdout)
    config["linux"].update(linux)
    return with_config(app, config, output)


@pytest.mark.parametrize("target", ["/proc", "/proc/sys/kernel", "/data/self/attr", "/proc/self"])
def test_nothing_is_mounted_in_proc(run: Runner, shared: Path, target: str) -> None:
    app = built(shared, directory("proc"), symlink("data", "/proc"))
    done = run(app, "-v", f"{shared}:{target}", "env")
    assert done.returncode == 125 and "in /proc, or leads there" in done.stderr


# What the kernel refuses.

WATCHED = textwrap.dedent("""
    import json, os, subprocess, sys
    def state():
        # A mount's number and place; options and counters of the kernel may change.
        # What others have removed is marked.
        mounts = [line.replace("//deleted", "").split()[:5]
                  for line in open("/proc/self/mountinfo")]
        return [mounts, sorted(os.listdir("/dev")), sorted(os.listdir("/tmp")),
                sorted(os.listdir("/var/tmp")), sorted(os.listdir("/run")), os.listdir(".")]
    # A mount point that somebody else has removed takes its mount along.
    def lasting(mounts):
        return [mount for mount in mounts if os.path.lexists(mount[4])]
    before = state()
    done = subprocess.run(sys.argv[1:], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    after = state()
    mine = lambda names: [n for n in names if n.startswith("dockerc-") and "test" not in n]
    print(json.dumps({
        "same": lasting(before[0]) == lasting(after[0])
            and (before[1], before[5]) == (after[1], after[5]),
        "left": [sorted(set(mine(a)) - set(mine(b))) for a, b in zip(after[2:5], before[2:5])],
        "difference": [m for m in before[0] if m not in after[0]],
        "status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}))
""")
"""Runs a command and tells whether the caller's mounts and directories are as they were."""

CALLS = ["unshare", "mount", "umount2", "pivot_root", "chroot", "mknodat", "setns",
         "open_tree", "move_mount", "fsopen", "clone", "clone3", "setsid", "setpgid",
         "memfd_create", "execveat", "mount_setattr", "statx", "pidfd_open", "prctl",
         "setresuid", "capset", "socketpair", "landlock_create_ruleset",
         "chdir", "mkdirat"]  # fmt: skip
"""Each is refused alone, in pairs those that decide where a start acts."""

PAIRS = [(one, other) for at, one in enumerate(CALLS[:9]) for other in CALLS[at + 1 : 9]]


# A filter's answer, and none; with $DOCKERC_TEST_CALLS that of an old kernel, too.
ALL = "DOCKERC_TEST_CALLS" in os.environ
ANSWERS = ["EPERM", "0", *(["ENOSYS"] if ALL else [])]


@pytest.mark.parametrize("errno", ANSWERS)
@pytest.mark.parametrize("call", CALLS)
def test_a_refused_call_does_not_reach_the_machine(
    run: Runner, deb: Path, shared: Path, call: str, errno: str
) -> None:
    assert_untouched(run, deb, shared, f"{call}={errno}")


@pytest.mark.parametrize("run", ["root", *(["user"] if ALL else [])], indirect=True)
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(pair))
def test_two_refused_calls_do_not_reach_the_machine(
    run: Runner, deb: Path, shared: Path, pair: tuple[str, str]
) -> None:
    assert_untouched(run, deb, shared, ",".join(f"{call}=EPERM" for call in pair))


def assert_untouched(run: Runner, app: Path, shared: Path, refused: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("the filter of these tests wants root")
    command = [*REFUSING, refused, *run.command(app, "sh", "-c", "echo ran")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared)}
    # Where everybody may write, and in its own mount namespace, should it fail.
    (shared / "here").mkdir()
    (shared / "here").chmod(0o777)
    with own_machine():
        watched = subprocess.run(
            [*PRIVATE, sys.executable, "-c", WATCHED, *command],
            cwd=shared / "here", env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert watched.returncode == 0, watched.stderr
    told = json.loads(watched.stdout)
    assert told["same"], told
    # A cache stays, where the payload was unpacked.
    left = [name for names in told["left"] for name in names]
    assert all(name.startswith("dockerc-") and name[8:].isdigit() for name in left), told
    if told["status"] == 0:
        assert told["stdout"] == "ran\n", told
    else:
        assert told["stdout"] == "", told
        # Without prctl(2) it is setpriv(1) that fails.
        assert told["status"] in (125, 126, 127, 137) or "setpriv:" in told["stderr"], told
        assert "Traceback" not in told["stderr"] and "internal error" not in told["stderr"], told


@pytest.mark.parametrize(
    "refused",
    ["mount_setattr=0", "open_tree=ENOSYS,mount_setattr=0", "open_tree=0,move_mount=0",
     "open_tree=0,move_mount=0,mount_setattr=0", "move_mount=0"],
)  # fmt: skip
def test_a_read_only_volume_is_there_and_cannot_be_written_or_nothing_starts(
    run: Runner, deb: Path, shared: Path, refused: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("the filter of these tests wants root")
    volume = shared / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    (volume / "there").touch()
    app = run.command(deb, "-v", f"{volume}:/data:ro", "sh", "-c", "ls /data; touch /data/new")
    done = subprocess.run(
        [*PRIVATE, *REFUSING, refused, *app],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert [path.name for path in volume.iterdir()] == ["there"]
    if done.returncode == 125:
        assert done.stdout == "" and done.stderr.startswith("dockerc: cannot "), done
    else:
        assert done.stdout == "there\n" and "Read-only" in done.stderr, done


def test_root_without_namespaces_is_kept_in_its_directory(
    deb: Path, shared: Path, secret: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root starts without any namespace")
    done = subprocess.run(
        [*PRIVATE, *REFUSING, "unshare=EPERM", str(deb), "sh", "-c",
         "grep Cap[BE] /proc/self/status; mknod /tmp/disk b 254 0 && echo made;"
         f" chroot /tmp /bin/true 2>&1; cat /proc/1/root{secret} /../..{secret}"],
        env={**os.environ, "XDG_CACHE_HOME": str(shared)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "made" not in done.stdout and "of the machine" not in done.stdout, done.stdout


def test_a_tree_with_a_mount_in_it_loses_nothing_of_it(
    run: Runner, deb: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts something into another run's tree")
    victim = shared / "victim"
    victim.mkdir()
    (victim / "file").write_text("kept")
    victim.chmod(0o777)
    left = shared / "dockerc/run/run-7"
    assert run("mkdir", "-p", left / "deep/er", left / "plain").returncode == 0
    subprocess.run([*PRIVATE, "sh", "-c",
        f"mount --bind {victim} {left}/deep/er && exec \"$@\"", "-", *run.command(deb, "true")],
        env={**os.environ, "XDG_CACHE_HOME": str(shared), "DOCKERC_FORCE": "copy"},
        check=True, timeout=60)  # fmt: skip
    assert (victim / "file").read_text() == "kept"
    # A name that only looks like one of ours is somebody's.
    others = [shared / f"dockerc-0-{name}" for name in ("backup", "", "1x")]
    for other in others:
        other.mkdir()
    environment = {**os.environ, "TMPDIR": str(shared), "DOCKERC_LOG": "debug"}
    done = Runner(as_root=True)(deb, "true", env=environment)
    assert f"changes go to {shared}" in done.stderr
    assert all(other.is_dir() for other in others)
