"""A directory whose files hold an image."""

from __future__ import annotations

import io
from pathlib import Path

from toolkit.errors import DockercError
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
        try:
            return io.FileIO(self._path / name)
        except OSError as error:
            raise DockercError(
                f"cannot open {self._path / name}: {error.strerror or error}"
            ) from error

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read(MAX_DOCUMENT)
