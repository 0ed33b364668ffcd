"""Where a whole image waits to be read: a file without a name, gone with the process."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from toolkit.errors import DockercError

# /tmp is memory on many machines; this is for what is large (file-hierarchy(7)).
_LARGE = Path("/var/tmp")


def temporary_file() -> BinaryIO:
    """An empty file to write and read. $TMPDIR has the last word on where it lies."""
    directory = None if "TMPDIR" in os.environ or not os.access(_LARGE, os.W_OK) else _LARGE
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=directory))
    except OSError as error:
        raise DockercError(
            f"there is no place for a temporary file: {error.strerror}; set TMPDIR"
        ) from None
