"""The way in: an image's name to the open image."""

from __future__ import annotations

from contextlib import AbstractContextManager

from toolkit.images.reference import LayoutReference, RegistryReference, parse_reference
from toolkit.images.source import Image, Platform


def open_image(text: str, platform: Platform) -> AbstractContextManager[Image]:
    """Opens the image that a user named, in its variant for `platform`.

    Raises UsageError when the name is malformed; on entering, DockercError when the image cannot
    be had. The image is usable until the context ends.
    """
    reference = parse_reference(text)
    # Each transport is imported when used: `requests` alone takes 60 ms.
    if isinstance(reference, RegistryReference):
        from toolkit.images.registry import open_registry_image

        return open_registry_image(reference, platform)
    if isinstance(reference, LayoutReference):
        from toolkit.images.oci_layout import open_layout

        return open_layout(reference, platform)
    from toolkit.images.docker_archive import open_archive

    return open_archive(reference, platform)
