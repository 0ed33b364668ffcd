"""`WWW-Authenticate` (RFC 9110, 11.6.1) as registries use it: the distribution project's token
authentication specification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*(?:,\s*|$)')


@dataclass(frozen=True)
class Challenge:
    """How a registry wants to be authenticated: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenge(header: str) -> Challenge:
    """Reads the first challenge of a header. Whatever is malformed is left out, never an error."""
    scheme, _, rest = header.strip()[:8192].partition(" ")
    parameters: dict[str, str] = {}
    position = 0
    while match := _PARAMETER.match(rest, position):
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        parameters[match[1].lower()] = value
        position = match.end()
    return Challenge(scheme.lower(), parameters)
