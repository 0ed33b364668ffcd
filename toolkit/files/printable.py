"""Text of images and executables on its way to a person's terminal."""

from __future__ import annotations


def printable_lines(text: str) -> str:
    """The same for text of several lines, which stay."""
    return "\n".join(printable(line.expandtabs()) for line in text.split("\n"))


def printable(text: str) -> str:
    """The text with what would steer a terminal or break the line escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show(name: bytes) -> str:
    """A name, or its first 200 bytes: what is no UTF-8 or would steer a terminal is escaped."""
    return printable(name[:200].decode("utf-8", "backslashreplace"))
