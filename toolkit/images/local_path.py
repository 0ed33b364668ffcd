"""A path where an image's name was expected: what was meant, by what stands there."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit.errors import DockercError, UsageError
from toolkit.executable.footer import read_footer
from toolkit.images.reference import has_transport

_ARCHIVE = re.compile(r"\.(?:tar(?:\.[a-z0-9]{1,5})?|tgz|txz|tbz2?)$")
_PATH = ("/", "./", "../", "~", "\\")
_USTAR = 257
"""Where a tar's first header has its magic."""


def refuse_path(text: str) -> None:
    """Raise UsageError where `text` names a file or directory and no image, saying what it is.

    A name without a slash counts as a path only if it looks like an archive's: images have names
    such as `debian`, and so have directories.
    """
    path = Path(text)
    if has_transport(text) or not (text.startswith(_PATH) or _ARCHIVE.search(text)):
        return
    if path.is_dir():
        if (path / "index.json").is_file() and (path / "oci-layout").is_file():
            raise UsageError(f"'{text}' is an OCI layout; write oci:{text}")
        if (path / "manifest.json").is_file() and (path / "version").is_file():
            raise UsageError(f"'{text}' is a directory that skopeo wrote; write dir:{text}")
        if (path / "Dockerfile").is_file() or (path / "Containerfile").is_file():
            raise UsageError(
                f"'{text}' is what an image is built from, and no image; build it first:"
                f" `dockerc build {text} -o FILE`"
            )
    elif path.is_file():
        if _is_executable(path):
            start = text if "/" in text else f"./{text}"
            raise UsageError(
                f"'{text}' is an executable that dockerc made, and no image; start it: {start}"
            )
        if names := _archive(path):
            meant = " or ".join(f"{name}:{text}" for name in names)
            raise UsageError(f"'{text}' is an archive; write {meant}")
    elif text.startswith(_PATH) and not path.exists():
        raise UsageError(f"'{text}' is a path, and nothing is there")


def _is_executable(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            read_footer(file, str(path))
    except (DockercError, OSError):
        return False
    return True


def _archive(path: Path) -> list[str]:
    """The transports that may read it; none where it is no tar, nor a compressed one."""
    from toolkit.images.transports.tarball import open_tarball

    kinds = ["docker-archive", "oci-archive"]
    try:
        with path.open("rb") as file:
            is_plain = file.read(_USTAR + 5)[_USTAR:] == b"ustar"
        if not is_plain:  # to unpack it would take its time
            return kinds if _ARCHIVE.search(path.name) else []
        with open_tarball(str(path)) as tarball:
            if tarball.size("manifest.json") is not None:
                return kinds[:1]
            return kinds[1:] if tarball.size("oci-layout") is not None else []
    except (DockercError, OSError):
        return []
