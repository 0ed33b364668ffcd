"""The sockets of a registry's connections: each can be shut from outside, and is when it stalls.

A timeout of a socket begins anew with every byte, so that a server can keep a reader for ever; and
a thread that waits for data hears of nothing else. Shutting the socket (shutdown(2)) ends both.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TICK = 0.5
"""Seconds between two looks at what is overdue."""


@dataclass(eq=False)
class Limit:
    """A piece of work on a socket that must be done in time; `expired` when it was not."""

    held: socket.socket
    end: float
    expired: bool = False


class Sockets:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._held: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._limits: dict[int, Limit] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._watching = False

    def hold(self, connection: Any) -> socket.socket:
        """A handle of the connection that stays valid when TLS takes its socket over."""
        held = socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        with self._lock:
            self._held.add(held)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="stalls", daemon=True).start()
        if self._stopped.is_set():
            _shut(held)
        return held

    @contextlib.contextmanager
    def limit(self, held: socket.socket, seconds: float) -> Iterator[Limit]:
        """Shut the socket unless the block ends in time."""
        limit = Limit(held, time.monotonic() + seconds)
        self._limits[id(limit)] = limit
        try:
            yield limit
        finally:
            del self._limits[id(limit)]

    def stop(self) -> None:
        """Shut them all, and those that come."""
        self._stopped.set()
        with self._lock:
            for held in list(self._held):
                _shut(held)

    def _watch(self) -> None:
        while not self._stopped.wait(_TICK):
            now = time.monotonic()
            for limit in list(self._limits.values()):
                if now > limit.end:
                    limit.expired = True
                    _shut(limit.held)


def _shut(held: socket.socket) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile, by either side
        held.shutdown(socket.SHUT_RDWR)
