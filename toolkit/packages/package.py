"""A package as every database gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packageurl import PackageURL

from toolkit.errors import DamagedError

MAX_TEXT = 500
"""Characters of a name, a version or a licence."""
MAX_LICENSES = 50
"""Licences of one package."""


@dataclass(frozen=True)
class Package:
    """`kind` is the type of its package URL; `layer` the number of the layer that brought it."""

    kind: str
    name: str
    version: str
    purl: str
    licenses: tuple[str, ...]
    layer: int | None
    paths: tuple[str, ...]
    """The files of the image that say so."""


def make_package(
    kind: str,
    namespace: str,
    name: str,
    version: str,
    *,
    path: str,
    layer: int | None,
    qualifiers: Mapping[str, str] | None = None,
    licenses: Iterable[str] = (),
    shown_name: str = "",
    shown_version: str = "",
) -> Package:
    """A package and its URL; `shown_…` is what its own tools call it, if not the same.

    Raises DockercError when name or version are none.
    """
    for text in (namespace, name, version):
        if len(text) > MAX_TEXT or not text.isprintable():
            raise DamagedError(f"a name or version in it is none: {text[:60]!r}")
    if not name:
        raise DamagedError("a package in it has no name")
    given = {key: value[:MAX_TEXT] for key, value in (qualifiers or {}).items() if value}
    try:
        purl = PackageURL(kind, namespace or None, name, version or None, given).to_string()
    except ValueError:
        raise DamagedError(f"a name in it fits no package URL: {name[:60]!r}") from None
    # In the order in which they were met, each once.
    kept = dict.fromkeys(cut for text in licenses if (cut := _one_line(text)))
    return Package(
        kind,
        shown_name or name,
        shown_version or version,
        purl,
        tuple(kept)[:MAX_LICENSES],
        layer,
        (path,),
    )


def _one_line(text: str) -> str:
    text = " ".join(text[: 2 * MAX_TEXT].split())[:MAX_TEXT]
    return "".join(c for c in text if c.isprintable())
