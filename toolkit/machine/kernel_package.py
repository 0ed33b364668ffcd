"""A kernel in a package of Debian: an ar archive with a tar of files (deb(5))."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.files.part import FilePart
from toolkit.images.transports.tarball import Tarball, read_tarball
from toolkit.limits import MAX_CONFIG
from toolkit.machine.kernel_files import ROOTS, modules_of, read_member
from toolkit.machine.kernel_image import MAX_IMAGE
from toolkit.machine.kernel_source import KernelSource

MAGIC = b"!<arch>\n"
_HEADER_SIZE = 60
_MAX_MEMBERS = 16
_KERNEL = re.compile(r"boot/vmlinu[xz]-[^/]+")

_MODULES = tuple(f"{root}/" for root in ROOTS)


@contextmanager
def package_source(path: Path) -> Iterator[KernelSource]:
    """The kernel of a package, its files usable until the context ends; raises DockercError."""
    try:
        with path.open("rb") as file:
            offset, size = _data_member(file, str(path))
            part = io.BufferedReader(FilePart(file, offset, size))
            with read_tarball(part, str(path)) as archive:
                yield _source(archive, str(path))
    except OSError as error:
        raise DockercError(f"cannot read {path}: {error.strerror or error}") from None


def _source(archive: Tarball, where: str) -> KernelSource:
    kernels = sorted(filter(_KERNEL.fullmatch, archive.names()))
    if not kernels:
        raise AbsentError(
            f"{where} has no kernel (boot/vmlinuz-…); if it only depends on the package of one,"
            " as linux-image-amd64 does, give that"
        )
    if not any(name.startswith(_MODULES) for name in archive.names()):
        raise AbsentError(
            f"{where} has a kernel without its modules, which Ubuntu has in linux-modules-*.deb:"
            " unpack both by `dpkg-deb -x FILE DIR` into one directory, and give the vmlinuz in"
            " its boot"
        )

    def config(release: str) -> bytes | None:
        name = f"boot/config-{release}"
        return read_member(archive, name, MAX_CONFIG, where) if archive.size(name) else None

    return KernelSource(
        data=read_member(archive, kernels[0], MAX_IMAGE, where),
        config=config,
        modules=lambda release: modules_of(archive, release, where),
        where=where,
    )


def _data_member(file: BinaryIO, where: str) -> tuple[int, int]:
    """Offset and size of data.tar; raises DockercError."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    position = len(MAGIC)
    is_package = file.read(position) == MAGIC
    for count in range(_MAX_MEMBERS):
        file.seek(position)
        header = file.read(_HEADER_SIZE)
        name, size = header[:16].rstrip(b" /"), header[48:58].rstrip()
        if not is_package or header[58:] != b"`\n" or not size.isdigit():
            break
        if count == 0 and name != b"debian-binary":
            break
        start = position + _HEADER_SIZE
        if name.startswith(b"data.tar"):
            if start + int(size) > end:
                raise DamagedError(f"{where}: the package is cut short")
            return start, int(size)
        position = start + int(size) + int(size) % 2
    raise DamagedError(f"{where} is no package of Debian, or a damaged one: it has no data.tar")
