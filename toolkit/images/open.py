"""The way in: an image's name to the open image."""

from __future__ import annotations

from contextlib import AbstractContextManager

from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.images.local_path import refuse_path
from toolkit.images.reference import (
    ArchiveReference,
    DaemonReference,
    DirectoryReference,
    LayoutReference,
    Reference,
    RegistryReference,
    parse_reference,
)
from toolkit.images.source import Image, Platform


def named_image(text: str) -> Reference:
    """What a user named; raises UsageError for what is no image's name, and says what it is."""
    refuse_path(text)
    return parse_reference(text)


def open_image(
    text: str, platform: Platform, access: Access = DEFAULT_ACCESS
) -> AbstractContextManager[Image]:
    """Opens the image that a user named, in its variant for `platform`.

    Raises UsageError when the name is malformed; on entering, DockercError when the image cannot
    be had. The image is usable until the context ends.
    """
    reference = named_image(text)
    # Each transport is imported when used: `requests` alone takes 60 ms.
    if isinstance(reference, RegistryReference):
        from toolkit.images.transports.registry.image import open_registry_image

        return open_registry_image(reference, platform, access)
    if isinstance(reference, LayoutReference):
        from toolkit.images.transports.oci_layout import open_layout

        return open_layout(reference, platform)
    if isinstance(reference, ArchiveReference):
        from toolkit.images.transports.docker_archive import open_archive

        return open_archive(reference, platform)
    if isinstance(reference, DirectoryReference):
        from toolkit.images.transports.directory import open_directory

        return open_directory(reference, platform)
    if isinstance(reference, DaemonReference):
        from toolkit.images.transports.docker_daemon import open_daemon_image

        return open_daemon_image(reference, platform)
    from toolkit.images.transports.containers_storage import open_storage_image

    return open_storage_image(reference, platform)
