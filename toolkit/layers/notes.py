"""What was left out, by kind and name: few are told by name, since an image may hold any number."""

from __future__ import annotations

from collections import Counter

from toolkit.limits import MAX_NOTES

_OTHERS = "of other names"


def named(found: Counter[str], kind: str, name: str) -> str:
    """The key to count one by: its name, unless so many others have been named already."""
    key = f"{kind} {name}"
    return key if key in found or len(found) < MAX_NOTES else f"{kind} {_OTHERS}"


def folded(found: Counter[str]) -> Counter[str]:
    """The most frequent by name, all others together."""
    kept = Counter(dict(found.most_common(MAX_NOTES)))
    if others := found.total() - kept.total():
        kept["entries and attributes of other kinds"] += others
    return kept
