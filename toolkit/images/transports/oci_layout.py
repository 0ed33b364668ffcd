"""`oci:DIR` and `oci-archive:FILE`: the OCI image layout (image-spec, image-layout.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.images.blobs import missing_blob, read_blob
from toolkit.images.manifest import (
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    describe,
    parse_manifest,
)
from toolkit.images.reference import LayoutReference
from toolkit.images.selection import Selector
from toolkit.images.source import Image, Platform
from toolkit.images.transports.directory_files import Directory
from toolkit.images.verified import ByteSource, verified

_NAME = "org.opencontainers.image.ref.name"
# containerd's and buildx's; the full name where `ref.name` holds the tag alone.
_FULL_NAME = "io.containerd.image.name"
_NAMES_SHOWN = 20


class _Files(Protocol):
    """The files of a layout by name, in a directory or in a tar."""

    def size(self, name: str) -> int | None: ...
    def open(self, name: str) -> ByteSource: ...
    def read(self, name: str) -> bytes: ...


class _Layout:
    """A `BlobStore` over the files of a layout."""

    def __init__(self, files: _Files, reference: LayoutReference) -> None:
        self._files = files
        self._reference = reference

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        where = f"the manifest {descriptor.digest} of {self._reference}"
        return read_blob(self, descriptor, where)

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        name = _blob_name(descriptor.digest)
        if self._files.size(name) is None:
            raise missing_blob(descriptor, str(self._reference))
        where = f"blob {descriptor.digest} of {self._reference}"
        return verified(self._files.open(name), descriptor.digest, descriptor.size, where)

    def stop(self) -> None:
        """Files are there at once."""

    def entries(self) -> list[Descriptor]:
        """What the reference names. Raises DockercError, with the names there are, if nothing."""
        if self._reference.digest:
            return [self._by_digest(self._reference.digest)]
        path = self._reference.path
        if self._files.size("index.json") is None:
            raise DamagedError(f"{path} is not an OCI image layout: it has no index.json")
        where = f"index.json of {path}"
        index = parse_manifest(self._files.read("index.json"), where, OCI_INDEX)
        entries = index.entries if isinstance(index, Index) else ()
        if self._reference.tag is not None:
            return self._by_name(self._reference.tag, entries)
        names = {_name(entry) for entry in entries if not entry.is_no_image}
        if len(names) > 1:
            raise DockercError(
                f"{self._reference} holds several images; name one of them: {_listed(entries)}"
            )
        if not names:
            raise AbsentError(f"{self._reference} holds no image")
        return list(entries)

    def _by_name(self, tag: str, entries: Sequence[Descriptor]) -> list[Descriptor]:
        named = [
            entry
            for entry in entries
            if tag in (entry.annotations.get(_NAME), entry.annotations.get(_FULL_NAME))
        ]
        if not named:
            raise AbsentError(
                f"{self._reference.path} has no image named '{tag}'; "
                f"it has {_listed(entries) or 'none with a name'}"
            )
        return named

    def _by_digest(self, digest: str) -> Descriptor:
        name = _blob_name(digest)
        size = self._files.size(name)
        if size is None:
            raise AbsentError(f"{self._reference.path} has no image {digest}")
        descriptor = Descriptor(OCI_MANIFEST, digest, size)
        return describe(self.read_manifest(descriptor), str(self._reference), digest)


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _name(entry: Descriptor) -> str | None:
    return entry.annotations.get(_FULL_NAME) or entry.annotations.get(_NAME)


def _listed(entries: Sequence[Descriptor]) -> str:
    names = sorted({name for entry in entries if (name := entry.annotations.get(_NAME))})
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


@contextmanager
def open_layout(reference: LayoutReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when it is absent, malformed or of other platforms."""
    path = Path(reference.path)
    if not path.exists():
        raise AbsentError(f"{reference.path} does not exist")
    if reference.transport == "oci":
        if not path.is_dir():
            raise AbsentError(
                f"{reference.path} is not a directory; an archive is named oci-archive:FILE"
            )
        yield _select(Directory(reference.path), reference, platform)
        return
    if path.is_dir():
        raise DockercError(f"{reference.path} is a directory; name it oci:DIR")
    from toolkit.images.transports.tarball import open_tarball

    with open_tarball(reference.path) as tarball:
        yield _select(tarball, reference, platform)


def _select(files: _Files, reference: LayoutReference, platform: Platform) -> Image:
    layout = _Layout(files, reference)
    return Selector(layout, str(reference), platform).select(layout.entries())
