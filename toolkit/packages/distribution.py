"""Which Linux distribution an image is: os-release(5)."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from toolkit.errors import DockercError
from toolkit.packages.source import Files

_PLACES = (b"etc/os-release", b"usr/lib/os-release")
_MAX_OS_RELEASE = 64 << 10
_VALUE = re.compile(r"[A-Za-z0-9._~+-]{1,64}")


@dataclass(frozen=True)
class Distribution:
    """Empty where the image does not say."""

    id: str = ""
    version: str = ""
    name: str = ""

    @property
    def qualifier(self) -> str:
        """As package URLs have it: debian-12."""
        return "-".join(part for part in (self.id, self.version) if part) if self.id else ""


def find_distribution(files: Files) -> Distribution:
    """Reads os-release; what is malformed is left out."""
    for place in _PLACES:
        try:
            if file := files.find(place):
                return _parse(file.whole(_MAX_OS_RELEASE).decode("utf-8", "replace"))
        except DockercError:
            continue
    return Distribution()


def _parse(text: str) -> Distribution:
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if not equals or name not in ("ID", "VERSION_ID", "PRETTY_NAME"):
            continue
        try:
            values[name] = "".join(shlex.split(value)[:1])
        except ValueError:
            continue

    def plain(name: str) -> str:
        value = values.get(name, "")
        return value if _VALUE.fullmatch(value) else ""

    pretty = values.get("PRETTY_NAME", "")[:100]
    return Distribution(plain("ID"), plain("VERSION_ID"), pretty if pretty.isprintable() else "")
