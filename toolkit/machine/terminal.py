"""The caller's terminal: its size, and raw mode while a program in a machine has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The size of a terminal, in characters."""

    rows: int
    columns: int


def window() -> Window | None:
    """Of the caller's terminal; None where input and output are not both one."""
    if not (os.isatty(0) and os.isatty(1)):
        return None
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return None
    return Window(rows, columns)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the program as they are, and so does what it writes to the terminal.

    What was before is restored, however the block ends.
    """
    if sys.platform == "win32":
        from toolkit.machine.terminal_windows import raw_mode
    else:
        from toolkit.machine.terminal_posix import raw_mode
    with raw_mode():
        yield
