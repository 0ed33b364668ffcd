"""Putting blobs and a manifest into a repository: OCI distribution-spec, "Push"."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests

from toolkit.errors import DamagedError, DockercError, UsageError
from toolkit.files.json_document import parse_document
from toolkit.images.auth.access import Access
from toolkit.images.auth.registries_conf import Endpoint, load_registries_conf
from toolkit.images.manifest import OCI_MANIFEST, Descriptor
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.client import RegistryClient
from toolkit.images.transports.registry.connections import Interrupted
from toolkit.images.transports.registry.retry import Attempts

_OCTETS = {"Content-Type": "application/octet-stream"}
_FAR = frozenset({302, 303, 307, 308})
"""Answers of a registry that keeps its blobs elsewhere: it has it, whoever may read it there."""
_LOST = frozenset({400, 404, 409, 416})
"""What it says of an upload that it has forgotten, or of which it got a part only."""


class Uploads:
    """Safe to use from several threads. `mount_from` is a repository of the same registry that may
    have the blobs."""

    def __init__(
        self, reference: RegistryReference, access: Access, mount_from: RegistryReference | None
    ) -> None:
        endpoint = _own_place(reference)
        self._reference = endpoint.reference
        self._client = RegistryClient(endpoint, access)
        self._mount_from = ""
        if mount_from and mount_from.registry == reference.registry:
            self._mount_from = mount_from.repository

    @property
    def client(self) -> RegistryClient:
        """For reading from the same place."""
        return self._client

    def close(self) -> None:
        """Ends all requests."""
        self._client.close()

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has it already."""
        what = self._what(digest)
        response = self._client.request("HEAD", f"blobs/{digest}", what, self._client.attempts())
        self._client.drain(response, what)
        if response.status_code not in (200, 404, *_FAR):
            raise self._client.bad_status(response, what)
        return response.status_code != 404

    def put_blob(self, data: bytes, digest: str) -> bool:
        """Store it; False when the registry took it from the other repository, and no byte was
        sent. Raises DockercError."""
        what, attempts = self._what(digest), self._client.attempts()
        while True:
            place = self._begin(digest, what, attempts)
            if place is None:
                return False
            try:
                response = self._client.request(
                    "PUT", _with_digest(place, digest), what, attempts, headers=_OCTETS, body=data
                )
                self._client.drain(response, what)
            except Interrupted as error:
                if not attempts.again(cost=error.cost):
                    raise
                continue
            if response.status_code in (200, 201, 204):
                return True
            if response.status_code not in _LOST or not attempts.again():
                raise self._client.bad_status(response, what)

    def put_manifest(self, data: bytes, media_type: str, target: str = "") -> str:
        """Store it under `target`, a tag or its digest, or under the reference's tag; returns its
        digest. Raises DockercError."""
        return self._put_manifest(data, media_type, target)[0]

    def put_referrer(self, data: bytes) -> tuple[Descriptor, bool]:
        """Store a manifest with a `subject` under its digest; returns what lists of referrers have
        of it, and whether the registry will list it. Raises DockercError."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        _, response = self._put_manifest(data, OCI_MANIFEST, digest)
        document = parse_document(data, "a manifest")
        entry = Descriptor(
            OCI_MANIFEST, digest, len(data), None, document.text_map("annotations"),
            document.text("artifactType"),
        )  # fmt: skip
        return entry, "OCI-Subject" in response.headers

    def _put_manifest(
        self, data: bytes, media_type: str, target: str
    ) -> tuple[str, requests.Response]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        what = f"the manifest of {self._reference}"
        path = f"manifests/{target or self._reference.target}"
        headers = {"Content-Type": media_type}
        attempts = self._client.attempts()
        response = self._client.request("PUT", path, what, attempts, headers=headers, body=data)
        self._client.drain(response, what)
        if response.status_code not in (200, 201, 202):
            raise self._client.bad_status(response, what)
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise DamagedError(
                f"{self._reference.registry} stored {what} as {stored[:200]}, not as {digest}"
            )
        return digest, response

    def _begin(self, digest: str, what: str, attempts: Attempts) -> str | None:
        """Where to send the blob; None when there is no need to, for it is mounted."""
        if self._mount_from:
            path = f"blobs/uploads/?mount={digest}&from={self._mount_from}"
            try:
                response = self._client.request("POST", path, what, attempts)
            except DockercError:
                # Who may write here may yet not read there.
                self._mount_from = ""
            else:
                self._client.drain(response, what)
                if response.status_code == 201:
                    return None
                if response.status_code == 202:
                    return self._location(response, what)
                self._mount_from = ""
        response = self._client.request("POST", "blobs/uploads/", what, attempts)
        self._client.drain(response, what)
        if response.status_code != 202:
            raise self._client.bad_status(response, what)
        return self._location(response, what)

    def _location(self, response: requests.Response, what: str) -> str:
        target = response.headers.get("Location", "")
        try:
            address = urljoin(response.url or "", target)
        except ValueError:
            address = ""
        if not target or not address.isprintable() or not re.match(r"https?://", address):
            raise DamagedError(
                f"{self._reference.registry} does not say where {what} is to be sent"
            )
        return address

    def _what(self, digest: str) -> str:
        return f"blob {digest} of {self._reference}"


def _with_digest(address: str, digest: str) -> str:
    parts = urlsplit(address)
    query = f"{parts.query}&" if parts.query else ""
    return urlunsplit(parts._replace(query=f"{query}digest={digest}", fragment=""))


def _own_place(reference: RegistryReference) -> Endpoint:
    """The place of the name itself, not that of a mirror."""
    conf = load_registries_conf()
    names = conf.long_names(reference)
    if len(names) > 1:
        raise UsageError(
            f"'{reference.repository}' may be in any of"
            f" {', '.join(name.registry for name in names)}: write the registry before the name"
        )
    return conf.endpoints(names[0])[-1]
