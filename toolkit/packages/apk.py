"""apk: /lib/apk/db/installed, paragraphs of `P:name` lines (apk(5), "INSTALLED DATABASE")."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.errors import DockercError
from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import Files, SourceFile

_PLACES = (b"lib/apk/db/installed", b"usr/lib/apk/db/installed")
_MAX_INSTALLED = 32 << 20


def wants(file: SourceFile) -> bool:
    """Whether it is apk's database."""
    return file.path in _PLACES


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """All in it; raises DockercError when it is damaged."""
    data = file.whole(_MAX_INSTALLED)
    start = 0
    while start < len(data):
        end = data.find(b"\n\n", start)
        end = len(data) if end < 0 else end
        fields = _fields(data[start:end])
        start = end + 2
        if not fields.get("P"):
            continue
        qualifiers = {"arch": fields.get("A", ""), "distro": distribution.qualifier}
        if fields.get("o", "") not in ("", fields["P"]):
            qualifiers["upstream"] = fields["o"]
        yield make_package(
            "apk",
            distribution.id or "alpine",
            fields["P"],
            fields.get("V", ""),
            path=file.shown,
            layer=_layer(files, fields, file),
            qualifiers=qualifiers,
            licenses=[fields["L"]] if fields.get("L") else [],
        )


def owned(file: SourceFile) -> Iterator[tuple[str, bytes]]:
    """The files of each package."""
    name, directory = "", b""
    for line in file.whole(_MAX_INSTALLED).split(b"\n"):
        key, value = line[:2], line[2:]
        if key == b"P:":
            name = value.decode("utf-8", "replace")
        elif key == b"F:":
            directory = value
        elif key == b"R:" and name:
            yield name, directory + b"/" + value


def _fields(paragraph: bytes) -> dict[str, str]:
    """The first of each; R, a file, with the directory F that it is in."""
    found: dict[str, str] = {}
    for line in paragraph.split(b"\n"):
        key, colon, value = line.partition(b":")
        if colon and len(key) == 1 and (letter := key.decode("ascii", "replace")) not in found:
            found[letter] = value.decode(
                "utf-8", "surrogateescape" if letter in "FR" else "replace"
            )
            if letter == "R":
                break
        elif key == b"F" and "R" not in found:
            found["F"] = value.decode("utf-8", "surrogateescape")
    return found


def _layer(files: Files, fields: dict[str, str], database: SourceFile) -> int | None:
    """That of the package's first file: the database is written anew in each layer."""
    if "R" in fields:
        path = f"{fields.get('F', '')}/{fields['R']}".encode("utf-8", "surrogateescape")
        try:
            if first := files.find(path):
                return first.layer
        except DockercError:
            pass
    return database.layer
