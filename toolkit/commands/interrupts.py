"""Signals that end a command: what is half-written goes first, but nothing keeps it for long.

A thread may wait for a server, for a name to be looked up or for a disk, and Python waits for its
threads. So who is told to end does so after a moment, whatever still waits; what is left then is
what SIGKILL leaves, and the next run removes it (toolkit/files/temporary.py).
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

_GRACE = 0.7
"""Seconds to put things in order."""
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_received: list[int] = []


def end_when_told() -> None:
    """Handle the signals that end a program, save those that it was started to ignore (nohup)."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, _end)
    # Python's handlers run when the main thread comes to it; a byte of this is written at once.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach(), warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader, handled), name="signals", daemon=True)
    watch.start()


def exit_if_told() -> None:
    """End at once, without waiting for any thread, if there was a signal."""
    if _received:
        os._exit(128 + _received[0])


def _end(number: int, _: object) -> None:
    if _received:
        return None  # things are being put in order already
    _received.append(number)
    # As an exception, so that what is half-written goes.
    raise SystemExit(128 + number)


def _watch(reader: socket.socket, handled: list[int]) -> None:
    while data := reader.recv(1):
        if data[0] in handled:
            time.sleep(_GRACE)
            os._exit(128 + data[0])
