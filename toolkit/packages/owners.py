"""Which package put a file where it is, as far as databases have lists of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from toolkit.errors import DockercError
from toolkit.packages import apk, npm
from toolkit.packages.rpm import database as rpm
from toolkit.packages.source import SourceFile

_DPKG = b"var/lib/dpkg/info/"
_MAX_LIST = 16 << 20
MAX_OWNED = 4_000_000
"""Files of all packages: as many as a tree may have."""


def owned_files(walked: Iterable[SourceFile]) -> Iterator[tuple[str, bytes]]:
    """Names of packages, each with the path of a file, or with one that ends in a slash for all
    that is below it. What cannot be read is left out."""
    count = 0
    for file in walked:
        try:
            for name, path in _owned(file):
                count += 1
                if count > MAX_OWNED:
                    return
                yield name, path.lstrip(b"/")
        except DockercError:
            continue


def _owned(file: SourceFile) -> Iterator[tuple[str, bytes]]:
    directory, slash, last = file.path.rpartition(b"/")
    if directory + slash == _DPKG and last.endswith(b".list"):
        name = _text(last[:-5].partition(b":")[0])
        for line in file.whole(_MAX_LIST).split(b"\n"):
            if len(line) > 2:
                yield name, line
    elif apk.wants(file):
        yield from apk.owned(file)
    elif rpm.wants(file):
        yield from rpm.owned(file)
    elif npm.is_installed(file):
        yield _text(directory.rpartition(b"node_modules/")[2]), directory + b"/"
    elif last == b"RECORD" and directory.endswith(b".dist-info"):
        place, _, stem = directory.rpartition(b"/")
        name = _text(stem.partition(b"-")[0])
        # PATH,HASH,SIZE; a path is relative to the directory of the dist-info.
        for line in file.whole(_MAX_LIST).splitlines():
            yield name, place + b"/" + line.rsplit(b",", 2)[0].strip(b'"')


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")[:200]
