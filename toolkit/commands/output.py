"""Where `dockerc build` writes to: a file that is named or named after the image, or a stream."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands.overwrite import check_overwrite
from toolkit.errors import DockercError, RefusedError, UsageError

if TYPE_CHECKING:
    from toolkit.services.context import Recipe

_STANDARD = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_ARCHIVE_SUFFIX = r"\.(?:tar|tgz|tbz2?|txz)(?:\.\w+)?$"
_SHORT = 12
"""Digits of a digest that docker shows."""


@dataclass(frozen=True)
class Output:
    """A path, and whether a file there that is no executable of ours may be overwritten."""

    path: Path
    force: bool

    @property
    def is_standard(self) -> bool:
        """Whether it is standard output."""
        return str(self.path) in _STANDARD

    def of(self, architecture: str) -> Output:
        """One of several: NAME-amd64."""
        return replace(self, path=self.path.with_name(f"{self.path.name}-{architecture}"))

    def check(self, reference: str) -> None:
        """Raises DockercError where writing would destroy what is not to be replaced."""
        if self.is_standard:
            if sys.stdout.isatty():
                raise DockercError("an executable cannot go to a terminal; redirect the output")
            return
        if not self.path.is_file() or not self.path.stat().st_size:
            return
        _, _, source = reference.partition(":")
        # The file of `oci-archive:FILE:TAG` ends before one of the colons.
        parts = source.split(":")
        for end in range(1, len(parts) + 1):
            path = Path(":".join(parts[:end]))
            if path.is_file() and path.samefile(self.path):
                raise RefusedError(f"{self.path} is the image itself; give another name")
        check_overwrite(self.path, self.force)

    @contextmanager
    def writing(self) -> Iterator[Path]:
        """Where to write the file; goes to standard output at the end, if that was meant."""
        if not self.is_standard:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="dockerc-") as directory:
            yield Path(directory, "app")
            with Path(directory, "app").open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
            sys.stdout.buffer.flush()


def output_name(reference: str, recipe: Recipe | None) -> Path:
    """What the file is called where nobody says: docker's last path component and tag.

    Raises UsageError when the image's name gives none.
    """
    if recipe is None:
        name = _name_of(reference)
    else:
        name = _name_of(recipe.tag) if recipe.tag else Path(recipe.context).resolve().name
    if not name or name in (".", ".."):
        raise UsageError("name the file to write: `dockerc build IMAGE --output FILE`")
    return Path(name)


def _name_of(text: str) -> str:
    from toolkit.images import reference as kinds

    reference = kinds.parse_reference(text)
    if isinstance(reference, kinds.LayoutReference | kinds.ArchiveReference):
        if isinstance(reference, kinds.ArchiveReference) and reference.name:
            return _joined(reference.name.repository, reference.name.tag, None)
        base = Path(reference.path).resolve().name
        tag, digest = getattr(reference, "tag", None), getattr(reference, "digest", None)
        return _joined(re.sub(_ARCHIVE_SUFFIX, "", base), tag, digest)
    if isinstance(reference, kinds.DirectoryReference):
        return Path(reference.path).resolve().name
    if not isinstance(reference, kinds.RegistryReference):
        image = reference.image
        if re.fullmatch(r"@?(?:sha256:)?[0-9a-f]{64}", image):
            return image.lstrip("@").removeprefix("sha256:")[:_SHORT]
        reference = kinds.parse_name(image.rpartition("]")[2])
    return _joined(reference.repository, reference.tag, reference.digest)


def _joined(repository: str, tag: str | None, digest: str | None) -> str:
    name = repository.rpartition("/")[2]
    if digest:
        return f"{name}-{digest.partition(':')[2][:_SHORT]}"
    return name if tag in (None, "latest") else f"{name}-{tag}"
