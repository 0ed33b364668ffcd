"""What the entries of an image's layers may take of memory: a few kilobytes can unfold to millions.

All layers of an image share it, since all their entries are in memory when they are merged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.errors import RefusedError
from toolkit.layers.entry import Entry

FREE = 160 << 20
"""Bytes that any image may take."""
RATIO = 50
"""Bytes more for each byte that is stored: headers of real files, which are of 512 bytes, compress
to no less than a twentieth."""
_ENTRY = 256
"""Bytes of an entry without its texts."""


def cost(entry: Entry) -> int:
    """Bytes that an entry takes, roughly."""
    texts = len(entry.path) + len(entry.target)
    return _ENTRY + texts + sum(len(name) + len(value) for name, value in entry.xattrs)


class Budget:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._left = FREE
        self._lock = threading.Lock()

    def take(self, taken: int, stored: int) -> None:
        """So many bytes more, of so many that are stored; raises DockercError when it is spent."""
        with self._lock:
            self._left += RATIO * stored - taken
            if self._left < 0:
                raise RefusedError(
                    "its files, or their names and attributes, are far more than its size can"
                    " account for: taken for an attack"
                )

    @contextmanager
    def attempt(self) -> Iterator[Budget]:
        """For work that may be done anew: what it takes is given back if it fails."""
        attempt = _Attempt(self)
        try:
            yield attempt
        except BaseException:
            with self._lock:
                self._left -= attempt.change
            raise


class _Attempt(Budget):
    def __init__(self, whole: Budget) -> None:
        self.change = 0
        self._whole = whole

    def take(self, taken: int, stored: int) -> None:
        self.change += RATIO * stored - taken
        self._whole.take(taken, stored)
