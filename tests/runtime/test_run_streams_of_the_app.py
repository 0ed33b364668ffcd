"""The app's terminal and standard streams are its own, or what its caller gave it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from leftovers import processes_with, wait_for
from support import Runner
from test_run_app_and_runtime import PRIVATE, script
from test_run_terminal import shell, terminal

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
        assert wait_for(lambda: termios.tcgetattr(tty.fd)[:4] == before[:4])


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
