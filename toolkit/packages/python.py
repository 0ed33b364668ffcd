"""Python: *.dist-info/METADATA, *.egg-info/PKG-INFO and *.egg-info (core metadata)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import Files, SourceFile
from toolkit.packages.stanza import paragraphs

_METADATA = re.compile(rb"\.dist-info/METADATA|\.egg-info/PKG-INFO|\.egg-info|EGG-INFO/PKG-INFO")
_MAX_HEADERS = 256 << 10
"""Bytes: a description of any length may follow."""
_FIELDS = frozenset(("name", "version", "license", "license-expression", "classifier"))
_LICENSE = "License :: "


def wants(file: SourceFile) -> bool:
    """Whether it describes an installed distribution."""
    tail = file.path.rpartition(b"/")[2]
    if tail not in (b"METADATA", b"PKG-INFO") and not tail.endswith(b".egg-info"):
        return False
    return any(match.end() == len(file.path) for match in _METADATA.finditer(file.path))


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """One; raises DockercError when its name is none."""
    data = file.read(0, min(file.size, _MAX_HEADERS))
    for fields in paragraphs(data, _FIELDS):
        name, version = (fields.get(key, "").partition("\n")[0] for key in ("name", "version"))
        if name:
            yield make_package(
                "pypi",
                "",
                re.sub(r"[-_.]+", "-", name).lower(),
                version,
                path=file.shown,
                layer=file.layer,
                licenses=_licenses(fields),
                shown_name=name,
            )
        return  # what follows is the description


def _licenses(fields: dict[str, str]) -> list[str]:
    if expression := fields.get("license-expression"):
        return [expression]
    text = fields.get("license", "")
    # The whole text of a licence may stand there.
    if text and "\n" not in text and len(text) <= 100 and text.upper() != "UNKNOWN":
        return [text]
    return [
        line.rpartition(" :: ")[2]
        for line in fields.get("classifier", "").split("\n")
        if line.startswith(_LICENSE) and line != "License :: OSI Approved"
    ]
