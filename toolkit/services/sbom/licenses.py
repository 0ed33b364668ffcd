"""Licences as databases write them, and as SPDX's list of licences does."""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """How a bill of materials may tell of it."""

    ID, EXPRESSION, NAME = "id", "expression", "name"


class License(NamedTuple):
    """A licence of SPDX's list, an expression of several, or a name that SPDX does not know."""

    kind: Kind
    text: str


_DEBIAN = {
    "expat": "MIT", "mit/x11": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause":
    "BSD-2-Clause", "apache-2": "Apache-2.0", "apache": "Apache-2.0", "artistic": "Artistic-1.0",
    "artistic-2": "Artistic-2.0",
    "isc": "ISC", "zlib": "Zlib", "mit license": "MIT", "apache software license": "Apache-2.0",
    "python software foundation license": "PSF-2.0", "psf": "PSF-2.0", "psf-2": "PSF-2.0",
    "apache license 2.0": "Apache-2.0", "bsd": "", "mpl-1.1": "MPL-1.1", "mpl-2": "MPL-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}  # fmt: skip
"""Names that Debian's copyright files and Python's classifiers have for licences of SPDX's."""
_MAX_PARENTHESES = 20
"""In an expression: libraries go into each by a call of its own."""
_GNU = re.compile(r"(A?GPL|LGPL|GFDL)-?v?(\d(?:\.\d)?)(\+?)", re.IGNORECASE)


def classify(text: str) -> License:
    """What a licence's name is to SPDX."""
    from cyclonedx.spdx import fixup_id, is_expression

    known = _DEBIAN.get(text.lower())
    if known:
        return License(Kind.ID, known)
    if match := _GNU.fullmatch(text):
        family, version, later = match.groups()
        version = version if "." in version else f"{version}.0"
        if family.upper() == "GFDL" and version == "1.0":
            version = "1.1"
        candidate = f"{family.upper()}-{version}-{'or-later' if later else 'only'}"
        if fixup_id(candidate):
            return License(Kind.ID, candidate)
    if identifier := fixup_id(text):
        return License(Kind.ID, identifier)
    if (
        text.count("(") <= _MAX_PARENTHESES
        and re.search(r"\s(?:AND|OR|WITH)\s", text)
        and is_expression(text)
    ):
        return License(Kind.EXPRESSION, text)
    return License(Kind.NAME, text)
