"""A directory whose files hold an image."""

from __future__ import annotations

import io
from pathlib import Path

from toolkit.errors import DockercError, RefusedError
from toolkit.files.regular import open_regular
from toolkit.limits import MAX_DOCUMENT


class Directory:
    """Its files by name."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def size(self, name: str) -> int | None:
        try:
            return (self._path / name).stat().st_size
        except OSError:
            return None

    def open(self, name: str) -> io.FileIO:
        """A regular file; raises DockercError for anything else, such as a pipe that has no end."""
        try:
            return io.FileIO(open_regular(self._path / name))
        except OSError as error:
            raise DockercError(
                f"cannot open {self._path / name}: {error.strerror or error}"
            ) from error

    def read(self, name: str) -> bytes:
        """A whole document; raises DockercError when it is absent or too large."""
        with self.open(name) as file:
            data = file.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise RefusedError(f"{self._path / name} has more than {MAX_DOCUMENT} bytes")
        return data
