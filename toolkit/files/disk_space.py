"""Room on the disk: a few kilobytes can unfold to terabytes, so it is asked for before."""

from __future__ import annotations

import shutil

from toolkit.errors import RefusedError


def check_room(what: str, needed: int, file: int) -> None:
    """Raise DockercError unless the disk of an open file has `needed` bytes left for `what`, a
    plural."""
    free = shutil.disk_usage(file).free
    if needed > free:
        raise RefusedError(
            f"{what} take {needed} bytes and the disk has {free} left; "
            "free some space or choose another place"
        )
