"""The logs of runs in the background (`-d`), where the runtime puts them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import AbsentError, UsageError
from toolkit.files.lock import is_locked
from toolkit.files.regular import open_regular

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
"""The runtime's rule (process/detached.zig)."""
_PIECE = 1 << 16
_PAUSE = 0.1


def log_file(name: str) -> Path:
    """`$XDG_STATE_HOME/dockerc/NAME.log`; raises UsageError for what no run can be called."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name}: no run in the background has such a name")
    for variable, below in (("XDG_STATE_HOME", ""), ("HOME", ".local/state")):
        if (base := os.environ.get(variable, "")).startswith("/"):
            return Path(base, below, "dockerc", f"{name}.log")
    raise AbsentError("no place for logs: set HOME or XDG_STATE_HOME")


def read_log(path: Path, follow: bool) -> Iterator[bytes]:
    """What is in it; with `follow`, until the run that writes it has ended."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise AbsentError(f"{path}: there is no such log (dockerc ps lists runs)") from None
    with os.fdopen(descriptor, "rb") as file:
        while True:
            ended = not follow or not _is_written(file)
            while piece := file.read(_PIECE):
                yield piece
            if ended:
                return
            time.sleep(_PAUSE)


def _is_written(file: BinaryIO) -> bool:
    """A run holds a lock as long as it may write."""
    return is_locked(file.fileno())
