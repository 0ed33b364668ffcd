"""A pseudo-terminal in which a command runs, as at a user's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator


class Terminal:
    """A pseudo-terminal with a session of its own, in which a command runs."""

    def __init__(self, command: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="$ ", TERM="dumb")
            os.execvp(command[0], command)
        self.output = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str, seconds: float = 20) -> str:
        """Wait for this output; what was seen up to its end is used up."""
        deadline = time.monotonic() + seconds
        while text.encode() not in self.output:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], (text, self.output)
            try:
                read = os.read(self.fd, 4096)
            except OSError:  # the other side is closed
                read = b""
            assert read, (text, self.output)
            self.output += read
        seen, _, self.output = self.output.partition(text.encode())
        return seen.decode()

    def end(self, seconds: float = 10) -> int:
        """How the command ends, as subprocess tells it."""
        deadline = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.output
            with contextlib.suppress(OSError):  # what is not read may keep it from ending
                if self.fd >= 0 and select.select([self.fd], [], [], 0.01)[0]:
                    self.output += os.read(self.fd, 4096)

    def hang_up(self) -> None:
        os.close(self.fd)
        self.fd = -1

    def close(self) -> None:
        if self.fd >= 0:
            self.hang_up()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@contextlib.contextmanager
def terminal(command: list[str]) -> Iterator[Terminal]:
    """A command at a terminal; ended with the block."""
    opened = Terminal(command)
    try:
        yield opened
    finally:
        opened.close()
