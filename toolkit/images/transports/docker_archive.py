"""`docker-archive:FILE`: what `docker save` and `podman save` write.

The format is manifest.json of docker's image-spec v1.2 ("Combined Image JSON + Filesystem
Changeset Format"). Docker 25 and later write the same manifest.json over the blobs of an OCI
layout, where layers may be compressed and are named by their digest.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError
from toolkit.files.json_document import Document, parse_document, parse_json
from toolkit.images.manifest import parse_platform
from toolkit.images.platforms import MissingPlatform, distance, normalised
from toolkit.images.reference import ArchiveReference, parse_name
from toolkit.images.selection import read_diff_ids
from toolkit.images.source import Image, Layer, Platform
from toolkit.images.transports.tarball import Tarball, is_packed, open_tarball, unpacked
from toolkit.images.verified import verified
from toolkit.limits import MAX_LAYERS

_BLOB_PATH = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)")
_NAMES_SHOWN = 20


@dataclass(frozen=True)
class ArchivedImage:
    """An `Image` in a docker archive. Its `digest` is the config's: there is no manifest digest."""

    reference: str
    digest: str
    platform: Platform
    config: Mapping[str, Any]
    layers: tuple[Layer, ...]
    tarball: Tarball
    paths: Mapping[str, str]  # by diff-id

    def open_layer(self, layer: Layer) -> AbstractContextManager[BinaryIO]:
        path = self.paths[layer.diff_id]
        where = f"layer '{path}' of {self.reference}"
        if match := _BLOB_PATH.fullmatch(path):
            return verified(self.tarball.open(path), f"{match[1]}:{match[2]}", layer.size, where)
        source: Any = io.BufferedReader(self.tarball.open(path))
        if is_packed(source.peek(8)):
            source = unpacked(source, where)
            # Whoever reads layers would unpack it once more, a thousand times a thousand.
            if is_packed(source.peek(8)):
                raise RefusedError(f"{where} is compressed twice; refusing it")
        return verified(source, layer.diff_id, layer.size, where)

    def stop(self) -> None:
        """A file is there at once."""


def _is_packed(tarball: Tarball, path: str) -> bool:
    with tarball.open(path) as file:
        return is_packed(file.read(8) or b"")


@contextmanager
def open_archive(reference: ArchiveReference, platform: Platform) -> Iterator[Image]:
    """Opens the image. Raises DockercError when it is absent, malformed or of another platform."""
    with open_tarball(reference.path) as tarball:
        chosen = _choose(reference, _images(tarball, reference.path))
        yield _load(str(reference), tarball, chosen, platform)


def only_image(tarball: Tarball, reference: str, platform: Platform) -> Image:
    """The image of an archive that was written for this one. Raises DockercError as above."""
    images = _images(tarball, f"what came of {reference}")
    if len(images) != 1:
        raise DockercError(f"{reference} gave {len(images)} images where one was asked for")
    return _load(reference, tarball, images[0], platform)


def _images(tarball: Tarball, path: str) -> list[Document]:
    if tarball.size("manifest.json") is None:
        raise DamagedError(f"{path} is not a docker archive: it has no manifest.json")
    where = f"manifest.json of {path}"
    images = parse_json(tarball.read("manifest.json"), where)
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise DamagedError(f"{where} is malformed: it must be a list of images")
    return [Document(image, where) for image in images]


def _choose(reference: ArchiveReference, images: list[Document]) -> Document:
    names = [tag for image in images for tag in image.texts("RepoTags")]
    listed = ", ".join(names[:_NAMES_SHOWN]) or "none with a name"
    if reference.name:
        for image in images:
            if any(parse_name(tag) == reference.name for tag in image.texts("RepoTags")):
                return image
        raise AbsentError(
            f"{reference.path} has no image '{reference.name.name}:{reference.name.tag}'; "
            f"it has {listed}"
        )
    if reference.index is not None:
        if reference.index < len(images):
            return images[reference.index]
        raise AbsentError(
            f"{reference.path} has {len(images)} images, counted from 0, and no @{reference.index}"
        )
    if not images:
        raise AbsentError(f"{reference.path} holds no image")
    if len(images) > 1:
        raise DockercError(
            f"{reference.path} holds {len(images)} images; "
            f"name one (docker-archive:FILE:NAME:TAG or :@NUMBER): {listed}"
        )
    return images[0]


def _load(reference: str, tarball: Tarball, image: Document, wanted: Platform) -> ArchivedImage:
    config_path = image.text("Config")
    data = tarball.read(config_path)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    # Docker, podman and skopeo all name the config by its digest: HEX.json, or blobs/sha256/HEX.
    named = re.search(r"([0-9a-f]{64})(?:\.json)?$", config_path)
    if named and f"sha256:{named[1]}" != digest:
        raise DamagedError(
            f"the config '{config_path}' of {reference} does not match its digest: got {digest}"
        )
    config = parse_document(data, f"the config of {reference}")
    platform = parse_platform(config) or wanted
    if distance(wanted, platform) is None:
        hint = ""
        if tarball.size("index.json") is not None:
            hint = " (other platforms of such an archive can be read as oci-archive:FILE)"
        raise MissingPlatform(
            f"{reference} is an image for {normalised(platform)}, "
            f"not for {normalised(wanted)}{hint}"
        )
    paths = image.texts("Layers")
    if len(paths) > MAX_LAYERS:
        raise RefusedError(f"{reference} has {len(paths)} layers; at most {MAX_LAYERS} are read")
    diff_ids = read_diff_ids(config, len(paths))
    return ArchivedImage(
        reference=reference,
        digest=digest,
        platform=normalised(platform),
        config=config.members,
        layers=tuple(
            Layer(diff_id, _stored_size(tarball, path))
            for diff_id, path in zip(diff_ids, paths, strict=True)
        ),
        tarball=tarball,
        paths=dict(zip(diff_ids, paths, strict=True)),
    )


def _stored_size(tarball: Tarball, path: str) -> int | None:
    """What `open_layer` will yield; unknown where it decompresses."""
    size = tarball.size(path)
    if size is None:
        raise AbsentError(f"the docker archive is incomplete: it lacks the layer '{path}'")
    return size if _BLOB_PATH.fullmatch(path) or not _is_packed(tarball, path) else None
