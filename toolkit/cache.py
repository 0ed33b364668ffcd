"""The packs of layers that were built before: `$XDG_CACHE_HOME/dockerc/packs`.

A pack's name says what it was made of: the layer's diff-id, the packing parameters, the version of
zstd. Packs are written beside, renamed when whole, and checked by digest when used, so neither
concurrent builds nor killed ones can harm. The least recently used go when there are too many.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SUFFIX = ".pack"
_UNFINISHED = ".unfinished-"
_UNFINISHED_AGE = 24 * 3600
MAX_SIZE = 20 << 30
"""Bytes of packs kept."""


@dataclass(frozen=True)
class CachedPack:
    """A pack in the cache; `used` is in seconds since 1970."""

    path: Path
    size: int
    used: float

    @property
    def name(self) -> str:
        """What it was made of."""
        return self.path.name[: -len(_SUFFIX)]


class PackCache:
    """A directory of packs, shared by all builds of a user."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or _default_directory()

    def find(self, name: str) -> Path | None:
        """The pack of this name; it counts as used now."""
        path = self.directory / f"{name}{_SUFFIX}"
        try:
            own_directory(self.directory)
            os.utime(path)
            return path if is_ours(path) else None
        except OSError:
            return None

    def forget(self, path: Path) -> None:
        """Remove a pack that turned out to be damaged."""
        with contextlib.suppress(OSError):
            path.unlink()

    def new_file(self) -> Path:
        """An empty file for a pack to be; raises OSError where the cache cannot be written."""
        own_directory(self.directory)
        descriptor, path = tempfile.mkstemp(prefix=_UNFINISHED, dir=self.directory)
        os.close(descriptor)
        return Path(path)

    def keep(self, path: Path, name: str) -> None:
        """Give a whole pack its name; whoever comes later replaces an equal one."""
        path.replace(self.directory / f"{name}{_SUFFIX}")

    def packs(self) -> list[CachedPack]:
        """All packs, the most recently used first."""
        found = []
        for path, status in self._files():
            if path.name.endswith(_SUFFIX):
                found.append(CachedPack(path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda pack: pack.used, reverse=True)

    def prune(self, max_size: int = MAX_SIZE) -> list[CachedPack]:
        """Remove the least recently used beyond `max_size` bytes, and what killed builds left.

        Returns the packs that went.
        """
        gone, total = [], 0
        for pack in self.packs():
            total += pack.size
            if total > max_size:
                self.forget(pack.path)
                gone.append(pack)
        for path, status in self._files():
            old = status.st_mtime < time.time() - _UNFINISHED_AGE or max_size == 0
            if path.name.startswith(_UNFINISHED) and old:
                self.forget(path)
        return gone

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        with contextlib.suppress(OSError), os.scandir(self.directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another build was quicker
                    yield Path(entry.path), entry.stat()


def own_directory(directory: Path) -> None:
    """Make a directory of the cache, and the one that it is in, ours alone.

    Whoever else could write there would choose what builds are made of and what `dockerc run`
    starts. Raises OSError where they cannot be made or are another user's.
    """
    directory.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (directory.parent, directory):
        each.mkdir(0o700, exist_ok=True)
        if not is_ours(each):
            raise PermissionError(errno.EPERM, "it is another user's", str(each))
        if each.stat().st_mode & 0o022:
            each.chmod(0o700)


def is_ours(path: Path) -> bool:
    """Whether it belongs to the user who asks; always so where files have no owner's number."""
    return not hasattr(os, "geteuid") or path.stat().st_uid == os.geteuid()


def _default_directory() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "dockerc", "packs")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()), "dockerc", "packs")
    return Path.home() / ".cache" / "dockerc" / "packs"
