"""Which images the cache is of: for each name and architecture a small file beside the packs.

It says to which digest a name led when it was last looked up, and of which layers that image is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.errors import DockercError
from toolkit.files.atomic import atomic_file
from toolkit.files.json_document import parse_document
from toolkit.images.source import Image
from toolkit.limits import MAX_DOCUMENT
from toolkit.services.cache import MAX_SIZE, Cache, Cached, is_ours, own_directory
from toolkit.version import __version__


@dataclass(frozen=True)
class NamedImage:
    """An image under the name that was looked up; `layers` are diff-ids, lowest first."""

    reference: str
    architecture: str
    platform: str
    digest: str
    layers: tuple[str, ...]

    @property
    def app(self) -> str:
        """The name in the cache of its executable."""
        return f"{self.digest.replace(':', '-')}-{self.architecture}-{__version__}"

    def owns(self, file: Cached) -> bool:
        """Whether a file of the cache was made from it."""
        if file.kind == "executable":
            return file.name == self.app
        if file.kind == "kernel":
            return file.name.startswith(f"{self.digest.removeprefix('sha256:')}-")
        return any(file.name.startswith(f"{each.replace(':', '-')}-") for each in self.layers)


@dataclass(frozen=True)
class KeptImage:
    """What the cache has of an image: bytes, layers, and whether `dockerc run` needs no more."""

    named: NamedImage
    size: int
    layers: int
    runs: bool
    used: float


def remember(cache: Cache, image: Image) -> NamedImage:
    """Write down where the image's name leads now; without effect where it cannot be written."""
    named = NamedImage(
        image.reference,
        image.platform.architecture,
        str(image.platform),
        image.digest,
        tuple(layer.diff_id for layer in image.layers),
    )
    with contextlib.suppress(OSError, DockercError):
        own_directory(cache.names)
        path = _path(cache, named.reference, named.architecture)
        with atomic_file(path, 0o600, sync=False) as file:
            file.write(json.dumps(asdict(named)).encode())
    return named


def recall(cache: Cache, reference: str, architecture: str) -> NamedImage | None:
    """The image that the name led to; None when that is not known."""
    try:
        own_directory(cache.names)
        return _read(_path(cache, reference, architecture))
    except OSError:
        return None


def remembered(cache: Cache) -> list[NamedImage]:
    """All of them, in the order of their names."""
    found = [named for path in _files(cache) if (named := _read(path))]
    return sorted(found, key=lambda named: (named.reference, named.architecture))


def kept_images(cache: Cache) -> list[KeptImage]:
    """The images that the cache has anything of."""
    files, kept = cache.files(), []
    for named in remembered(cache):
        if own := [file for file in files if named.owns(file)]:
            packs = {file.name[: file.name.index("-", 7)] for file in own if file.kind == "pack"}
            kept.append(
                KeptImage(
                    named,
                    sum(file.size for file in own),
                    len(packs),
                    any(file.kind == "executable" for file in own),
                    max(file.used for file in own),
                )
            )
    return kept


def prune(cache: Cache, max_size: int = MAX_SIZE) -> list[Cached]:
    """Remove the least recently used beyond `max_size` bytes, and names of which nothing is left.

    Returns the files that went.
    """
    if gone := cache.prune(max_size):
        _forget_gone(cache)
    return gone


def _forget_gone(cache: Cache) -> None:
    files = cache.files()
    for path in _files(cache):
        named = _read(path)
        if named is None or not any(named.owns(file) for file in files):
            cache.forget(path)


def _path(cache: Cache, reference: str, architecture: str) -> Path:
    key = hashlib.sha256(f"{architecture} {reference}".encode("utf-8", "surrogateescape"))
    return cache.names / f"{key.hexdigest()}.json"


def _files(cache: Cache) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(cache.names.glob("*.json"))


def _read(path: Path) -> NamedImage | None:
    """None for what is not ours, damaged, or of another version."""
    try:
        if not is_ours(path):
            return None
        with path.open("rb") as file:
            document = parse_document(file.read(MAX_DOCUMENT), str(path))
        named = NamedImage(
            document.text("reference"),
            document.text("architecture"),
            document.text("platform"),
            document.text("digest"),
            tuple(document.texts("layers")),
        )
    except (OSError, DockercError):
        return None
    # It becomes the name of what is executed.
    return None if "/" in named.app else named
