"""The app reaches neither its runtime nor its caller: files, signals, devices."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from layout import file, on_top, tar_of
from leftovers import processes_with, wait_for
from support import ORDINARY_USER, Runner, dockerc
from test_run_terminal import terminal

PRIVATE = ["unshare", "-m", "--propagation", "private"]


def script(place: Path, name: str, *lines: str) -> Path:
    """A program in the directory, for all."""
    (place / name).write_text("\n".join(lines) + "\n")
    (place / name).chmod(0o755)
    return place / name


# The executable on the machine's disk (CVE-2019-5736).


@pytest.fixture
def own(deb: Path, shared: Path) -> Path:
    """A copy of the executable that anybody may change, and a script to have it changed."""
    shutil.copyfile(deb, shared / "own")
    (shared / "own").chmod(0o777)
    script(
        shared, "evil", "#!/bin/sh", "cd /proc", "for p in [0-9]*; do",
        "  chmod 4711 $p/exe; echo x >$p/exe; readlink $p/exe", "done", "echo evil ran",
    )  # fmt: skip
    return shared / "own"


# The runtime, run again, would unpack its payload and start /evil in a directory of it.
EVIL = """#!/usr/bin/perl
# Out of a chroot(2), as root may with CAP_SYS_CHROOT.
my ($out, $here) = ("/out", "."); mkdir $out;
syscall(161, $out); chdir ".." for 1 .. 20; syscall(161, $here);
for my $pid (1, "self", getppid()) {
    chmod 04711, "/proc/$pid/exe"; chown 7, 7, "/proc/$pid/exe";
    open(my $file, ">>", "/proc/$pid/exe") and print $file "more";
}
print "evil ran\n";
"""


@pytest.fixture(scope="session")
def re_running(images: Path, place: Path) -> Path:
    """Debian with programs whose interpreter is the runtime, if it is to be found so."""
    layer = tar_of(
        *(
            file(f"by-{name}", f"#!{through} --entrypoint=/evil\n".encode(), mode=0o755)
            for name, through in THROUGH.items()
        ),
        file("evil", EVIL.encode(), mode=0o755),
    )
    layout = on_top(images / "debian", place / "re-running-layout", layer, {})
    dockerc("build", f"oci:{layout}", "-o", place / "re-running", "--args", "docker")
    return place / "re-running"


THROUGH = {"self": "/proc/self/exe", "first": "/proc/1/exe", "thread": "/proc/thread-self/exe"}


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("init", [[], ["--init"]])
def test_no_image_has_the_runtime_run_again(
    run: Runner, re_running: Path, shared: Path, through: str, init: list[str]
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the script has numbers of x86-64's system calls")
    app = shared / "app"
    shutil.copyfile(re_running, app)
    app.chmod(0o755)
    if os.geteuid() == 0 and not run.as_root:
        shutil.chown(app, ORDINARY_USER)
    before = (app.stat(), app.read_bytes())
    done = run(*(PRIVATE if run.as_root else []), app, *init, f"/by-{through}")
    after = app.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before[0].st_mode,
        before[0].st_uid,
        before[0].st_gid,
    )
    assert app.read_bytes() == before[1]
    assert "evil ran" not in done.stdout


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_no_process_of_the_app_shows_the_runtime(
    run: Runner, own: Path, shared: Path, init: list[str]
) -> None:
    before = own.read_bytes()
    done = run(own, *init, "-v", f"{shared}:/x:ro", "sh", "/x/evil")
    assert "evil ran" in done.stdout
    assert str(own) not in done.stdout and own.name not in done.stdout.split("\n")
    assert own.read_bytes() == before and own.stat().st_mode & 0o7777 == 0o777


def test_an_executable_in_a_container_is_not_its_first_process(
    run: Runner, own: Path, shared: Path
) -> None:
    done = run(own, "-v", f"{shared}:/x", "/x/own")
    assert done.returncode == 125 and "first process of a dockerc container" in done.stderr


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
def test_a_set_id_executable_does_not_start(
    run_as_user: Runner, deb: Path, shared: Path, mode: int
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes a set-id file of root's")
    shutil.copyfile(deb, shared / "set-id")
    (shared / "set-id").chmod(mode)
    (shared / "secret").write_text("root's")
    (shared / "secret").chmod(0o600)
    done = run_as_user(shared / "set-id", "-v", f"{shared}:/r", "cat", "/r/secret")
    assert (done.returncode, done.stdout) == (125, "")
    assert "set-id bit" in done.stderr and len(done.stderr.splitlines()) == 1


def test_an_executable_with_capabilities_does_not_start(
    run_as_user: Runner, deb: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives a file capabilities")
    shutil.copyfile(deb, shared / "capable")
    (shared / "capable").chmod(0o755)
    # struct vfs_cap_data, revision 2, effective: CAP_DAC_OVERRIDE (linux/capability.h).
    os.setxattr(
        shared / "capable",
        "security.capability",
        bytes.fromhex("010000020200000000000000") + bytes(8),
    )
    done = run_as_user(shared / "capable", "true")
    assert done.returncode == 125 and "capabilities" in done.stderr


# Rights of the first process.


def test_the_first_process_has_no_more_rights_than_the_app(run: Runner, deb: Path) -> None:
    words = [
        "grep",
        "-E",
        "^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Uid|Gid):",
        "/proc/1/status",
    ]
    for options in ([], ["-u", "daemon"], ["--cap-drop", "ALL"]):
        first = run(deb, "--init", *options, *words)
        app = run(deb, *options, *words)
        assert first.stdout == app.stdout and "Seccomp:\t2" in first.stdout, first.stderr


# The end of the app.


@pytest.mark.parametrize(
    "options", [[], ["--init"], ["-u", "daemon"], ["--security-opt", "no-new-privileges=false"]]
)
def test_no_app_outlives_its_runtime(
    run: Runner, deb: Path, shared: Path, options: list[str]
) -> None:
    # Debian's minimal image has perl: prctl(PR_SET_PDEATHSIG, 0).
    marker = f"marker-{os.getpid()}-{'-'.join(options)}"
    number = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
    program = (
        f"$SIG{{$_}}='IGNORE' for qw(TERM INT HUP QUIT); syscall({number}, 1, 0, 0, 0, 0);"
        f" $| = 1; print qq(up\\n); sleep 600; # {marker}"
    )
    command = run.command(deb, *options, "perl", "-e", program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        process.kill()
        process.wait()
        assert wait_for(lambda: not processes_with(marker)), processes_with(marker)


def test_who_is_killed_with_the_runtime_s_group_is_ended(run: Runner, deb: Path) -> None:
    marker = f"marker-{os.getpid()}-group"
    command = run.command(deb, "sh", "-c", f"echo up; sleep 600; : {marker}")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not processes_with(marker)), processes_with(marker)


# Signals to the caller.


@pytest.mark.parametrize("number", ["TERM", "KILL", "INT", "STOP"])
def test_no_signal_of_the_app_reaches_its_caller(
    run: Runner, deb: Path, shared: Path, number: str
) -> None:
    inside = f"trap 'kill -s {number} 0' EXIT; kill -s {number} 0; kill -s {number} -1; true"
    outer = '"$0" sh -c "$1" >/dev/null 2>&1; echo "caller goes on"'
    done = run("sh", "-c", outer, deb, inside)
    assert (done.returncode, done.stdout) == (0, "caller goes on\n")


def test_kill_0_on_a_terminal_is_the_app_s_own(run: Runner, deb: Path) -> None:
    outer = '"$0" sh -c "trap \'\' TERM; kill 0; sleep 0.2; echo in""side"; echo go"es" on'
    with terminal(run.command("sh", "-c", outer, deb)) as tty:
        tty.until("inside")
        tty.until("goes on")
        assert tty.end() == 0


# Devices.


@pytest.mark.parametrize("force", ["", "copy", "unpack", "cache"])
def test_no_device_that_the_app_makes_can_be_opened(deb: Path, shared: Path, force: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    tries = (
        "for d in / /dev /dev/shm /tmp /vol /t; do"
        " mknod $d/made c 1 5 && head -c 1 $d/made >/dev/null && echo opened $d; rm -f $d/made;"
        " mknod -m 666 $d/disk b 254 0 && head -c 1 $d/disk >/dev/null && echo opened $d;"
        " rm -f $d/disk;"
        " done; head -c 3 /dev/zero | wc -c; echo >/dev/null && echo null"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(shared / "cache"), "DOCKERC_FORCE": force}
    done = subprocess.run(
        [*PRIVATE, deb, "-v", f"{shared}:/vol", "--tmpfs", "/t:dev", "sh", "-c", tries],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["3", "null"], done.stderr


def test_root_is_served_by_us(deb: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root could have the kernel's own driver")
    done = subprocess.run(
        [*PRIVATE, deb, "grep", "-c", "squashfs", "/proc/self/mountinfo"],
        env={**os.environ, "DOCKERC_LOG": "debug"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "0\n"
    assert "payload mounted by FUSE" in done.stderr and "loop" not in done.stderr


def test_what_is_built_for_root_is_for_root(run: Runner, images: Path, shared: Path) -> None:
    dockerc("build", f"oci:{images}/debian", "-o", shared / "rootfull", "--rootfull")
    done = run(shared / "rootfull", "id", "-u")
    if run.as_root:
        assert (done.returncode, done.stdout) == (0, "0\n")
    else:
        assert done.returncode == 125 and "start it with sudo" in done.stderr


# The machine's network.

CONNECTS = (
    "use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0);"
    " print connect(S, pack('S a*', 1, chr(0).$ARGV[0])) ? 'connected' : 'refused'"
)


def test_abstract_sockets_of_the_machine_are_out_of_reach(run: Runner, deb: Path) -> None:
    import socket

    if scopes() < 6:
        pytest.skip("this kernel's Landlock has no scopes")
    name = f"dockerc-test-{os.getpid()}-{run.as_root}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + name)
        listening.listen()
        assert run(deb, "perl", "-e", CONNECTS, name).stdout == "refused"


def scopes() -> int:
    """The version of Landlock (landlock_create_ruleset(2))."""
    return ctypes.CDLL(None).syscall(444, None, 0, 1)
