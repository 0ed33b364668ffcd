"""`docker://`: a registry that speaks the OCI distribution-spec or docker's registry API v2."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import requests
import urllib3

from toolkit.errors import DockercError
from toolkit.images.document import parse_document
from toolkit.images.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Index,
    parse_manifest,
)
from toolkit.images.reference import RegistryReference
from toolkit.images.registry_client import RegistryClient
from toolkit.images.selection import Selector
from toolkit.images.source import Image, Platform
from toolkit.images.verified import verified

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
_TAGS_SHOWN = 20


class _Body(io.RawIOBase):
    """A response's body as a stream."""

    def __init__(self, client: RegistryClient, response: requests.Response, where: str) -> None:
        self._client = client
        self._response = response
        self._where = where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data: bytes = self._response.raw.read(len(view))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._client.cut(error, self._where) from error
        view[: len(data)] = data
        return len(data)


class _Repository:
    """A `BlobStore` over one repository of a registry."""

    def __init__(self, reference: RegistryReference) -> None:
        self._reference = reference
        self._client = RegistryClient(reference.registry, reference.repository)

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        return self._get_manifest(descriptor.digest)[0]

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        where = f"blob {descriptor.digest} of {self._reference}"
        with self._client.get(f"blobs/{descriptor.digest}", where) as response:
            if response.status_code == 404:
                hint = " (a foreign layer, stored elsewhere)" if descriptor.is_foreign else ""
                raise DockercError(
                    f"{self._reference} is incomplete: {self._reference.registry} lacks the blob "
                    f"{descriptor.digest}{hint}"
                )
            body = _Body(self._client, response, where)
            with verified(body, descriptor.digest, descriptor.size, where) as stream:
                yield stream

    def root(self) -> Descriptor:
        """The manifest or index that the reference names."""
        data, media_type = self._get_manifest(self._reference.target)
        digest = self._reference.digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
        document = parse_manifest(data, f"the manifest of {self._reference}", media_type)
        return Descriptor(
            OCI_INDEX if isinstance(document, Index) else OCI_MANIFEST, digest, len(data)
        )

    def _get_manifest(self, target: str) -> tuple[bytes, str]:
        """The manifest and its media type, checked against its digest where there is one."""
        where = f"the manifest {target} of {self._reference}"
        with self._client.get(f"manifests/{target}", where, {"Accept": _ACCEPT}) as response:
            if response.status_code == 404:
                raise self._missing(target)
            data = self._client.read(response, where)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            stated = response.headers.get("Docker-Content-Digest", "")
        known = media_type in INDEX_TYPES | MANIFEST_TYPES
        digest = target if ":" in target else stated if known else ""
        algorithm, colon, _ = digest.partition(":")
        if colon and algorithm in ("sha256", "sha512"):
            actual = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
            if actual != digest:
                raise DockercError(
                    f"{where} does not match its digest: expected {digest}, got {actual}"
                )
        return data, media_type

    def _missing(self, target: str) -> DockercError:
        name = self._reference.name
        if ":" in target:
            return DockercError(f"{name} has no image {target}")
        tags = self._tags()
        if tags is None:
            return DockercError(f"{self._reference.registry} has no image {name}:{target}")
        if not tags:
            return DockercError(f"{name} has no tag '{target}', nor any other")
        shown = ", ".join(tags[:_TAGS_SHOWN])
        more = " and more" if len(tags) > _TAGS_SHOWN else ""
        return DockercError(f"{name} has no tag '{target}'; it has {shown}{more}")

    def _tags(self) -> list[str] | None:
        """The first tags, or None when the registry does not tell or knows no such repository."""
        where = f"the tags of {self._reference.name}"
        try:
            with self._client.get(f"tags/list?n={_TAGS_SHOWN + 1}", where) as response:
                if response.status_code == 404:
                    return None
                return parse_document(self._client.read(response, where), where).texts("tags")
        except DockercError:
            # The missing tag is the news; that the list cannot be had adds nothing to it.
            return None


@contextmanager
def open_registry_image(reference: RegistryReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when it cannot be had for the platform."""
    repository = _Repository(reference)
    yield Selector(repository, str(reference), platform).select([repository.root()])
