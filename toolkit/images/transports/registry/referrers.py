"""Listing and adding what is attached to a manifest of a repository."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from toolkit.errors import RefusedError
from toolkit.images.manifest import OCI_INDEX, Descriptor
from toolkit.images.referrers import (
    MAX_REFERRERS,
    encode_index,
    fallback_tag,
    parse_referrers,
)
from toolkit.images.transports.registry.client import RegistryClient
from toolkit.images.transports.registry.upload import Uploads

_LINK = re.compile(r'<([^<>]{1,8192})>\s*;[^<>]*\brel="?next"?')
_MAX_PAGES = 100


def list_referrers(client: RegistryClient, digest: str) -> list[Descriptor]:
    """The manifests that are attached to that of this digest; raises DockercError."""
    where = f"what is attached to {digest}"
    found: list[Descriptor] = []
    query = ""
    for _ in range(_MAX_PAGES):
        path = f"referrers/{digest}{query}"
        response, data = client.read(path, where, {"Accept": OCI_INDEX})
        if response.status_code == 404:
            return _by_tag(client, digest)
        found += parse_referrers(data, where)
        link = _LINK.search(response.headers.get("Link", ""))
        if link is None:
            return found
        # Of the address only what it asks for: it must lead nowhere else.
        query = f"?{urlsplit(link[1]).query}"
        if len(found) > MAX_REFERRERS:
            break
    raise RefusedError(f"{where} is more than {MAX_REFERRERS} manifests; refusing them")


def attach(uploads: Uploads, client: RegistryClient, subject: str, referrer: bytes) -> Descriptor:
    """Store a manifest that is attached to that of the digest `subject`; raises DockercError.

    Where the registry does not keep the list of them, we do, as the specification says.
    """
    entry, is_listed = uploads.put_referrer(referrer)
    if not is_listed:
        there = _by_tag(client, subject)
        others = [each for each in there if each.digest != entry.digest]
        if len(others) == len(there):
            index = encode_index([*others, entry])
            uploads.put_manifest(index, OCI_INDEX, fallback_tag(subject))
    return entry


def _by_tag(client: RegistryClient, digest: str) -> list[Descriptor]:
    where = f"the list of what is attached to {digest}"
    path = f"manifests/{fallback_tag(digest)}"
    response, data = client.read(path, where, {"Accept": OCI_INDEX})
    return [] if response.status_code == 404 else parse_referrers(data, where)
