"""Where the best way is closed the next one is taken: every rung of the ladder, forced."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from images_support import hello_program
from layout import entry, file, symlink, tar_of, write_layout
from support import TESTS, Runner, dockerc

HIDE = "mount --bind /dev/null /dev/fuse"
"""In a mount namespace: no FUSE."""


@pytest.fixture
def environment(shared: Path) -> dict[str, str]:
    """A caller's environment with a cache of the test's own."""
    return {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(shared), "DOCKERC_LOG": "debug"}


def fuseless(run: Runner, app: Path, *words: str | Path) -> list[str]:
    """The command that runs the app where there is no FUSE.

    Only for it: others on the machine keep theirs.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can take /dev/fuse from others")
    return ["unshare", "-m", "sh", "-c", f'{HIDE}; exec "$@"', "-", *run.command(app, *words)]


def without_fuse(
    run: Runner, app: Path, *words: str, env: dict[str, str], **options: object
) -> Any:
    """Run without FUSE."""
    return Runner(as_root=True)(*fuseless(run, app, *words), env=env, **options)


def trees(shared: Path) -> list[Path]:
    """What the cache holds, but for the names that it remembers."""
    found = (shared / "dockerc" / "run").iterdir()
    return sorted(each for each in found if not each.name.startswith("file-"))


def test_without_fuse_it_is_unpacked_once(
    run: Runner, deb: Path, shared: Path, environment: dict[str, str]
) -> None:
    first = without_fuse(run, deb, "cat", "/etc/os-release", env=environment)
    assert "bookworm" in first.stdout
    assert "unpacked in the cache" in first.stderr
    (tree,) = trees(shared)
    inode = tree.stat().st_ino
    again = without_fuse(
        run, deb, "sh", "-c", "echo x >/etc/motd && rm /bin/ls && cat /etc/motd", env=environment
    )
    assert again.stdout == "x\n"
    assert [each.stat().st_ino for each in trees(shared)] == [inode]
    assert (tree / "rootfs/bin/ls").exists()
    quiet = {**environment, "DOCKERC_LOG": ""}
    assert without_fuse(run, deb, "true", env=quiet).stderr == ""


def test_the_doctor_says_what_to_allow_and_to_install(run: Runner, deb: Path) -> None:
    command = ["env", "PATH=/nowhere", deb, "--dockerc-doctor"]
    told = Runner(as_root=True)(*fuseless(run, *command)).stdout
    assert "\n/dev/fuse: invalid argument\n" in told
    assert "to run it without unpacking: let every user open /dev/fuse (sudo modprobe" in told
    assert "this file would run by: unpacked once into the cache, under an overlay\n" in told
    assert "\npasta (for --network private): not installed (package passt)\n" in told
    qemu = "QEMU (for a machine of its own, which needs no user namespace: dockerc vm)"
    assert f"\n{qemu}: qemu-system-{platform.machine()} not installed\n" in told
    if not run.as_root:
        assert ": newuidmap and newgidmap are not installed (package uidmap)\n" in told


def test_what_is_unpacked_is_the_image(
    deb: Path, run: Runner, shared: Path, environment: dict[str, str]
) -> None:
    script = (
        "cd / && find bin/ etc/* usr var -xdev ! -name resolv.conf ! -name mtab ! -name 'host*'"
        " -printf '%p %m %U %G %T@ %n %l\\n' | LC_ALL=C sort | sed 's/ [0-9]* $/ /' >/tmp/x;"
        " find usr/bin etc -xdev -type f ! -name resolv.conf ! -name mtab ! -name 'host*'"
        " | LC_ALL=C sort | xargs md5sum >>/tmp/x; cat /tmp/x"
    )
    quiet = {**environment, "DOCKERC_LOG": ""}
    mounted = run(deb, "sh", "-c", script, env=quiet)
    unpacked = without_fuse(run, deb, "sh", "-c", script, env=quiet)
    directories = re.compile(r" \d+ $", re.M)  # link counts differ between filesystems
    assert len(mounted.stdout.splitlines()) > 5000
    assert directories.sub("", mounted.stdout) == directories.sub("", unpacked.stdout)


def test_many_first_starts_at_once(
    deb: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    running = [
        subprocess.Popen(
            fuseless(run_as_user, deb, "sh", "-c", "ls /usr/bin | wc -l"),
            env={**environment, "DOCKERC_LOG": ""}, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    told = {process.communicate(timeout=120)[0] for process in running}
    assert len(told) == 1 and int(told.pop()) > 100
    assert len(trees(shared)) == 1


def test_what_a_crash_left_is_swept(
    deb: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    assert run_as_user("mkdir", "-p", shared / "dockerc/run/run-7/deep/er").returncode == 0
    os.utime(shared / "dockerc/run/run-7", (1, 1))
    old = time.time() - 8 * 24 * 3600
    for name in ("12-34-single", "someone's own"):
        assert run_as_user("mkdir", "-p", shared / "dockerc/run" / name).returncode == 0
        os.utime(shared / "dockerc/run" / name, (old, old))
    assert without_fuse(run_as_user, deb, "true", env=environment).returncode == 0
    left = {tree.name for tree in trees(shared)}
    assert len(left) == 2 and "someone's own" in left and not left & {"run-7", "12-34-single"}


def test_another_user_s_directory_is_no_cache(
    hello: Path, run_as_user: Runner, shared: Path, environment: dict[str, str]
) -> None:
    (shared / "dockerc").mkdir()
    (shared / "dockerc" / "run").mkdir()
    (shared / "dockerc" / "run").chmod(0o777)
    done = without_fuse(run_as_user, hello, env={**environment, "HOME": "/nowhere"})
    assert done.returncode == 0
    assert f"no cache at {shared}" in done.stderr
    assert list((shared / "dockerc" / "run").iterdir()) == []


REPLACING = "rm -r /usr/share/doc && mkdir /usr/share/doc && echo x >/srv/x && cat /srv/x; id -u"
"""What an overlay without attributes of its own cannot do."""


def test_without_an_overlay_a_copy_is_made(
    run: Runner, deb: Path, shared: Path, environment: dict[str, str]
) -> None:
    done = run(deb, "sh", "-c", REPLACING, env={**environment, "DOCKERC_FORCE": "copy"})
    assert (done.returncode, done.stdout) == (0, "x\n0\n")
    assert "unpacked for this run" in done.stderr
    assert trees(shared) == []


def test_an_ordinary_user_s_changes_go_to_the_cache_where_tmpfs_keeps_no_attributes(
    run_as_user: Runner, deb: Path, shared: Path, environment: dict[str, str]
) -> None:
    done = run_as_user(deb, "sh", "-c", REPLACING, env={**environment, "DOCKERC_FORCE": "cache"})
    assert (done.returncode, done.stdout) == (0, "x\n0\n")
    assert "changes go to the cache" in done.stderr
    assert trees(shared) == []


LIKE_DOCKER = [sys.executable, str(TESTS / "like_docker.py")]


def test_root_in_a_docker_container(deb: Path, shared: Path, environment: dict[str, str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    run = Runner(as_root=True)
    script = "cat /etc/os-release; echo x >/dev/null; id -u; exit 3"
    done = run(*LIKE_DOCKER, deb, "sh", "-c", script, env=environment)
    assert done.returncode == 3, done.stderr
    assert "bookworm" in done.stdout and done.stdout.endswith("\n0\n")
    assert trees(shared) == []
    quiet = {**environment, "DOCKERC_LOG": ""}
    done = run(*LIKE_DOCKER, deb, "-v", f"{shared}:/x", "true", env=quiet)
    assert done.returncode == 125
    assert "volumes" in done.stderr and len(done.stderr.splitlines()) == 1


def test_no_pipe_of_the_image_holds_up_a_start_in_a_docker_container(
    shared: Path, environment: dict[str, str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    pipes = [entry(name, tarfile.FIFOTYPE) for name in ("etc/resolv.conf", "etc/hosts", "dev/null")]
    layer = tar_of(file("bin/hello", hello_program(), mode=0o755), *pipes)
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/bin/hello"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    done = Runner(as_root=True)(*LIKE_DOCKER, shared / "app", "cat", "/etc/hosts", env=environment)
    assert (done.returncode, done.stdout) == (0, Path("/etc/hosts").read_text()), done.stderr


def test_no_link_of_the_image_leads_writes_to_the_machine_in_a_docker_container(
    shared: Path, environment: dict[str, str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    victim = shared / "victim"
    victim.write_text("the machine's\n")
    links = [symlink(name, str(victim)) for name in (".dockerc.hosts", "hosts", "etc/hosts")]
    layer = tar_of(file("bin/hello", hello_program(), mode=0o755), *links)
    layout = write_layout(shared / "layout", [layer], {"Entrypoint": ["/bin/hello"]})
    dockerc("build", f"oci:{layout}", "-o", shared / "app", "--args", "docker")
    words = ("--add-host", "a:1.2.3.4", "--", "env")
    Runner(as_root=True)(*LIKE_DOCKER, shared / "app", *words, env=environment)
    assert victim.read_text() == "the machine's\n"


def test_an_ordinary_user_in_a_docker_container_is_told(
    hello: Path, run_as_user: Runner, environment: dict[str, str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    quiet = {**environment, "DOCKERC_LOG": ""}
    done = Runner(as_root=True)(*LIKE_DOCKER, *run_as_user.command(hello), env=quiet)
    assert done.returncode == 0
    assert "not isolated" in done.stderr and len(done.stderr.splitlines()) == 1


def test_masked_proc_is_shown_as_it_is(hello: Path, run: Runner) -> None:
    inner = 'mount -t tmpfs none /proc/tty && exec "$@"'
    done = run("unshare", "-Urmpf", "--mount-proc", "sh", "-c", inner, "-", hello, "env")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_proc_of_another_process_namespace_will_do(hello: Path, run: Runner) -> None:
    done = run("unshare", "-Urpf", hello)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "state",
    ["mount -t tmpfs -o ro none /tmp", "mount -t tmpfs -o noexec none /tmp",
     "mount -t tmpfs -o mode=000 none /tmp"],
)  # fmt: skip
def test_any_tmp_will_do(state: str, hello: Path, run: Runner, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change /tmp")
    program = Path("/var/tmp") / f"dockerc-{os.getpid()}"
    program.write_bytes(hello.read_bytes())
    program.chmod(0o755)
    command = run.command(program)
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{state}; exec "$@"', "-", *command],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        program.unlink()
    assert (done.returncode, done.stderr) == (0, "")
