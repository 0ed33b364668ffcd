"""Directories and files of this machine for a program in another one.

QEMU shares directories (virtio-9p). Files that are only read are copied into the machine's first
file system.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.bundle.baked import DRIVE, check_volume
from toolkit.errors import DockercError, RefusedError, UnsupportedError, UsageError
from toolkit.machine.guest import Share
from toolkit.machine.initramfs import Entry

_MAX_FILES = 64 << 20
"""Bytes of all files that are copied: they are in the machine's memory twice while it boots."""


@dataclass
class Shares:
    """What was asked for by -v and the like."""

    directories: list[Share] = field(default_factory=list)
    files: list[Entry] = field(default_factory=list)
    _size: int = 0

    def volume(self, text: str) -> str:
        """`SOURCE:TARGET[:MODE]` for the runtime in the machine; raises DockercError."""
        found = DRIVE.match(text) if sys.platform == "win32" else None
        drive = found[0] if found else ""
        source, target, read_only = check_volume(text.removeprefix(drive))
        return self.add(drive + source, target, read_only)

    def mount(self, text: str) -> str | None:
        """The same of docker's --mount; None for what needs nothing of this machine."""
        try:
            words = next(csv.reader(io.StringIO(text), strict=True))
        except (csv.Error, StopIteration):
            raise UsageError(f"--mount {text}: write type=bind,source=PATH,target=/PATH") from None
        fields = {name: value or "true" for name, _, value in (w.partition("=") for w in words)}
        if fields.get("type") != "bind":
            return None
        source = fields.get("source", fields.get("src", ""))
        target = fields.get("target", fields.get("destination", fields.get("dst", "")))
        read_only = fields.get("readonly", fields.get("ro", "false")) not in ("false", "0")
        if not source or not target.startswith("/"):
            raise UsageError(f"--mount {text}: write type=bind,source=PATH,target=/PATH")
        if not Path(source).exists():
            raise UsageError(f"--mount {text}: {source} does not exist")
        return self.add(source, target, read_only)

    def add(self, source: str, target: str, read_only: bool) -> str:
        """A volume for the runtime in the machine; like docker's, a missing directory is made."""
        path = Path(os.path.realpath(source))
        try:
            if not path.exists():
                path.mkdir(parents=True)
            status = path.stat()
        except OSError as error:
            raise DockercError(f"--volume {source}: {error.strerror}") from None
        mode = ":ro" if read_only else ""
        if stat.S_ISDIR(status.st_mode):
            tag = f"share{len(self.directories)}"
            self.directories.append(Share(tag, str(path), read_only))
            return f"/shares/{tag}:{target}{mode}"
        if not stat.S_ISREG(status.st_mode):
            raise UnsupportedError(
                f"--volume {source}: a machine gets directories and regular files alone"
            )
        if not read_only:
            raise UnsupportedError(
                f"--volume {source}: a single file can only be read in a machine; add :ro, or"
                " share its directory"
            )
        return f"{self._copy(path, status)}:{target}:ro"

    def _copy(self, path: Path, status: os.stat_result) -> str:
        self._size += status.st_size
        if self._size > _MAX_FILES:
            raise RefusedError(
                f"--volume {path}: files of more than {_MAX_FILES >> 20} MiB are not copied into a"
                " machine; share their directory"
            )
        try:
            with path.open("rb") as file:
                content = file.read(status.st_size)
        except OSError as error:
            raise DockercError(f"--volume {path}: {error.strerror}") from None
        name = f"files/{len(self.files)}"
        mode = stat.S_IFREG | stat.S_IMODE(status.st_mode)
        self.files.append(Entry(name, mode, content))
        return f"/{name}"
