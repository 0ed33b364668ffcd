"""Raw mode of a console: keys and output as a terminal of Unix has them (SetConsoleMode)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_INPUT, _OUTPUT = -10, -11
_PROCESSED, _LINE, _ECHO, _VIRTUAL_INPUT = 0x1, 0x2, 0x4, 0x200
_PROCESSED_OUTPUT, _VIRTUAL_OUTPUT, _NO_RETURN = 0x1, 0x4, 0x8


@contextmanager
def raw_mode() -> Iterator[None]:
    """Of the console that standard input and output are."""
    windows: Any = ctypes  # which has no windll elsewhere
    kernel = windows.windll.kernel32
    handles = [kernel.GetStdHandle(number) for number in (_INPUT, _OUTPUT)]
    before = [ctypes.c_uint32(), ctypes.c_uint32()]
    for handle, mode in zip(handles, before, strict=True):
        kernel.GetConsoleMode(handle, ctypes.byref(mode))
    keys = before[0].value & ~(_PROCESSED | _LINE | _ECHO) | _VIRTUAL_INPUT
    shown = before[1].value | _PROCESSED_OUTPUT | _VIRTUAL_OUTPUT | _NO_RETURN
    try:
        kernel.SetConsoleMode(handles[0], keys)
        kernel.SetConsoleMode(handles[1], shown)
        yield
    finally:
        for handle, mode in zip(handles, before, strict=True):
            kernel.SetConsoleMode(handle, mode)
