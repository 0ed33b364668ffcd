"""Where executables start."""

from __future__ import annotations

import sys

from toolkit.errors import UnsupportedError


def need_linux(instead: str) -> None:
    """Raises UnsupportedError on other systems; `instead` is what starts the program there."""
    if sys.platform != "linux":
        raise UnsupportedError(
            f"executables start on Linux alone; `{instead}` runs it in a machine of its own"
        )
