"""What every transport offers: an image of one platform, and its layers as verified streams."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol


@dataclass(frozen=True)
class Platform:
    """An image's platform in the words of the OCI image index: `os`, `architecture`, `variant`."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Layer:
    """One layer of an image, lowest first in `Image.layers`.

    `diff_id` is the digest of the uncompressed tar (OCI image config, `rootfs.diff_ids`), `size`
    the bytes that `Image.open_layer` yields (compressed or not), or None where the transport
    cannot tell beforehand.
    """

    diff_id: str
    size: int | None


class Image(Protocol):
    """An image of one platform, its source kept open.

    `reference` is the canonical name, transport included; `digest` that of the platform's
    manifest (for `docker-archive:`, which has none, of the config).
    """

    @property
    def reference(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def platform(self) -> Platform: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def layers(self) -> tuple[Layer, ...]: ...

    def open_layer(self, layer: Layer) -> AbstractContextManager[BinaryIO]:
        """The layer's bytes as stored: gzip, zstd or plain tar.

        The stream checks itself: the read that reaches its end raises DockercError when digest or
        size differ from the manifest's. A caller must therefore read to the end.
        """

    def stop(self) -> None:
        """End all reading, from any thread: whoever waits for data gets a DockercError at once."""
