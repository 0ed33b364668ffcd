"""Room on the disk: a few kilobytes can unfold to terabytes, so it is asked for before."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from toolkit.errors import RefusedError


def free_bytes(place: int | str | Path) -> int:
    """Bytes left on the disk of an open file or a path; raises OSError.

    Windows tells it of paths only: of an open file, writing it will tell.
    """
    if isinstance(place, int) and not hasattr(os, "statvfs"):
        return sys.maxsize
    return shutil.disk_usage(place).free


def check_room(what: str, needed: int, place: int | str | Path) -> None:
    """Raise DockercError unless the disk of an open file or a path has `needed` bytes left for
    `what`, a plural."""
    free = free_bytes(place)
    if needed > free:
        raise RefusedError(
            f"{what} take {needed} bytes and the disk has {free} left; "
            "free some space or choose another place"
        )
