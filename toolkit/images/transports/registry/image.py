"""`docker://`: a registry that speaks the OCI distribution-spec or docker's registry API v2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from toolkit.images.auth.access import Access
from toolkit.images.manifest import Descriptor, describe
from toolkit.images.reference import RegistryReference
from toolkit.images.selection import Selector
from toolkit.images.source import Image, Platform
from toolkit.images.transports.registry.repository import Repository, open_repository


@contextmanager
def open_registry_image(
    reference: RegistryReference, platform: Platform, access: Access
) -> Iterator[Image]:
    """Opens the image, from a mirror if registries.conf knows one.

    Raises DockercError when it cannot be had for the platform.
    """
    with open_repository(reference, access, _root) as (repository, name, root):
        yield Selector(repository, str(name), platform).select([root])


def _root(repository: Repository, name: str) -> Descriptor:
    """The manifest or index that the reference names."""
    data, media_type = repository.read_named()
    return describe(data, f"the manifest of {name}", repository.digest, media_type)
