"""All that is installed in an image, by whatever it was installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from toolkit.errors import DockercError
from toolkit.packages import apk, dpkg, java, npm, programs, python
from toolkit.packages.distribution import Distribution, find_distribution
from toolkit.packages.package import Package
from toolkit.packages.rpm import database as rpm
from toolkit.packages.source import Files, SourceFile

MAX_PACKAGES = 200_000
MAX_PATHS = 100
"""Files that are told of one package."""
MAX_NOTES = 20


class _Reader(NamedTuple):
    name: str
    wants: Callable[[SourceFile], bool]
    packages: Callable[[SourceFile, Files, Distribution], Iterator[Package]]


_READERS = (
    _Reader("dpkg's database", dpkg.wants, dpkg.packages),
    _Reader("apk's database", apk.wants, apk.packages),
    _Reader("RPM's database", rpm.wants, rpm.packages),
    _Reader("the Python package", python.wants, python.packages),
    _Reader("the npm package", npm.wants, npm.packages),
    _Reader("the Java archive", java.wants, java.packages),
    _Reader("the program", programs.wants, programs.packages),
)


@dataclass(frozen=True)
class Inventory:
    """Packages in the order of kind, name and version; `notes` say what could not be read."""

    distribution: Distribution
    packages: list[Package]
    notes: list[str]


def take_inventory(walked: Iterable[SourceFile], files: Files) -> Inventory:
    """Look into each of `walked`, the image's regular files; damage makes a note.

    Packages of one URL are one, with all the files that say so.
    """
    distribution = find_distribution(files)
    found: dict[str, Package] = {}
    notes: list[str] = []
    faults = 0
    for file in walked:
        for reader in _READERS:
            if not reader.wants(file):
                continue
            try:
                for package in reader.packages(file, files, distribution):
                    _add(found, package)
            except DockercError as error:
                faults += 1
                if faults <= MAX_NOTES:
                    notes.append(f"{reader.name} {file.shown} was not read to its end: {error}")
            break
        if len(found) >= MAX_PACKAGES:
            notes.append(f"there are more than {MAX_PACKAGES} packages; the others are left out")
            break
    if faults > MAX_NOTES:
        notes.append(f"{faults - MAX_NOTES} more files were not read to their end")
    packages = sorted(found.values(), key=lambda each: (each.kind, each.name, each.purl))
    return Inventory(distribution, packages, notes)


def _add(found: dict[str, Package], package: Package) -> None:
    known = found.get(package.purl)
    if known is None:
        if len(found) < MAX_PACKAGES:
            found[package.purl] = package
    elif package.paths[0] not in known.paths and len(known.paths) < MAX_PATHS:
        licenses = known.licenses or package.licenses
        found[package.purl] = replace(
            known, paths=(*known.paths, *package.paths), licenses=licenses
        )
