"""Signals for this process are the program's, in a machine whose numbers are Linux's."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NUMBERS = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGBREAK": 2,
    "SIGQUIT": 3,
    "SIGUSR1": 10,
    "SIGUSR2": 12,
    "SIGALRM": 14,
    "SIGTERM": 15,
}
"""Of Linux; macOS and Windows have others, or none."""


@contextmanager
def passing_signals(tell: Callable[[int], None], resized: Callable[[], None]) -> Iterator[None]:
    """Call `tell` with Linux's number of each signal, from a thread; those ignored stay so.

    Python runs handlers in the main thread alone, which may wait for something: a byte in a
    socket tells the thread at once.
    """
    numbers = {}
    for name, linux in _NUMBERS.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            numbers[int(number)] = linux
    handled = [*numbers]
    size = getattr(signal, "SIGWINCH", None)
    if size is not None:
        handled.append(size)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in handled}

    def watch() -> None:
        while data := reader.recv(1):
            if data[0] in numbers:
                tell(numbers[data[0]])
            elif data[0] == size:
                resized()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()
