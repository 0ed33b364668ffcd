"""Which image suits a platform: the rules of containerd's `platforms` package, for one platform."""

from __future__ import annotations

import platform as host
import re

from toolkit.errors import DockercError, UsageError
from toolkit.images.source import Platform

# GOARCH names, from what uname(2) and people say. OCI image index, `platform.architecture`.
_ARCHITECTURES = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv7": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", None),
    "i686": ("386", None),
}
# What no variant means: containerd `platforms.normalizeArch`.
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class MissingPlatform(DockercError):
    """The image exists, but not for the platform asked for."""


def parse_platform_name(text: str) -> Platform:
    """Reads `OS/ARCHITECTURE[/VARIANT]`, as docker's --platform. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z0-9_]+/[A-Za-z0-9_-]+(?:/[A-Za-z0-9_.]+)?", text):
        raise UsageError(
            f"'{text}' is not a platform: write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, "
            f"like linux/arm64"
        )
    platform = normalised(Platform(*text.split("/")))
    if platform.os != "linux":
        raise UsageError(f"executables run images for linux, not for {platform.os}")
    return platform


def normalised(platform: Platform) -> Platform:
    """The platform in Go's words: `x86_64` is `amd64`, and arm64's `v8` goes without saying."""
    architecture = platform.architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, None))
    variant = platform.variant or implied
    if variant and variant[0].isdigit():
        variant = f"v{variant}"
    if architecture in ("arm64", "amd64") and variant == _DEFAULT_VARIANTS[architecture]:
        variant = None
    return Platform(platform.os.lower(), architecture, variant)


def distance(wanted: Platform, offered: Platform) -> float | None:
    """How far an offered image is from what is wanted: 0 is exact, None does not run there.

    An older variant of the same architecture runs on a newer one (arm/v7 runs arm/v6).
    """
    wanted, offered = normalised(wanted), normalised(offered)
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return None
    default = _DEFAULT_VARIANTS.get(wanted.architecture)
    if default is None:
        return 0 if wanted.variant in (None, offered.variant) else None
    if wanted.architecture == "arm" and offered.variant is None:
        return 99  # nobody says which; it is the only hope when no other entry suits
    have, need = _level(offered.variant or default), _level(wanted.variant or default)
    if have is None or need is None:
        return 0 if offered.variant == wanted.variant else None
    return need - have if have <= need else None


def _level(variant: str) -> float | None:
    match = re.fullmatch(r"v([0-9]{1,3}(?:\.[0-9]{1,3})?)", variant)
    return float(match[1]) if match else None


def host_platform() -> Platform:
    """The platform of Linux containers on this machine, be it Linux or not."""
    return normalised(Platform("linux", host.machine()))
