"""Java: what archives say of themselves, in pom.properties or MANIFEST.MF, inner ones too."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from toolkit.errors import DamagedError, DockercError
from toolkit.files.printable import show
from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import Files, SourceFile
from toolkit.packages.stanza import paragraphs

_SUFFIXES = (".jar", ".war", ".ear", ".jpi", ".hpi")
_POM = re.compile(r"META-INF/maven/[^/]+/[^/]+/pom\.properties")
_MANIFEST = "META-INF/MANIFEST.MF"
_MAX_MEMBER = 1 << 20
_MAX_INNER = 64 << 20
_MAX_INNER_IN_ALL = 256 << 20
"""Bytes of the archives in one archive."""
_MAX_DEPTH = 3
_MAX_MEMBERS = 100_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_FIELDS = frozenset((
    "automatic-module-name", "bundle-license", "bundle-symbolicname", "bundle-version",
    "implementation-vendor-id", "implementation-version",
))  # fmt: skip
_NAMED = re.compile(r"(.+?)-(\d[\w.+~-]*)")
# What zipfile raises on input that is no sound archive.
_BROKEN = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError,
    ValueError, OverflowError, struct.error,
)  # fmt: skip


def wants(file: SourceFile) -> bool:
    """Whether it is an archive of Java's."""
    return file.path.lower().endswith(tuple(suffix.encode() for suffix in _SUFFIXES))


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """Of the archive and of those in it; raises DockercError when one is damaged."""
    budget = _Budget()
    name = show(file.path.rpartition(b"/")[2])
    opened = cast(IO[bytes], file.open())
    yield from _archive(opened, name, file.shown, file.layer, budget, 0)


class _Budget:
    """Bytes of inner archives that are left to be read."""

    def __init__(self) -> None:
        self.left = _MAX_INNER_IN_ALL


def _archive(
    opened: IO[bytes], name: str, path: str, layer: int | None, budget: _Budget, depth: int
) -> Iterator[Package]:
    try:
        with zipfile.ZipFile(opened) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise DamagedError(f"it has more than {_MAX_MEMBERS} members")
            yield from _named(archive, members, name, path, layer)
            for member in members:
                if member.filename.lower().endswith(_SUFFIXES) and depth < _MAX_DEPTH:
                    inner = _read(archive, member, min(_MAX_INNER, budget.left))
                    budget.left -= len(inner)
                    inside = show(member.filename.encode("utf-8", "replace"))
                    last = inside.rpartition("/")[2]
                    yield from _archive(
                        io.BytesIO(inner), last, f"{path}!/{inside}", layer, budget, depth + 1
                    )
    except DockercError:
        raise
    except _BROKEN as error:
        raise DamagedError(f"{path} is no sound archive: {str(error)[:100]}") from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.compress_type not in _METHODS:
        raise DamagedError(f"a member is compressed by the method {member.compress_type}")
    if member.file_size > limit:
        raise DamagedError(f"a member has {member.file_size} bytes; at most {limit} are read")
    with archive.open(member) as file:
        return file.read(limit)


def _named(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], name: str, path: str,
    layer: int | None,
) -> Iterator[Package]:  # fmt: skip
    """By Maven's files, of which a shaded archive has many; else by the manifest or the name."""
    poms = [member for member in members if _POM.fullmatch(member.filename)]
    manifest = _manifest(archive, members)
    licenses = [manifest["bundle-license"]] if manifest.get("bundle-license") else []
    stem = name.rpartition(".")[0]
    match = _NAMED.fullmatch(stem)
    named, version = match.groups() if match else (stem, "")
    told = [manifest.get(field, "") for field in ("implementation-version", "bundle-version")]
    version = next(filter(None, (version, *told)), "")
    has_poms = is_one_of_them = False
    for member in poms:
        fields = _properties(_read(archive, member, _MAX_MEMBER))
        group, artifact = fields.get("groupId", ""), fields.get("artifactId", "")
        release = fields.get("version", "")
        if artifact:
            has_poms = True
            is_one_of_them |= artifact == named or artifact.replace("_", "-") == stem
            is_one_of_them |= release in (version, *told) or stem.endswith(f"-{release}")
            yield make_package(
                "maven", group, artifact, release, path=path, layer=layer,
                licenses=licenses if len(poms) == 1 else [],
                shown_name=f"{group}:{artifact}" if group else artifact,
            )  # fmt: skip
    # Where Maven's files are those of others that were copied into it, it is one more.
    if named and not (has_poms and (is_one_of_them or not version)):
        group = _group(manifest, named)
        yield make_package(
            "maven", group, named, version, path=path, layer=layer,
            licenses=[] if has_poms else licenses, shown_name=f"{group}:{named}",
        )  # fmt: skip


def _manifest(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, str]:
    for member in members:
        if member.filename == _MANIFEST:
            lines = _read(archive, member, _MAX_MEMBER)
            # A line that begins with a space goes on with the one before, without the space.
            lines = lines.replace(b"\r\n", b"\n").replace(b"\n ", b"")
            return next(paragraphs(lines, _FIELDS), {})
    return {}


def _group(manifest: dict[str, str], named: str) -> str:
    """What the manifest lets guess: the name of a bundle or of a module is that of a group, with
    the archive's behind it or, where that begins with the group's last word, the rest of it. Else
    the archive's own name, as many old ones have it."""
    if group := manifest.get("implementation-vendor-id"):
        return group
    for field in ("bundle-symbolicname", "automatic-module-name"):
        parts = manifest.get(field, "").partition(";")[0].strip().split(".")
        if len(parts) > 1:
            words = named.split("-")[1:]
            if len(parts) > 2 and parts[-1] == named:
                parts.pop()
            else:
                while len(parts) > 2 and words and parts[-1] == words.pop():
                    parts.pop()
            return ".".join(parts)
    return named


def _properties(data: bytes) -> dict[str, str]:
    found = {}
    for line in data.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", "!")):
            found[key.strip()] = value.strip()
    return found
