"""`dir:DIR`, as skopeo writes it: the manifest, and each blob in a file named by its digest.

There is no specification but containers/image, `directory/`. A directory that holds an index
(`skopeo copy --all`) has the manifests in it as HEX.manifest.json.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import AbsentError, DamagedError
from toolkit.images.blobs import missing_blob
from toolkit.images.manifest import Descriptor, describe
from toolkit.images.reference import DirectoryReference
from toolkit.images.selection import Selector
from toolkit.images.source import Image, Platform
from toolkit.images.transports.directory_files import Directory
from toolkit.images.verified import verified

_TOP = "manifest.json"


class _SkopeoDirectory:
    """A `BlobStore` over the files."""

    def __init__(self, reference: DirectoryReference) -> None:
        self._reference = reference
        self._files = Directory(reference.path)

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        name = f"{_file_name(descriptor.digest)}.manifest.json"
        # The manifest of a directory that holds no index is that of the image itself.
        if self._files.size(name) is None and descriptor == self.root():
            name = _TOP
        with self._open(name, descriptor, "manifest") as stream:
            return stream.read()

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[BinaryIO]:
        return self._open(_file_name(descriptor.digest), descriptor, "blob")

    def stop(self) -> None:
        """Files are there at once."""

    def root(self) -> Descriptor:
        """The manifest or index that the directory holds."""
        path = self._reference.path
        if self._files.size(_TOP) is None:
            raise DamagedError(f"{path} is not a directory that skopeo wrote: it has no {_TOP}")
        return describe(self._files.read(_TOP), f"{_TOP} of {path}")

    def _open(self, name: str, descriptor: Descriptor, kind: str) -> BinaryIO:
        if self._files.size(name) is None:
            raise missing_blob(descriptor, str(self._reference))
        where = f"{kind} {descriptor.digest} of {self._reference}"
        return verified(self._files.open(name), descriptor.digest, descriptor.size, where)


def _file_name(digest: str) -> str:
    """Only sha256 goes without saying."""
    algorithm, _, digits = digest.partition(":")
    return digits if algorithm == "sha256" else f"{algorithm}-{digits}"


@contextmanager
def open_directory(reference: DirectoryReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when it is absent, malformed or of other platforms."""
    if not Path(reference.path).is_dir():
        raise AbsentError(f"{reference.path} is not a directory")
    directory = _SkopeoDirectory(reference)
    yield Selector(directory, str(reference), platform).select([directory.root()])
