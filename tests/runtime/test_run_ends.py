"""However an executable ends, nothing is left: at its own end, by a signal, by a key."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from leftovers import leaving_nothing, processes_with, wait_for
from support import Runner, need


def test_nothing_is_left_after_a_normal_end(run: Runner, deb: Path) -> None:
    run(deb, "true")
    with leaving_nothing():
        run(deb, "sh", "-c", "sleep 60 & cat /etc/os-release")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_stub_ends_all(run: Runner, deb: Path, number: signal.Signals) -> None:
    run(deb, "true")
    with leaving_nothing():
        # sleep has no handler, and pid 1 of a namespace ignores what it does not handle.
        command = run.command(deb, "sh", "-c", "echo up; sleep 600 & exec sleep 601")
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            assert processes_with("sleep\x00601") or wait_for(
                lambda: bool(processes_with("sleep\x00601"))
            )
            process.send_signal(number)
            status = process.wait(timeout=60)
        assert status in (-number, 128 + number)
        assert wait_for(lambda: not processes_with("sleep\x00600"))
        assert wait_for(lambda: not processes_with("sleep\x00601"))


def test_a_handled_signal_reaches_the_app(run: Runner, deb: Path) -> None:
    script = (
        "trap 'echo caught; exit 3' TERM; trap 'echo usr' USR1; echo up;"
        " while :; do sleep 0.05; done"
    )
    with subprocess.Popen(
        run.command(deb, "sh", "-c", script), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "usr\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(timeout=60) == 3


def test_a_handler_that_is_done_at_once(deb: Path) -> None:
    """The status is the program's, though it has no handler any more when that is looked up."""
    need("strace")
    # The runtime sends its program the signal, and goes on half a second later.
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=kill:delay_exit=500000"]
    script = "trap 'trap - TERM; echo caught; sleep 2; exit 9' TERM; echo up; sleep 60 & wait"
    command = [*slow, deb, "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.stdout.readline() == "caught\n"
        assert process.wait(timeout=60) == 9


def test_what_the_caller_ignores(run: Runner, deb: Path) -> None:
    # As in docker's containers, the app has every signal's default action: it can catch them, and
    # ends of a pipe without a reader. What the caller ignores (nohup) is not passed on to it.
    script = "trap 'echo hup' HUP; grep SigIgn /proc/self/status; read x; echo $x"
    ignoring = ["sh", "-c", 'trap "" HUP INT PIPE; exec "$@"', "sh"]
    with subprocess.Popen(
        run.command(*ignoring, deb, "sh", "-c", script),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "SigIgn:\t0000000000000000\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.stdin.write("on\n")
        process.stdin.close()
        assert process.stdout.readline() == "on\n"
        assert process.wait(timeout=60) == 0


def test_ctrl_c_at_a_terminal(run: Runner, deb: Path) -> None:
    with leaving_nothing():
        pid, terminal = pty.fork()
        if pid == 0:
            command = run.command(deb, "sh", "-c", "echo up; exec sleep 602")
            os.execvp(command[0], command)
        output = b""
        while b"up" not in output:
            assert select.select([terminal], [], [], 20)[0]
            output += os.read(terminal, 1000)
        wait_for(lambda: bool(processes_with("sleep\x00602")))
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        code = os.waitstatus_to_exitcode(status)
        assert code in (130, -signal.SIGINT)
