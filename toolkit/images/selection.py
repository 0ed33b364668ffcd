"""From a manifest or index to the one image that suits a platform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from toolkit.errors import AbsentError, DamagedError, RefusedError
from toolkit.files.json_document import Document, parse_document
from toolkit.images.blobs import BlobStore, read_blob
from toolkit.images.manifest import (
    INDEX_TYPES,
    Descriptor,
    Index,
    Manifest,
    check_digest,
    parse_manifest,
    parse_platform,
)
from toolkit.images.platforms import MissingPlatform, distance, normalised
from toolkit.images.source import Layer, Platform

T = TypeVar("T")

# Real images nest at most one index in a layout's index.json; the bounds stop cycles and bombs.
_DEPTH_LIMIT = 4
_FETCH_LIMIT = 64


@dataclass(frozen=True)
class StoredImage:
    """An `Image` whose layers a `BlobStore` holds."""

    reference: str
    digest: str
    platform: Platform
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    store: BlobStore
    blobs: Mapping[str, Descriptor]  # by diff-id

    def open_layer(self, layer: Layer) -> AbstractContextManager[BinaryIO]:
        return self.store.open_blob(self.blobs[layer.diff_id])

    def stop(self) -> None:
        self.store.stop()


class Selector:
    """Walks what a store offers under one reference."""

    def __init__(self, store: BlobStore, reference: str, wanted: Platform) -> None:
        self._store = store
        self._reference = reference
        self._wanted = wanted
        self._fetches = 0

    def select(self, entries: Sequence[Descriptor]) -> StoredImage:
        """The image among `entries` that suits the wanted platform best.

        Raises DockercError, naming the platforms that exist, when none does.
        """
        images = self._images(entries, 0)
        stated = [image for image in images if image.platform]
        best = self._best([(image, image.platform) for image in stated if image.platform])
        if best:
            return self._load(*best)
        # Only the configs can tell what the others are, so they come last and cost a fetch each.
        found = [image.platform for image in stated if image.platform]
        loaded = [self._load(image, None) for image in images if not image.platform]
        suited = self._best([(image, image.platform) for image in loaded])
        if suited:
            return suited[0]
        found += [image.platform for image in loaded]
        if not found:
            raise AbsentError(f"{self._reference} holds no image")
        if len(images) == 1:
            raise MissingPlatform(
                f"{self._reference} is an image for {normalised(found[0])}, "
                f"not for {normalised(self._wanted)}"
            )
        names = ", ".join(sorted({str(normalised(platform)) for platform in found}))
        raise MissingPlatform(
            f"{self._reference} has no image for {normalised(self._wanted)}; it has {names}"
        )

    def _images(self, entries: Sequence[Descriptor], depth: int) -> list[Descriptor]:
        """The image manifests under `entries`, nested indexes opened."""
        if depth > _DEPTH_LIMIT:
            raise RefusedError(f"{self._reference} nests indexes deeper than {_DEPTH_LIMIT} levels")
        images: list[Descriptor] = []
        for entry in entries:
            if entry.is_no_image:
                continue
            if entry.media_type not in INDEX_TYPES:
                images.append(entry)
                continue
            index = self._read(entry)
            if isinstance(index, Index):
                images += self._images(index.entries, depth + 1)
        return images

    def _best(self, candidates: list[tuple[T, Platform]]) -> tuple[T, Platform] | None:
        suited = [
            (far, place)
            for place, (_, platform) in enumerate(candidates)
            if (far := distance(self._wanted, platform)) is not None
        ]
        return candidates[min(suited)[1]] if suited else None

    def _read(self, descriptor: Descriptor) -> Manifest | Index:
        self._fetches += 1
        if self._fetches > _FETCH_LIMIT:
            raise RefusedError(
                f"{self._reference} needs more than {_FETCH_LIMIT} manifests to be read"
            )
        where = f"the manifest {descriptor.digest} of {self._reference}"
        data = self._store.read_manifest(descriptor)
        return parse_manifest(data, where, descriptor.media_type)

    def _load(self, descriptor: Descriptor, stated: Platform | None) -> StoredImage:
        """Reads manifest and config. An index's word on the platform goes before the config's,
        which is wrong in many an arm image; docker trusts the index too."""
        manifest = self._read(descriptor)
        if not isinstance(manifest, Manifest):
            raise DamagedError(
                f"{self._reference} calls {descriptor.digest} an image, but it is an index"
            )
        where = f"the config of {self._reference}"
        config = parse_document(read_blob(self._store, manifest.config, where), where)
        diff_ids = read_diff_ids(config, len(manifest.layers))
        layers = tuple(
            Layer(diff_id, blob.size)
            for diff_id, blob in zip(diff_ids, manifest.layers, strict=True)
        )
        return StoredImage(
            reference=self._reference,
            digest=descriptor.digest,
            platform=normalised(stated or parse_platform(config) or self._wanted),
            config=config.members,
            layers=layers,
            store=self._store,
            blobs=dict(zip(diff_ids, manifest.layers, strict=True)),
        )


def read_diff_ids(config: Document, count: int) -> list[str]:
    """`rootfs.diff_ids` of an image config (OCI image-spec, config.md), one for each layer.

    Raises DockercError when they are malformed or not `count`.
    """
    diff_ids = config.object("rootfs").texts("diff_ids")
    if len(diff_ids) != count:
        raise DamagedError(
            f"{config.where} does not fit its manifest: {len(diff_ids)} diff_ids, {count} layers"
        )
    return [check_digest(diff_id, config.where) for diff_id in diff_ids]
