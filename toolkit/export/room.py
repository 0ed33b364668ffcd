"""Room on the disk: a few kilobytes can unfold to terabytes, so it is asked for before."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.errors import DockercError


def check_room(what: str, needed: int, directory: Path) -> None:
    """Raise DockercError unless `directory` has `needed` bytes left for `what`, a plural."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise DockercError(
            f"{what} take {needed} bytes and {directory} has {free} left; "
            "free some space or choose another place"
        )
