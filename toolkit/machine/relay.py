"""The caller's streams and signals, on their way to and from a machine.

Each stream has a thread and a port of its own, so that one that nobody reads holds up no other.
The control port has lines; what they are stands in runtimes/src/machine/session.zig.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from dataclasses import dataclass, field

from toolkit.machine.terminal import window

_CHUNK = 1 << 16
_MAX_LINE = 200


@dataclass
class Exit:
    """How the program ended, and how many bytes of each stream it wrote."""

    status: int
    written: tuple[int, int]


class Control:
    """The control port; its lines may come from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._data = b""

    def tell(self, line: str) -> None:
        """Nothing if nobody is there any more."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(f"{line}\n".encode())

    def wait_for_exit(self) -> Exit | None:
        """None where the machine ends before it tells."""
        while len(self._data) < _MAX_LINE:
            line, newline, rest = self._data.partition(b"\n")
            if newline:
                words = line.split()
                if len(words) == 4 and words[0] == b"exit" and all(map(bytes.isdigit, words[1:])):
                    status, out, errors = map(int, words[1:])
                    return Exit(status & 0xFF, (out, errors))
                self._data = rest
                continue
            try:
                data = self._connection.recv(_CHUNK)
            except OSError:
                data = b""
            if not data:
                return None
            self._data += data
        return None

    def tell_window(self) -> None:
        """The size of the caller's terminal."""
        if found := window():
            self.tell(f"size {found.rows} {found.columns}")


@dataclass
class Output:
    """A stream of the program, copied to the caller's."""

    connection: socket.socket
    descriptor: int
    control: Control
    copied: int = 0
    is_open: bool = True
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        """In a thread that ends with the connection."""
        threading.Thread(target=self._copy, daemon=True).start()

    def _copy(self) -> None:
        while True:
            try:
                data = self.connection.recv(_CHUNK)
                if data:
                    _write(self.descriptor, data)
            except OSError:
                # The caller's reader is gone, or its disk is full: the program is to notice.
                self.control.tell(f"closed {self.descriptor}")
                self._end()
                return
            if not data:
                self._end()
                return
            with self._changed:
                self.copied += len(data)
                self._changed.notify()

    def _end(self) -> None:
        with self._changed:
            self.is_open = False
            self._changed.notify()

    def wait_for(self, count: int) -> None:
        """Until so many bytes were copied, or no more can be."""
        with self._changed:
            while self.is_open and self.copied < count:
                self._changed.wait()


def send_input(connection: socket.socket, control: Control) -> None:
    """Copy standard input, in a thread; its end is told with the number of bytes before it."""
    threading.Thread(target=_send, args=(connection, control), daemon=True).start()


def _send(connection: socket.socket, control: Control) -> None:
    sent = 0
    try:
        while data := _read():
            connection.sendall(data)
            sent += len(data)
    except OSError:
        return  # the program is gone
    control.tell(f"end {sent}")


def make_binary() -> None:
    """Windows would translate ends of lines."""
    if sys.platform == "win32":
        import msvcrt

        for descriptor in range(3):
            msvcrt.setmode(descriptor, os.O_BINARY)


def _read() -> bytes:
    try:
        return os.read(0, _CHUNK)
    except OSError:
        return b""  # closed, a directory, a terminal that was hung up


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # the caller's other processes may have made it so
            _wait_until_writable(descriptor)


def _wait_until_writable(descriptor: int) -> None:
    if sys.platform == "win32":
        import time

        time.sleep(0.01)
    else:
        import select

        select.select([], [descriptor], [])
