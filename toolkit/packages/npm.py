"""npm: package.json of what is in a node_modules directory or in none, as programs themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from toolkit.files.json_document import parse_document
from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import Files, SourceFile

_PLACE = re.compile(
    rb"(?:.*/)?(?:node_modules|usr/share/nodejs|usr/lib/nodejs)/(?:@[^/]+/)?[^/]+/package\.json",
    re.DOTALL,
)
_INSIDE = re.compile(rb"/(?:node_modules|usr/share/nodejs|usr/lib/nodejs)/")
_MAX_PACKAGE_JSON = 1 << 20
_MAX_LICENSES = 20


def wants(file: SourceFile) -> bool:
    """Whether it may describe a package, rather than a part of one."""
    if file.path.rpartition(b"/")[2] != b"package.json":
        return False
    return is_installed(file) or not _INSIDE.search(b"/" + file.path)


def is_installed(file: SourceFile) -> bool:
    """Whether it describes what npm or dpkg has put into a directory for packages."""
    return file.path.endswith(b"/package.json") and bool(_PLACE.fullmatch(file.path))


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """One, or none for a file without name or version; raises DockercError when it is no JSON."""
    members = parse_document(file.whole(_MAX_PACKAGE_JSON), "it").members
    name, version = members.get("name"), members.get("version")
    if not (isinstance(name, str) and isinstance(version, str) and name):
        return
    scope, _, last = name.rpartition("/")
    yield make_package(
        "npm",
        scope,
        last,
        version,
        path=file.shown,
        layer=file.layer,
        licenses=_licenses(members.get("license") or members.get("licenses")),
        shown_name=name,
    )


def _licenses(value: Any) -> list[str]:
    """A string, an object with a `type`, or an array of these, as old packages have."""
    found = []
    for each in (value if isinstance(value, list) else [value])[:_MAX_LICENSES]:
        text = each.get("type") if isinstance(each, dict) else each
        if isinstance(text, str):
            found.append(text)
    return found
