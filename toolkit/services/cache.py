"""What is kept between builds: `$XDG_CACHE_HOME/dockerc`, packs of layers, executables and kernels.

A pack's name says what it was made of: the layer's diff-id, the packing parameters, the version of
zstd. An executable's, which `dockerc run` keeps: the image's digest and platform, the tool's
version. Both are written beside, renamed when whole, and packs are checked by digest when used, so
neither concurrent builds nor killed ones can harm. The least recently used go when there is too
much; whoever has one open, a program that runs included, has it until the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from toolkit.files.location import open_location
from toolkit.files.temporary import new_file, sweep

_SUFFIX = ".pack"
_KERNELS = "kernels"
MAX_SIZE = 20 << 30
"""Bytes kept."""


@dataclass(frozen=True)
class Cached:
    """A file of the cache; `used` is in seconds since 1970."""

    path: Path
    size: int
    used: float

    @property
    def kind(self) -> str:
        """`pack`, `executable` or `kernel`."""
        if self.path.parent.name == _KERNELS:
            return "kernel"
        return "pack" if self.path.name.endswith(_SUFFIX) else "executable"

    @property
    def name(self) -> str:
        """What it was made of."""
        return self.path.name.removesuffix(_SUFFIX)


class Cache:
    """The directories of packs and executables, shared by all builds and runs of a user."""

    def __init__(self, directory: Path | None = None) -> None:
        directory = directory or _default_directory()
        self.packs, self.apps = directory / "packs", directory / "apps"
        self.names = directory / "names"
        """See `image_names`."""
        self.kernels = directory / _KERNELS
        """See `machine.kernel_cache`."""

    def pack(self, name: str) -> Path:
        """Where the pack of this name is, or would be."""
        return self.packs / f"{name}{_SUFFIX}"

    def app(self, name: str) -> Path:
        """Where the executable of this name is, or would be."""
        return self.apps / name

    def has(self, path: Path) -> bool:
        """Whether it is there and was put there by us; it counts as used now."""
        try:
            own_directory(path.parent)
            os.utime(path)
            return is_ours(path) and path.is_file()
        except OSError:
            return False

    def forget(self, path: Path) -> None:
        """Remove what turned out to be damaged."""
        with contextlib.suppress(OSError):
            path.unlink()

    def new_pack(self, name: str) -> tuple[int, Path]:
        """A file for a pack to be, open; raises OSError where the cache cannot be written."""
        own_directory(self.packs)
        with open_location(self.pack(name)) as location:
            descriptor, made = new_file(location)
        return descriptor, self.packs / made

    def keep(self, path: Path, name: str) -> None:
        """Give a whole pack its name; whoever comes later replaces an equal one."""
        path.replace(self.pack(name))

    def files(self) -> list[Cached]:
        """All there is, the most recently used first."""
        found = [*_files(self.packs), *_files(self.apps), *_files(self.kernels)]
        return sorted(found, key=lambda file: file.used, reverse=True)

    def beyond(self, max_size: int) -> list[Cached]:
        """The least recently used files beyond `max_size` bytes."""
        files = self.files()
        totals = accumulate(file.size for file in files)
        return [file for file, total in zip(files, totals, strict=True) if total > max_size]

    def prune(self, max_size: int = MAX_SIZE) -> list[Cached]:
        """Remove the least recently used beyond `max_size` bytes, and what killed builds left.

        Returns the files that went.
        """
        gone = self.beyond(max_size)
        for file in gone:
            self.forget(file.path)
        for directory in (self.packs, self.apps, self.names, self.kernels):
            sweep(directory)
        return gone


def _files(directory: Path) -> Iterator[Cached]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # another build was quicker
                if not entry.name.startswith("."):
                    status = entry.stat()
                    yield Cached(Path(entry.path), status.st_size, status.st_mtime)


def own_directory(directory: Path) -> None:
    """Make a directory of the cache, and the one that it is in, ours alone.

    Whoever else could write there would choose what builds are made of and what `dockerc run`
    starts. Raises OSError where they cannot be made or are another user's.
    """
    directory.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (directory.parent, directory):
        each.mkdir(0o700, exist_ok=True)
        # A symlink of another user's would lead to a directory of ours that is no cache.
        if not is_ours(each) or not is_ours(each, follow=False):
            raise PermissionError(errno.EPERM, "it is another user's", str(each))
        if each.stat().st_mode & 0o022:
            each.chmod(0o700)


def is_ours(path: Path, *, follow: bool = True) -> bool:
    """Whether it belongs to the user who asks; always so where files have no owner's number."""
    return not hasattr(os, "geteuid") or path.stat(follow_symlinks=follow).st_uid == os.geteuid()


def _default_directory() -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base, "dockerc")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()), "dockerc")
    return Path.home() / ".cache" / "dockerc"
