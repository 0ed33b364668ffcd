"""When an image was made: the time of whatever is made from it, so that it comes out the same."""

from __future__ import annotations

import os
from datetime import datetime, timezone

from toolkit.errors import UsageError

_MAX_TIME = 0xFFFFFFFF


def image_time(created: object) -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, else what an image's configuration calls `created`,
    else 0. Raises UsageError for a SOURCE_DATE_EPOCH that is no time."""
    epoch = source_date_epoch()
    if epoch is not None:
        return epoch
    try:
        # Python 3.10 reads neither a `Z` nor nanoseconds.
        time = datetime.fromisoformat(str(created)[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    return min(max(int(time.timestamp()), 0), _MAX_TIME)


def source_date_epoch() -> int | None:
    """What the variable says (reproducible-builds.org), None where it is not set."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return None
    if not epoch.isdigit() or int(epoch) > _MAX_TIME:
        raise UsageError(f"SOURCE_DATE_EPOCH is {epoch!r}; it must be seconds since 1970")
    return int(epoch)
