"""Flags of open(2), each nothing where a system has it not.

Windows opens files as text unless told otherwise, which would change some of their bytes.
"""

from __future__ import annotations

import os

BINARY: int = getattr(os, "O_BINARY", 0)
DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
"""Nobody waits for the other end of a pipe; it means nothing to files."""
PATH_ONLY: int = getattr(os, "O_PATH", os.O_RDONLY)
NAMELESS: int = getattr(os, "O_TMPFILE", 0)
"""A file without a name, which goes by itself when we are killed."""
NEW_FILE: int = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY
"""Of a name that nothing has."""
