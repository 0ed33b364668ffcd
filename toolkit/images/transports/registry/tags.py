"""The tags of a repository: OCI distribution-spec, "Listing Tags"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from toolkit.errors import AbsentError, DamagedError, RefusedError
from toolkit.files.json_document import parse_document
from toolkit.images.auth.access import Access
from toolkit.images.auth.registries_conf import Endpoint, load_registries_conf
from toolkit.images.reference import TAG, RegistryReference
from toolkit.images.transports.registry.client import RegistryClient

_PAGE = 1000
"""Tags asked for at once; many registries give fewer."""
_MAX_PAGES = 1000
_LINK = re.compile(r'<([^<>]{1,8192})>\s*;[^<>]*\brel="?next"?')


def list_tags(reference: RegistryReference, access: Access) -> Iterator[str]:
    """Each tag of the reference's repository, in the registry's order, as they come.

    Raises DockercError when they cannot be had, are malformed or without end.
    """
    conf = load_registries_conf()
    *others, last = conf.long_names(reference)
    for name in others:
        try:
            # A mirror may not have them all.
            yield from _tags(conf.endpoints(name)[-1], access)
            return
        except AbsentError:
            continue
    yield from _tags(conf.endpoints(last)[-1], access)


def _tags(endpoint: Endpoint, access: Access) -> Iterator[str]:
    name = endpoint.reference.name
    where = f"the tags of {name}"
    with closing(RegistryClient(endpoint, access)) as client:
        query, asked = f"n={_PAGE}", set[str]()
        for _ in range(_MAX_PAGES):
            asked.add(query)
            response, data = client.read(f"tags/list?{query}", where)
            if response.status_code == 404:
                raise AbsentError(f"{endpoint.reference.registry} has no repository {name}")
            for tag in parse_document(data, where).texts("tags"):
                if not re.fullmatch(TAG, tag):
                    raise DamagedError(f"{where} are malformed: {tag[:200]!a} is not a tag")
                yield tag
            link = _LINK.search(response.headers.get("Link", ""))
            if link is None:
                return
            # Of the address only what it asks for: it must lead nowhere else.
            query = urlsplit(link[1]).query
            if query in asked:
                raise DamagedError(f"{where} begin again and again; refusing them")
        raise RefusedError(f"{where} have more than {_MAX_PAGES} pages; refusing them")
