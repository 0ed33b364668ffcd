"""Paragraphs of `Name: value` lines, as dpkg, Python and Java write them."""

from __future__ import annotations

from collections.abc import Collection, Iterator


def paragraphs(data: bytes, wanted: Collection[str]) -> Iterator[dict[str, str]]:
    """Those fields of each paragraph, by lower-case names; `wanted` has names in lower case.

    A line that begins with a space goes on with the one before. Of a field that is there several
    times the values are joined by line ends.
    """
    data = data.replace(b"\r\n", b"\n")
    start = 0
    while start < len(data):
        end = data.find(b"\n\n", start)
        end = len(data) if end < 0 else end
        if found := _fields(data[start:end], wanted):
            yield found
        start = end + 2


def _fields(paragraph: bytes, wanted: Collection[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in paragraph.split(b"\n"):
        if line[:1] in (b" ", b"\t"):
            if current is not None:
                current[-1] += "\n" + _text(line)
            continue
        name, colon, value = line.partition(b":")
        key = _text(name).lower()
        current = None
        if colon and key in wanted:
            current = found.setdefault(key, [])
            current.append(_text(value))
    return {key: "\n".join(values) for key, values in found.items()}


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()
