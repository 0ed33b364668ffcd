"""A kernel in an image, as LinuxKit publishes them: /kernel, and /kernel.tar with its modules."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, cast

from toolkit.errors import AbsentError, DockercError, RefusedError
from toolkit.files.anonymous_file import temporary_file
from toolkit.files.disk_space import free_bytes
from toolkit.images.source import Image
from toolkit.images.transports.tarball import read_tarball
from toolkit.layers.stream import LayerStream
from toolkit.layers.tar import HARD_LINK, REGULAR, TarEntry, TarReader
from toolkit.limits import MAX_CONFIG
from toolkit.machine.kernel_files import modules_of
from toolkit.machine.kernel_image import MAX_IMAGE
from toolkit.machine.kernel_source import KernelSource

MAX_MODULES_TAR = 2 << 30
"""Bytes of /kernel.tar."""
_SPARE_ROOM = 64 << 20
_PIECE = 1 << 20
_FILES = {"kernel": MAX_IMAGE, "kernel.tar": MAX_MODULES_TAR, "config": MAX_CONFIG}
"""What is read of the image, and how large it may be."""


@contextmanager
def image_source(image: Image) -> Iterator[KernelSource]:
    """The kernel of an image, its files usable until the context ends; raises DockercError."""
    where = image.reference
    with ExitStack() as stack:
        found = _read_layers(image, stack)
        if "kernel" not in found:
            raise AbsentError(
                f"{where} has no file /kernel: give an image of a kernel, as LinuxKit publishes"
                " them"
            )
        archive = None
        if modules := found.get("kernel.tar"):
            reader = cast("io.BufferedReader[Any]", modules)
            archive = stack.enter_context(read_tarball(reader, f"/kernel.tar of {where}"))
        yield KernelSource(
            data=found["kernel"].read(),
            config=lambda _: found["config"].read() if "config" in found else None,
            modules=lambda release: modules_of(archive, release, where) if archive else None,
            where=where,
        )


def _read_layers(image: Image, stack: ExitStack) -> dict[str, BinaryIO]:
    """The last file of each name, in unnamed files at their beginning."""
    found: dict[str, BinaryIO] = {}
    for layer in image.layers:
        with (
            image.open_layer(layer) as compressed,
            LayerStream(compressed, layer.diff_id) as stream,
        ):
            reader = TarReader(stream)
            for entry in reader:
                directory, _, name = posixpath.normpath(_text(entry)).lstrip("/").rpartition("/")
                if directory:
                    continue
                if name == ".wh..wh..opq":
                    found.clear()
                found.pop(name.removeprefix(".wh."), None)
                if name in _FILES:
                    found[name] = _keep(reader, entry, name, image.reference, stack)
            stream.finish()
    for file in found.values():
        file.seek(0)
    return found


def _keep(reader: TarReader, entry: TarEntry, name: str, where: str, stack: ExitStack) -> BinaryIO:
    """The file's bytes in an unnamed file, which is closed with the stack."""
    if entry.type == HARD_LINK or entry.type != REGULAR:
        raise DockercError(f"/{name} of {where} is no regular file")
    if entry.size > _FILES[name]:
        raise RefusedError(f"/{name} of {where} has {entry.size} bytes; it may have {_FILES[name]}")
    file = stack.enter_context(temporary_file())
    try:
        if entry.size + _SPARE_ROOM > free_bytes(file.name):
            raise RefusedError(f"there is no room to unpack /{name} of {where}; set TMPDIR")
        for block in reader.blocks(entry, _PIECE):
            file.write(bytes(_PIECE * block) if isinstance(block, int) else block)
        file.truncate(entry.size)
    except OSError as error:
        raise DockercError(f"cannot unpack /{name} of {where}: {error.strerror}") from None
    return file


def _text(entry: TarEntry) -> str:
    return entry.name.decode("utf-8", "surrogateescape")
