"""When a registry is asked what a name leads to, as docker and podman say it."""

from __future__ import annotations

from enum import Enum


class Pull(str, Enum):
    """What --pull takes."""

    ALWAYS, MISSING, NEVER = "always", "missing", "never"
