"""`containers-storage:NAME`: what podman and buildah hold, through podman or skopeo.

The storage is a private format of theirs with locks, drivers and id maps. Either program writes
an image to its standard output as `docker save` does, layers uncompressed, so that nothing is
compressed in between and no file with a name is left behind. podman goes first: it knows
`hello` for `localhost/hello`, as on its own command line.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from toolkit.errors import DockercError
from toolkit.files.anonymous_file import temporary_file
from toolkit.images.reference import StorageReference
from toolkit.images.source import Image, Platform
from toolkit.images.transports.docker_archive import only_image
from toolkit.images.transports.tarball import Tarball

# Not /dev/stdout: skopeo removes its target when it fails, and root may remove that link.
_STANDARD_OUTPUT = "/proc/self/fd/1"


@contextmanager
def open_storage_image(reference: StorageReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when no program or no such image is there."""
    command = _command(reference)
    with temporary_file() as file:
        _run(command, file, reference)
        yield only_image(Tarball(file, f"what came of {reference}"), str(reference), platform)


def _run(command: list[str], file: BinaryIO, reference: StorageReference) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise DockercError(f"cannot run {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        reason = _reason(done.stderr.decode(errors="replace"))
        raise DockercError(f"{command[0]} does not give {reference}: {reason}")


def _reason(text: str) -> str:
    """The last line, out of the form that logrus gives it."""
    line = (text.strip().splitlines() or ["no reason given"])[-1]
    if match := re.search(r'level=\w+ msg="((?:[^"\\]|\\.)*)"', line):
        line = match[1].replace('\\"', '"')
    return "".join(char for char in line[:500] if char.isprintable())


def _command(reference: StorageReference) -> list[str]:
    # podman has no word for the graph that `[driver@root]` names.
    if shutil.which("podman") and not reference.image.startswith("["):
        save = ["podman", "save", "--quiet", "--format", "docker-archive", "--"]
        return [*save, reference.image]
    if shutil.which("skopeo"):
        copy = ["skopeo", "copy", "--quiet", "--insecure-policy"]
        return [*copy, str(reference), f"docker-archive:{_STANDARD_OUTPUT}"]
    raise DockercError(
        "containers-storage: is read through podman or skopeo, and neither is installed; install "
        "one, or save the image elsewhere and name docker-archive:FILE"
    )
