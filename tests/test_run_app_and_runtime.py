"""The app reaches neither its runtime nor its caller: files, signals, terminal, streams."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from layout import file, on_top, tar_of
from leftovers import processes_with, wait_for
from support import ORDINARY_USER, Runner, dockerc
from test_run_terminal import shell, terminal

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
    dockerc("build", f"oci:{layout}", "-o", place / "re-running")
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
        assert wait_for(lambda: not processes_with(marker), 5), processes_with(marker)


def test_who_is_killed_with_the_runtime_s_group_is_ended(run: Runner, deb: Path) -> None:
    marker = f"marker-{os.getpid()}-group"
    command = run.command(deb, "sh", "-c", f"echo up; sleep 600; : {marker}")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not processes_with(marker), 5), processes_with(marker)


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


# The terminal.


def test_nothing_is_typed_into_the_caller_s_shell(run: Runner, deb: Path) -> None:
    # TIOCSTI, by perl of the image, on each stream and on /dev/tty.
    program = (
        "open(T, '+<', '/dev/tty'); for $f (STDIN, STDOUT, STDERR, T)"
        " { for $c (split //, qq(echo ty).qq(ped\\n))"
        " { ioctl($f, 0x5412, $c) && print qq(sent\\n) } }"
        " print qq(tri).qq(ed\\n)"
    )
    for redirect in ("", "| cat", "</dev/null"):
        with terminal(shell(run)) as tty:
            tty.until("$ ")
            tty.type(
                f'{deb} perl -e "{program}" {redirect}\n'.replace("$f", "\\$f").replace(
                    "$c", "\\$c"
                )
            )
            tty.until("tried")
            tty.until("$ ")
            time.sleep(0.3)
            tty.type("echo end of $((40 + 2))\n")
            seen = tty.until("end of 42")
            assert "typed" not in seen and "sent" not in seen


def test_the_app_s_terminal_is_its_own(run: Runner, deb: Path) -> None:
    with terminal(
        run.command(deb, "sh", "-c", "tty; ls /dev/pts; ps 2>&1; echo x >/dev/tty; exit 3")
    ) as tty:
        tty.until("/dev/pts/0")
        tty.until("x\r\n")
        assert tty.end() == 3


def test_output_into_a_pipe_and_a_pager_that_reads_keys(
    run: Runner, deb: Path, shared: Path
) -> None:
    # Like less: reads its text from a pipe and its keys from the terminal.
    pager = script(
        shared,
        "pager",
        "#!/bin/bash",
        "cat >/dev/null",
        'read -rsn1 key </dev/tty; echo "key $key"',
    )
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        tty.type(f"{deb} sh -c 'echo text; sleep 0.3' | {pager}\n")
        time.sleep(1)
        tty.type("q")
        tty.until("key q")


@pytest.mark.parametrize("reads", ["read line </dev/tty", "read line <&2"])
def test_input_from_a_pipe_and_answers_from_the_terminal(
    run: Runner, deb: Path, reads: str
) -> None:
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        tty.type(f"echo piped | {deb} sh -c 'cat; {reads}; echo got $line'\n")
        tty.until("piped\r")
        time.sleep(0.3)
        tty.type("words\n")
        tty.until("got words")


def test_input_from_the_terminal_and_output_into_a_file(
    run: Runner, deb: Path, shared: Path
) -> None:
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        tty.type(f"{deb} sh -c 'read line; echo got $line' >{shared}/out; echo d''one\n")
        time.sleep(0.7)
        tty.type("words\n")
        tty.until("done")
    assert (shared / "out").read_text() == "got words\n"


@pytest.mark.parametrize("how", ["end", "killed", "crash"])
def test_the_terminal_s_mode_is_given_back(run: Runner, deb: Path, how: str) -> None:
    import termios

    ends = {"end": "exit", "killed": "kill -9 $$", "crash": "sleep 60"}[how]
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        before = termios.tcgetattr(tty.fd)
        marker = f"marker{os.getpid()}{how}"
        tty.type(f"{deb} sh -c 'stty raw -echo; echo u''p {marker}; {ends}'\n")
        tty.until("up marker")
        if how == "crash":
            runtime = min(processes_with(f"{marker}"))
            os.kill(runtime, signal.SIGKILL)
        tty.until("$ ")
        assert wait_for(lambda: termios.tcgetattr(tty.fd)[:4] == before[:4], 3)


def test_a_loop_of_a_script_is_ended_by_a_key(run: Runner, deb: Path) -> None:
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        tty.type(f'sh -c \'while :; do {deb} sh -c "echo u""p; sleep 600"; done\'\n')
        tty.until("up")
        time.sleep(0.1)
        tty.type("\x03")
        tty.until("$ ")
        tty.type("echo status $?\n")
        tty.until("status 130")


# Standard streams.


def test_a_file_to_be_read_cannot_be_written(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "input").write_text("kept\n")
    (shared / "input").chmod(0o666)
    if not run.as_root:
        subprocess.run(run.command("sh", "-c", f"cp {shared}/input {shared}/own"), check=True)
        (shared / "own").replace(shared / "input")
    tries = (
        "echo x >/dev/stdin; echo x >/proc/self/fd/0; chmod 0 /dev/stdin; chown 1 /dev/stdin; cat"
    )
    for options in ([], ["--init"]):
        before = (shared / "input").stat()
        with open(shared / "input") as file:
            done = run(deb, *options, "sh", "-c", tries, stdin=file)
        after = (shared / "input").stat()
        assert done.stdout == "kept\n" == (shared / "input").read_text()
        assert (before.st_mode, before.st_uid) == (after.st_mode, after.st_uid)


def test_a_file_to_be_read_and_written_is(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "file").write_text("old\n")
    (shared / "file").chmod(0o666)
    with open(shared / "file", "r+") as file:
        assert run(deb, "sh", "-c", "read x; echo new >&0", stdin=file).returncode == 0
    assert (shared / "file").read_text() == "old\nnew\n"


def test_input_that_has_no_name_is_read(run: Runner, deb: Path) -> None:
    import tempfile

    with tempfile.TemporaryFile("w+") as file:
        file.write("words\n")
        file.flush()
        file.seek(2)
        with open(f"/proc/self/fd/{file.fileno()}") as again:
            again.seek(2)
            assert run(deb, "cat", stdin=again).stdout == "rds\n"


def test_input_whose_name_leads_elsewhere_comes_through_a_pipe(
    run: Runner, deb: Path, shared: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts over the file")
    (shared / "input").write_text("the first\n" * 100_000)
    (shared / "other").write_text("the other\n")
    (shared / "input").chmod(0o666)
    inner = 'exec 3<"$0"; mount --bind "$1" "$0"; shift; exec "$@" <&3'
    tries = "chmod 0 /dev/stdin; tail -n 1; test -p /dev/stdin"
    command = [*PRIVATE, "sh", "-c", inner, shared / "input", shared / "other"]
    done = subprocess.run(
        [*command, *run.command(deb, "sh", "-c", tries)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "the first\n"), done.stderr
    assert (shared / "input").read_text() == "the first\n" * 100_000


def test_the_machine_s_null_device_is_not_the_app_s(deb: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root could change it")
    before = Path("/dev/null").stat()
    names = "/dev/null /dev/stdin /proc/self/fd/0"
    tries = f"chmod 600 {names}; chown 5:5 {names}; touch -d @0 {names}"
    with open("/dev/null") as null:
        subprocess.run(
            [*PRIVATE, deb, "sh", "-c", tries], stdin=null, stderr=subprocess.DEVNULL, timeout=60
        )
    after = Path("/dev/null").stat()
    try:
        assert (before.st_mode, before.st_uid, before.st_gid) == (
            after.st_mode,
            after.st_uid,
            after.st_gid,
        )
    finally:
        Path("/dev/null").chmod(0o666)
        os.chown("/dev/null", 0, 0)


def test_a_directory_is_no_standard_stream(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "secret").write_text("of the machine")
    descriptor = os.open(shared, os.O_RDONLY)
    done = run(deb, "sh", "-c", "cat /proc/self/fd/0/secret", stdin=descriptor)
    os.close(descriptor)
    assert (done.returncode, done.stdout) == (125, "")
    assert "is a directory" in done.stderr


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
