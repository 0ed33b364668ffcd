"""dpkg: /var/lib/dpkg/status, and the files of status.d that distroless images have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.errors import DockercError
from toolkit.packages.distribution import Distribution
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import Files, SourceFile
from toolkit.packages.stanza import paragraphs

_STATUS = b"var/lib/dpkg/status"
_STATUS_D = b"var/lib/dpkg/status.d/"
_MAX_STATUS = 32 << 20
_MAX_COPYRIGHT = 512 << 10
_FIELDS = frozenset(("package", "status", "version", "architecture", "source"))
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]+[A-Za-z0-9+])")


def wants(file: SourceFile) -> bool:
    """Whether it is a database of dpkg's."""
    if file.path == _STATUS:
        return True
    return file.path.startswith(_STATUS_D) and not file.path.endswith(b".md5sums")


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """Those that are installed; raises DockercError when it is damaged."""
    for fields in paragraphs(file.whole(_MAX_STATUS), _FIELDS):
        # The last word of `want ok installed`; status.d has no such line.
        is_installed = fields.get("status", "installed").split()[-1:] == ["installed"]
        name, version = fields.get("package", ""), fields.get("version", "")
        if not is_installed or not name:
            continue
        arch = fields.get("architecture", "")
        qualifiers = {"arch": arch, "distro": distribution.qualifier}
        source = fields.get("source", "")
        if source and source != name:
            # `name (version)`, where the source's version is another.
            qualifiers["upstream"] = source.replace(" (", "@").removesuffix(")")
        yield make_package(
            "deb",
            distribution.id or "debian",
            name,
            version,
            path=file.shown,
            layer=_layer(file, files, name, arch),
            qualifiers=qualifiers,
            licenses=_licenses(files, name),
        )


def _layer(file: SourceFile, files: Files, name: str, arch: str) -> int | None:
    """The status is written anew in each layer, the list of a package's files is not."""
    if file.path != _STATUS:
        return file.layer
    for stem in (name, f"{name}:{arch}"):
        listed = _find(files, f"var/lib/dpkg/info/{stem}.list")
        if listed:
            return listed.layer
    return file.layer


def _licenses(files: Files, name: str) -> list[str]:
    """What a machine-readable copyright file declares, else the common licences that it names."""
    file = _find(files, f"usr/share/doc/{name}/copyright")
    if file is None or file.size > _MAX_COPYRIGHT:
        return []
    try:
        text = file.whole(_MAX_COPYRIGHT).decode("utf-8", "replace")
    except DockercError:
        return []
    if text.startswith("Format:"):
        lines = re.findall(r"^License:[ \t]*(\S[^\n]*)", text, re.MULTILINE)
        return sorted({line.strip() for line in lines})
    return sorted({found.rstrip(".") for found in _COMMON.findall(text)})


def _find(files: Files, path: str) -> SourceFile | None:
    if len(path) > 255 or "\0" in path:
        return None
    try:
        return files.find(path.encode("utf-8", "surrogateescape"))
    except DockercError:  # a loop of symlinks
        return None
