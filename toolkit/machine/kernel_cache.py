"""Kernels in the cache: what QEMU boots, and a record of the modules.

Both are named after what they came from: the digest of a file or image, the architecture, and a
tag, which tells whether the file is as it was without reading it. A record begins with the digest
of the rest and has that of the kernel, so a damaged one is found out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DockercError
from toolkit.files.atomic import atomic_file
from toolkit.files.json_document import Document, parse_document
from toolkit.limits import MAX_DOCUMENT
from toolkit.machine.kernel_drivers import MAX_LOADED, MAX_MODULES, Module
from toolkit.machine.kernel_image import MAX_IMAGE
from toolkit.services.cache import Cache, own_directory

_RECORD, _IMAGE = ".record", ".kernel"
_LENGTH = struct.Struct("<I")
_MAX_RECORD = MAX_LOADED + MAX_DOCUMENT + 64


@dataclass(frozen=True)
class KeptKernel:
    """A kernel in the cache, all of it read and checked but the image, which is only checked."""

    image: Path
    release: str
    modules: tuple[Module, ...]
    lacks: frozenset[str]
    """Of DRIVERS and OPTIONS."""
    beside: str
    """The state of what was read beside the kernel; empty where nothing was."""


class KernelCache:
    """The kernels of one architecture."""

    def __init__(self, architecture: str) -> None:
        self._cache = Cache()
        self._directory = self._cache.kernels
        self.architecture = architecture
        try:
            own_directory(self._directory)
        except OSError as error:
            raise DockercError(
                f"cannot use the cache {self._directory}: {error.strerror};"
                " name another by XDG_CACHE_HOME"
            ) from None

    def tagged(self, tag: str) -> KeptKernel | None:
        """The kernel of a file that is as it was when it got this tag."""
        for path in self._directory.glob(f"*-{self.architecture}-{tag}{_RECORD}"):
            return self._read(path.name.removesuffix(_RECORD))
        return None

    def made_of(self, digest: str, tag: str) -> KeptKernel | None:
        """The kernel that was made of what has this digest; the tag is its own from now on."""
        new = self._name(digest, tag)
        for path in self._directory.glob(f"{digest}-{self.architecture}-*{_RECORD}"):
            old = path.name.removesuffix(_RECORD)
            with contextlib.suppress(OSError):
                for suffix in (_IMAGE, _RECORD) if old != new else ():
                    self._path(old, suffix).replace(self._path(new, suffix))
            return self._read(new)
        return None

    def image(self, digest: str, tag: str) -> Path:
        """Where the kernel made of this digest is, or would be."""
        return self._path(self._name(digest, tag), _IMAGE)

    def keep(self, digest: str, tag: str, image: bytes, kernel: KeptKernel) -> None:
        """Write down what was made of it; raises DockercError."""
        name = self._name(digest, tag)
        for suffix, data in ((_IMAGE, image), (_RECORD, _encode(image, kernel))):
            with atomic_file(self._path(name, suffix), 0o600, sync=False) as file:
                file.write(data)

    def forget(self, digest: str, tag: str) -> None:
        """Remove what turned out to be another's."""
        for suffix in (_IMAGE, _RECORD):
            self._cache.forget(self._path(self._name(digest, tag), suffix))

    def _name(self, digest: str, tag: str) -> str:
        return f"{digest}-{self.architecture}-{tag}"

    def _path(self, name: str, suffix: str) -> Path:
        return self._directory / f"{name}{suffix}"

    def _read(self, name: str) -> KeptKernel | None:
        """None for what is not there, damaged, or not ours."""
        image, record = self._path(name, _IMAGE), self._path(name, _RECORD)
        if not (self._cache.has(image) and self._cache.has(record)):
            return None
        try:
            with record.open("rb") as file:
                document, modules = _decode(file.read(_MAX_RECORD + 1))
            with image.open("rb") as file:
                data = file.read(MAX_IMAGE + 1)
            if hashlib.sha256(data).hexdigest() != document.text("image"):
                return None
            lacks = frozenset(document.texts("lacks"))
            beside = document.text("beside")
            return KeptKernel(image, document.text("release"), modules, lacks, beside)
        except (OSError, DockercError):
            return None


def _encode(image: bytes, kernel: KeptKernel) -> bytes:
    header = json.dumps(
        {
            "image": hashlib.sha256(image).hexdigest(),
            "release": kernel.release,
            "lacks": sorted(kernel.lacks),
            "modules": [
                {"name": each.name, "size": len(each.content), "needs": each.needs}
                for each in kernel.modules
            ],
            "beside": kernel.beside,
        }
    ).encode()
    rest = b"".join([_LENGTH.pack(len(header)), header, *(each.content for each in kernel.modules)])
    return hashlib.sha256(rest).digest() + rest


def _decode(data: bytes) -> tuple[Document, tuple[Module, ...]]:
    """Raises DockercError for what is damaged."""
    digest, rest = data[:32], memoryview(data)[32:]
    if len(rest) < _LENGTH.size or hashlib.sha256(rest).digest() != digest:
        raise DockercError("a record of a kernel is damaged")
    position = _LENGTH.size + _LENGTH.unpack_from(rest)[0]
    document = parse_document(bytes(rest[_LENGTH.size : position]), "a record of a kernel")
    modules = []
    for each in document.objects("modules")[:MAX_MODULES]:
        size = each.integer("size") or 0
        content = bytes(rest[position : position + size])
        modules.append(Module(each.text("name"), content, tuple(each.texts("needs"))))
        position += size
    return document, tuple(modules)
