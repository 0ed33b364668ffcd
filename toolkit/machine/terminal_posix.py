"""Raw mode of a terminal (termios(3))."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def raw_mode() -> Iterator[None]:
    """Of standard input."""
    # Windows has neither.
    termios, tty = import_module("termios"), import_module("tty")
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
