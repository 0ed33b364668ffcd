"""RPM: its database in whatever form, and the packages in it."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.errors import DamagedError, DockercError
from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.rpm import bdb, ndb, sqlite
from toolkit.packages.rpm.header import (
    ARCH,
    LICENSE,
    NAME,
    RELEASE,
    SOURCE_RPM,
    VERSION,
    Header,
    parse_header,
)
from toolkit.packages.source import Files, SourceFile

_DIRECTORIES = (b"var/lib/rpm/", b"usr/lib/sysimage/rpm/", b"usr/share/rpm/")
_NAMES = (b"rpmdb.sqlite", b"Packages.db", b"Packages")
_KEY = "gpg-pubkey"
"""A key that signatures are checked with; no package."""


def wants(file: SourceFile) -> bool:
    """Whether it is RPM's database."""
    directory, slash, name = file.path.rpartition(b"/")
    return directory + slash in _DIRECTORIES and name in _NAMES


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """All in it; raises DockercError when it is damaged."""
    for data in _headers(file):
        header = parse_header(data)
        texts = header.texts
        if not texts.get(NAME):
            raise DamagedError("a package in it has no name")
        if texts[NAME] == _KEY:
            continue
        version = f"{texts.get(VERSION, '')}-{texts.get(RELEASE, '')}"
        epoch = "" if header.epoch is None else str(header.epoch)
        yield make_package(
            "rpm",
            distribution.id,
            texts[NAME],
            version,
            path=file.shown,
            layer=_layer(file, files, header),
            qualifiers={
                "arch": texts.get(ARCH, ""),
                "epoch": epoch,
                "distro": distribution.qualifier,
                "upstream": texts.get(SOURCE_RPM, ""),
            },
            licenses=[texts[LICENSE]] if texts.get(LICENSE) else [],
            shown_version=f"{epoch}:{version}" if epoch else version,
        )


def owned(file: SourceFile) -> Iterator[tuple[str, bytes]]:
    """The files of each package."""
    for data in _headers(file):
        header = parse_header(data)
        for path in header.files():
            yield header.texts.get(NAME, ""), path


def _headers(file: SourceFile) -> Iterator[bytes]:
    if file.read(0, 16) == b"SQLite format 3\0":
        return sqlite.headers(file)
    if file.read(0, 4) == ndb.MAGIC:
        return ndb.headers(file)
    if bdb.is_database(file):
        return bdb.headers(file)
    raise DamagedError("it is no database that RPM writes")


def _layer(file: SourceFile, files: Files, header: Header) -> int | None:
    """That of the package's first file: the database is written anew in each layer."""
    if path := next(header.files(), None):
        try:
            if first := files.find(path):
                return first.layer
        except DockercError:  # a loop of symlinks
            pass
    return file.layer
