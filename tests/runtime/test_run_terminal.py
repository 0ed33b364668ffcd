"""At a terminal and in pipes the executable behaves like any other program."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from leftovers import processes_with, wait_for
from support import Runner
from terminal_support import terminal


def shell(run: Runner) -> list[str]:
    """An interactive shell with job control, as that user."""
    return run.command("bash", "--norc", "--noprofile", "--noediting", "-i")


def left(marker: str) -> list[int]:
    """Processes that carry the marker on their command line, once they had time to end."""
    wait_for(lambda: not processes_with(marker))
    return processes_with(marker)


STREAMS = "for fd in 0 1 2; do test -e /proc/$$/fd/$fd || echo $fd >>/out/closed; done"


def test_streams_that_are_closed_are_closed(run: Runner, deb: Path, shared: Path) -> None:
    script = f"exec \"$@\" -v {shared}:/out sh -c '{STREAMS}' <&- >&- 2>&-"
    assert run("sh", "-c", script, "-", deb).returncode == 0
    assert (shared / "closed").read_text() == "0\n1\n2\n"


def test_a_file_is_read_where_the_caller_was(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "file").write_text("one\ntwo\nthree\n")
    script = f'{{ read first; "$0" head -n 1 >>{shared}/out; cat; }} <{shared}/file'
    assert run("bash", "-c", script, deb).returncode == 0
    # The offset is shared: head(1) goes back to the end of its last line.
    assert run("bash", "-c", script, deb).stdout == "three\n"
    assert (shared / "out").read_text() == "two\ntwo\n"


def test_each_kind_of_input_is_what_it_is(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "file").write_text("")
    script = "test -t 0 && echo terminal; test -p /dev/stdin && echo pipe; test -f /dev/stdin &&"
    words = [deb, "sh", "-c", script + " echo file; true"]
    assert run(*words, input="").stdout == "pipe\n"
    with open(shared / "file") as file:
        assert run(*words, stdin=file).stdout == "file\n"
    with terminal(run.command(*words)) as tty:
        tty.until("terminal\r\n")
        assert tty.end() == 0


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_the_window_s_size_and_its_changes(run: Runner, deb: Path, init: list[str]) -> None:
    script = "trap 'stty size' WINCH; stty size; echo up; while :; do sleep 0.02; done"
    with terminal(
        run.command("sh", "-c", 'read go; exec "$@"', "-", deb, *init, "sh", "-c", script)
    ) as tty:
        tty.resize(33, 99)
        tty.type("go\n")
        tty.until("33 99\r\n")
        tty.until("up")
        tty.resize(44, 111)
        tty.until("44 111\r\n")


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_ctrl_z_then_fg_and_bg(run: Runner, deb: Path, shared: Path, init: list[str]) -> None:
    script = "while :; do date +%s%N >/out/now; sleep 0.02; done"
    words = " ".join([str(deb), *init, f"-v {shared}:/out sh -c '{script}'"])

    def goes_on() -> bool:
        before = (shared / "now").read_text()
        return wait_for(lambda: (shared / "now").read_text() not in ("", before))

    def stands_still() -> bool:
        before = (shared / "now").read_text()
        time.sleep(0.3)
        return (shared / "now").read_text() == before

    with terminal(shell(run)) as tty:
        tty.type(f"{words}; echo status $?\n")
        wait_for_file(shared / "now")
        tty.type("\x1a")
        tty.until("Stopped")
        assert stands_still()
        tty.type("fg\n")
        tty.until("sh -c")
        assert goes_on()
        tty.type("\x1a")
        tty.until("Stopped")
        tty.type("bg\n")
        tty.until("&")
        assert goes_on()
        tty.type("kill %1; wait %1; echo ended $?\n")
        tty.until("ended 143")
        tty.type("exit\n")
        tty.end()


def wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_reading_in_the_background_stops_it(run: Runner, deb: Path) -> None:
    with terminal(shell(run)) as tty:
        tty.type(f"{deb} sh -c 'read line; echo got $line' &\n")
        tty.type("sleep 0.5\n")
        tty.until("Stopped")
        tty.type("fg\n")
        tty.until("read line")
        tty.type("words\n")
        tty.until("got words")
        # What is typed before the program has ended is the program's, as with `docker run -it`.
        tty.until("$ ")
        tty.type("exit\n")
        assert tty.end() == 0


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_ctrl_z_where_no_shell_could_continue_it(run: Runner, deb: Path, init: list[str]) -> None:
    # The leader of a session (xterm -e app): the kernel then ignores the key (setpgid(2),
    # orphaned process groups).
    with terminal(run.command(deb, *init, "sh", "-c", "echo up; read line; echo got $line")) as tty:
        tty.until("up")
        tty.type("\x1a")
        time.sleep(0.2)
        tty.type("words\n")
        tty.until("got words")
        assert tty.end() == 0


@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_keys_end_what_has_no_handler(
    run: Runner, deb: Path, key: str, number: int, init: list[str]
) -> None:
    marker = f"6{os.getpid()}{number}"
    with terminal(shell(run)) as tty:
        tty.type(f"{deb} {' '.join(init)} sh -c 'echo u''p; exec sleep {marker}'\n")
        tty.until("up")
        time.sleep(0.1)
        tty.type(key)
        tty.until("$ ")
        tty.type("echo status $?\n")
        tty.until(f"status {128 + number}")
    assert left(marker) == []


def test_a_key_that_the_app_handles_is_its_own(run: Runner, deb: Path) -> None:
    script = "trap 'echo caught' INT; echo u''p; while :; do sleep 0.02; done"
    with terminal(shell(run)) as tty:
        tty.type(f'{deb} sh -c "{script}"\n')
        tty.until("up\r\n")
        for _ in range(3):
            tty.type("\x03")
            tty.until("caught")
        tty.type("\x1c")
        tty.until("$ ")
        tty.type("echo status $?\n")
        tty.until(f"status {128 + signal.SIGQUIT}")


def test_an_interactive_shell_has_job_control(run: Runner, deb: Path) -> None:
    # The job itself says that it has the terminal; what is typed does not hold what is waited for.
    job = "sh -c 'echo g\"\"o; exec sleep 600'"
    with terminal(shell(run)) as tty:
        tty.until("$ ")
        tty.type(f"{deb} -e PS1='i''n> ' bash --norc --noediting -i\n")
        assert "job control" not in tty.until("in> ")
        tty.type(f"{job}\n")
        tty.until("go\r\n")
        tty.type("\x1a")
        tty.until("Stopped")
        tty.until("in> ")
        tty.type("kill %1; echo still $((40 + 2))\n")
        tty.until("still 42")
        tty.until("in> ")
        tty.type(f"{job}; echo\n")
        tty.until("go\r\n")
        tty.type("\x03")
        tty.until("in> ")
        tty.type("exit 7\n")
        tty.until("$ ")
        tty.type("echo status $?\n")
        tty.until("status 7")


def test_the_terminal_is_given_back(run: Runner, deb: Path) -> None:
    # A shell of its own process group takes the terminal, and cannot know whom to give it back to:
    # the caller's group has no number in its namespace. This caller does not take it by itself.
    script = '"$0" -e PS1="in> " bash --norc --noediting -i; read line; echo got $line'
    with terminal(run.command("sh", "-c", script, deb)) as tty:
        tty.until("in> ")
        tty.type("exit\n")
        time.sleep(0.3)
        tty.type("words\n")
        tty.until("got words")


@pytest.mark.parametrize("init", [[], ["--init"]])
@pytest.mark.parametrize("app", ["sleep 600", "bash --norc --noediting -i"])
def test_it_ends_with_its_terminal(run: Runner, deb: Path, app: str, init: list[str]) -> None:
    marker = f"MARKER=m{os.getpid()}"
    for command in (run.command(deb, *init, "-e", marker, *app.split()), shell(run)):
        with terminal(command) as tty:
            if command == shell(run):
                tty.until("$ ")
                tty.type(f"{deb} {' '.join(init)} -e {marker} {app}\n")
            time.sleep(0.5)
            tty.hang_up()
            tty.end()
        assert left(marker) == []


@pytest.mark.parametrize("init", [[], ["--init"]])
def test_an_app_can_tidy_up_when_its_terminal_is_gone(
    run: Runner, deb: Path, shared: Path, init: list[str]
) -> None:
    script = "trap 'echo hung up >/out/told; exit' HUP; echo up; while :; do sleep 0.02; done"
    with terminal(run.command(deb, *init, "-v", f"{shared}:/out", "sh", "-c", script)) as tty:
        tty.until("up")
        tty.hang_up()
        tty.end()
    assert (shared / "told").read_text() == "hung up\n"


def test_a_pipe_that_nobody_reads_ends_it(run: Runner, deb: Path) -> None:
    began = time.monotonic()
    script = '"$0" $1 sh -c "yes; exit" | head -n 1; echo ${PIPESTATUS[0]}'
    done = run("bash", "-c", script, deb, "--init")
    assert (done.stdout, done.stderr) == ("y\n141\n", "")
    assert run("bash", "-c", script, deb).stdout.splitlines()[0] == "y"
    assert time.monotonic() - began < 10


CRASH = "kill -{0} $$"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_signal_s_number_is_in_the_status(run: Runner, deb: Path, number: int) -> None:
    # Its own process 1 no app can kill; what that starts, it can.
    assert run(deb, "sh", "-c", f"sh -c '{CRASH.format(number)}'").returncode == 128 + number
    assert run(deb, "--init", "sh", "-c", CRASH.format(number)).returncode == 128 + number


def test_orphans_are_reaped_and_end_with_the_app(run: Runner, deb: Path) -> None:
    marker = f"marker-{os.getpid()}-orphans"
    script = (
        "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & exit 0'; done;"
        f" setsid -f sh -c 'trap \"\" HUP TERM; sleep 600; : {marker}';"
        " sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    )
    for init in ([], ["--init"]):
        assert run(deb, *init, "bash", "-c", script).stdout == "0\n"
        assert left(marker) == []
