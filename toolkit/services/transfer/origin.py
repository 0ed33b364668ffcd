"""Where a file came from: an extended attribute of it, which no copy of its bytes has.

It is outside of the file, so that what was pulled is to the byte what was pushed.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.files.printable import show
from toolkit.images.reference import RegistryReference, parse_reference

_NAME = "user.dockerc.origin"


def write_origin(descriptor: int, reference: RegistryReference) -> None:
    """Without effect where the filesystem has no such attributes."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setxattr(descriptor, _NAME, str(reference).encode())


def read_origin(path: Path) -> RegistryReference | None:
    """None where it is not known; raises DockercError where it is no registry's name, or there is
    no file."""
    if not path.exists():
        raise AbsentError(f"{path}: there is no such file")
    if sys.platform != "linux":
        return None
    try:
        value = os.getxattr(path, _NAME)
    except OSError:
        return None
    try:
        reference = parse_reference(value.decode("ascii", "replace"))
    except DockercError:
        reference = None
    if not isinstance(reference, RegistryReference):
        raise DamagedError(f"{path}: its attribute {_NAME} names no image: {show(value)}")
    return reference


def known_origin(path: Path) -> RegistryReference:
    """The same; raises DockercError where it is not known."""
    reference = read_origin(path)
    if reference is None:
        raise AbsentError(
            f"{path}: where it came from is not known: it has no attribute {_NAME}; name the place,"
            f" `dockerc update {path} docker://REGISTRY/NAME:TAG`"
        )
    return reference
