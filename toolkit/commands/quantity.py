"""Sizes as people read them."""

from __future__ import annotations

import math
import re

from toolkit.errors import UsageError

_UNITS = ("kB", "MB", "GB", "TB")


def size_text(size: int | None) -> str:
    """As docker writes it, in powers of 1000: 512 B, 4.1 kB, 82.5 MB; ? where it is not known."""
    if size is None:
        return "?"
    if size < 1000:
        return f"{size} B"
    value, power = size / 1000, 0
    while value >= 999.95 and power + 1 < len(_UNITS):
        value, power = value / 1000, power + 1
    return f"{value:.1f} {_UNITS[power]}"


def short_size(size: int) -> str:
    """As `ls -h` writes it: rounded up, in powers of 1024: 512, 4.1K, 79M."""
    if size < 1024:
        return str(size)
    power = 0
    while size >= 1024 ** (power + 1):
        power += 1
    for unit in "KMGTPE"[power - 1 :]:
        whole = size / 1024**power
        if whole <= 9.9:
            return f"{math.ceil(whole * 10) / 10:.1f}{unit}"
        if math.ceil(whole) < 1024:
            return f"{math.ceil(whole)}{unit}"
        power += 1
    return str(size)


def parse_size(text: str) -> int:
    """Bytes, as docker writes them: 500MB, 5 GB, 4.1kB; a number alone is of megabytes.

    Raises UsageError.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*([kKMGT]?B)?", text)
    if match is None:
        raise UsageError(f"'{text}' is not a size: write 500MB or 5GB")
    unit = (match[2] or "MB").replace("K", "k")
    return round(float(match[1]) * 1000.0 ** ("B", *_UNITS).index(unit))
