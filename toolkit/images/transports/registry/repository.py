"""One repository of a registry: its manifests and blobs, each checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import BinaryIO, TypeVar

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.files.json_document import parse_document
from toolkit.images.auth.access import Access
from toolkit.images.auth.registries_conf import Endpoint, load_registries_conf
from toolkit.images.blobs import missing_blob
from toolkit.images.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.client import RegistryClient
from toolkit.images.verified import verified

T = TypeVar("T")

_ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
_TAGS_SHOWN = 20


class Repository:
    """A `BlobStore` over one repository of a registry."""

    def __init__(self, endpoint: Endpoint, access: Access) -> None:
        self._reference = endpoint.reference
        self._client = RegistryClient(endpoint, access)

    @property
    def client(self) -> RegistryClient:
        """For other requests to the same place."""
        return self._client

    @property
    def digest(self) -> str:
        """The reference's, empty where it has a tag."""
        return self._reference.digest or ""

    def close(self) -> None:
        self._client.close()

    stop = close

    def read_manifest(self, descriptor: Descriptor) -> bytes:
        return self._get_manifest(descriptor.digest)[0]

    @contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[BinaryIO]:
        where = f"blob {descriptor.digest} of {self._reference}"
        body = self._client.open_blob(descriptor.digest, descriptor.size, where)
        if body is None:
            raise missing_blob(descriptor, str(self._reference), self._reference.registry)
        with verified(body, descriptor.digest, descriptor.size, where) as stream:
            yield stream

    def read_named(self) -> tuple[bytes, str]:
        """The manifest or index that the reference names, and its media type."""
        return self._get_manifest(self._reference.target)

    def _get_manifest(self, target: str) -> tuple[bytes, str]:
        """The manifest and its media type, checked against its digest where there is one."""
        where = f"the manifest {target} of {self._reference}"
        response, data = self._client.read(f"manifests/{target}", where, {"Accept": _ACCEPT})
        if response.status_code == 404:
            raise self._missing(target)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        stated = response.headers.get("Docker-Content-Digest", "")
        known = media_type in INDEX_TYPES | MANIFEST_TYPES
        digest = target if ":" in target else stated if known else ""
        algorithm, colon, _ = digest.partition(":")
        if colon and algorithm in ("sha256", "sha512"):
            actual = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
            if actual != digest:
                raise DamagedError(
                    f"{where} does not match its digest: expected {digest}, got {actual}"
                )
        return data, media_type

    def _missing(self, target: str) -> DockercError:
        name = self._reference.name
        if ":" in target:
            return AbsentError(f"{name} has no image {target}")
        tags = self._tags()
        if tags is None:
            return AbsentError(f"{self._reference.registry} has no image {name}:{target}")
        if not tags:
            return AbsentError(f"{name} has no tag '{target}', nor any other")
        shown = ", ".join(tags[:_TAGS_SHOWN])
        more = " and more" if len(tags) > _TAGS_SHOWN else ""
        return AbsentError(f"{name} has no tag '{target}'; it has {shown}{more}")

    def _tags(self) -> list[str] | None:
        """The first tags, or None when the registry does not tell or knows no such repository."""
        where = f"the tags of {self._reference.name}"
        try:
            response, data = self._client.read(f"tags/list?n={_TAGS_SHOWN + 1}", where)
            if response.status_code == 404:
                return None
            return parse_document(data, where).texts("tags")
        except DockercError:
            # The missing tag is the news; that the list cannot be had adds nothing to it.
            return None


@contextmanager
def open_repository(
    reference: RegistryReference, access: Access, read: Callable[[Repository, str], T]
) -> Iterator[tuple[Repository, RegistryReference, T]]:
    """The first place that has what the reference names, a mirror if registries.conf knows one,
    the reference's long name, and what `read` made of the place and its name.

    Raises DockercError when none has.
    """
    conf = load_registries_conf()
    failures: list[DockercError] = []
    for name in conf.long_names(reference):
        for endpoint in conf.endpoints(name):
            with closing(Repository(endpoint, access)) as repository:
                try:
                    found = read(repository, str(endpoint.reference))
                except DockercError as error:
                    failures.append(error)
                    continue
                yield repository, name, found
                return
    if len(failures) == 1:
        raise failures[0]
    earlier = "; ".join(str(failure) for failure in failures[:-1])
    raise DockercError(f"{failures[-1]} (tried before: {earlier})")
