"""A directory that is held open: whatever others move meanwhile, names are made in this one.

Windows opens no directories, so there it is a path. Nobody else can rename what is on the way
there, since what is in it is open; but its names need a check: some mean something else than a file
in this directory.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

from toolkit.files.flags import DIRECTORY, NEW_FILE, NO_FOLLOW

_READ = os.O_RDONLY | DIRECTORY
_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])(\..*)?"
)
_MEANINGFUL = re.compile(r'[\x00-\x1f<>:"/\\|?*]|[ .]$')


class OpenDirectory:
    """`descriptor` is None where directories cannot be opened; `path` is right only there.

    The methods take the name of anything in it, follow no link, and raise OSError.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path, self.descriptor = path, descriptor

    @property
    def target(self) -> Any:
        """Itself for chmod, chown, utime and listdir of os: a descriptor or a path."""
        return self._path if self.descriptor is None else self.descriptor

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    def copy(self) -> OpenDirectory:
        """The same, to be closed apart."""
        return OpenDirectory(self._path, self.descriptor and os.dup(self.descriptor))

    def make(self, name: str) -> OpenDirectory:
        """A new directory in it, mode 0700, opened."""
        os.mkdir(self.name(name), 0o700, dir_fd=self.descriptor)
        return self.enter(name)

    def enter(self, name: str) -> OpenDirectory:
        """A directory in it, opened."""
        if self.descriptor is None:
            return OpenDirectory(self._path / name, None)
        flags = _READ | NO_FOLLOW
        return OpenDirectory(self._path, os.open(name, flags, dir_fd=self.descriptor))

    def parent(self) -> OpenDirectory:
        """The directory that it is in, opened."""
        if self.descriptor is None:
            return OpenDirectory(self._path.parent, None)
        return OpenDirectory(self._path, os.open("..", _READ, dir_fd=self.descriptor))

    def create(self, name: str, mode: int) -> int:
        """A descriptor of a new file, to write; its mode is less the umask."""
        return os.open(self.name(name), NEW_FILE, mode, dir_fd=self.descriptor)

    def write(self, name: str, data: bytes) -> None:
        """A new file, mode 0644 less the umask."""
        with open(self.create(name, 0o644), "wb") as file:
            file.write(data)

    def names(self) -> list[str]:
        """All names in it."""
        return os.listdir(self.target)  # noqa: PTH208 - a descriptor

    def rename(self, old: str, new: str) -> None:
        """Rename in it, over what has the new name."""
        ends = {"src_dir_fd": self.descriptor, "dst_dir_fd": self.descriptor}
        os.replace(self.name(old), self.name(new), **ends)  # noqa: PTH105

    def link(self, name: str, top: OpenDirectory, path: str) -> None:
        """One more name of a file, whose path from the directory `top` has no links in it."""
        if self.descriptor is None:
            os.link(top._path / path, self.name(name))
        else:
            ends = {"src_dir_fd": top.descriptor, "dst_dir_fd": self.descriptor}
            os.link(path, name, follow_symlinks=False, **ends)

    def symlink(self, target: bytes, name: str) -> bool:
        """A symlink; False on Windows, which has other roots and asks for a right."""
        if self.descriptor is not None:
            os.symlink(target, name, dir_fd=self.descriptor)
        return self.descriptor is not None

    def special(self, name: str, kind: int, device: tuple[int, int] = (0, 0)) -> bool:
        """A pipe or device, mode 0600; False where the system makes none in open directories."""
        mknod = getattr(os, "mknod", None)
        if mknod not in os.supports_dir_fd:
            return False
        makedev: Any = getattr(os, "makedev", None)
        mknod(name, 0o600 | kind, makedev(*device), dir_fd=self.descriptor)
        return True

    def set_mode(self, mode: int) -> None:
        """Its own mode, where directories have one."""
        if self.descriptor is not None:
            os.chmod(self.descriptor, mode)  # noqa: PTH101

    def name(self, name: str) -> str:
        """What os takes for a name in it, beside `dir_fd`; raises OSError for one that Windows
        takes for a device, another directory or a part of a file."""
        if self.descriptor is not None:
            return name
        if _MEANINGFUL.search(name) or _RESERVED.fullmatch(name.lower()):
            raise OSError(errno.EINVAL, "this system has no such names", name)
        return str(self._path / name)
