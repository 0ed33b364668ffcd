"""A program in a machine at the caller's terminal."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

import pytest
from machine_support import command
from terminal_support import Terminal

pytestmark = pytest.mark.slow
SCRIPT = """
before=$(stty -g); MACHINE; echo status $?; [ "$(stty -g)" = "$before" ] && echo same
"""


def test_a_shell(deb: Path) -> None:
    """Size, keys that are signals, and the terminal's settings afterwards."""
    line = shlex.join(command(deb, "-t", "-e", "PS1=> "))
    script = SCRIPT.replace("MACHINE", line)
    terminal = Terminal(["sh", "-c", script])
    try:
        terminal.resize(33, 101)
        terminal.until("root@", 60)
        terminal.type("stty size; tty; echo $TERM; test -t 2 && echo th''ree\r")
        shown = terminal.until("three\r\n")
        assert "33 101" in shown and "/dev/pts/0" in shown and "dumb" in shown
        terminal.resize(40, 90)
        terminal.type("while ! stty size | grep -x '40 90'; do sleep 0.1; done\r")
        terminal.until("\n40 90")
        # Until it runs, the key would be the shell's.
        terminal.type("sh -c 'echo sle''eps; exec sleep 100'\r")
        terminal.until("sleeps\r\n")
        terminal.type("\x03")
        terminal.until("root@")
        terminal.type("echo $?\r")
        terminal.until("\n130")
        terminal.resize(33, 101)
        terminal.type("exit 5\r")
        terminal.until("status 5")
        terminal.until("same")
    finally:
        terminal.close()


def test_the_terminal_is_restored_after_a_failure(deb: Path) -> None:
    """Whatever ends QEMU."""
    line = shlex.join(command(deb))
    script = SCRIPT.replace("MACHINE", line)
    terminal = Terminal(["sh", "-c", script])
    try:
        terminal.until("root@", 60)
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                session = (directory / "environ").read_bytes(), (directory / "cmdline").read_bytes()
            except OSError:
                continue
            if b"qemu-system" in session[1] and b"TERM=dumb" in session[0]:
                os.kill(int(directory.name), signal.SIGKILL)
        terminal.until("status 125")
        terminal.until("same")
    finally:
        terminal.close()
