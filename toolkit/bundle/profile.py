"""Profiles: what a program uses of its image while it starts (docs/profiles.md).

The runtime writes them (fuse/profile_file.zig); they are text, a line for each use, in the order of
first use, and one after the other they are one profile.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError
from toolkit.files.printable import show
from toolkit.limits import MAX_DEPTH, MAX_NAME, MAX_PATH

MAX_PROFILE = 32 << 20
"""Bytes of a profile."""
MAX_USES = 1 << 20
"""Lines of all profiles of a build."""
PAGE = 4096
_MAX_RANGES = 64
_MAX_OFFSET = 1 << 44
_HEADER = b"# dockerc profile 1"


class Use(IntEnum):
    """What was done with a path; the numbers are the start list's."""

    NAME = 0
    NONE = 1
    LIST = 2
    READ = 3


_WORDS = {b"name": Use.NAME, b"none": Use.NONE, b"list": Use.LIST, b"read": Use.READ}
_RANGE = re.compile(rb"([0-9]{1,15})\+([0-9]{1,15})")
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2})?")


@dataclass(frozen=True, slots=True)
class Line:
    """One use; `ranges` are the first page and the number of pages of what was read."""

    use: Use
    path: bytes
    """From the root of the image, without a slash at its start; the root itself is empty."""
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass
class Recording:
    """One recorded start of a program."""

    program: bytes
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class Profile:
    """The recordings of one or several files, and the SHA-256 of the files' text."""

    recordings: tuple[Recording, ...]
    digest: str


def read_profiles(paths: Iterable[Path]) -> Profile:
    """Raises DockercError for a file that cannot be read, or is no profile."""
    recordings: list[Recording] = []
    digest = hashlib.sha256()
    uses = 0
    for path in paths:
        try:
            with path.open("rb") as file:
                text = file.read(MAX_PROFILE + 1)
        except FileNotFoundError:
            raise AbsentError(f"--profile {path}: there is no such file") from None
        except OSError as error:
            raise DockercError(f"--profile {path}: {error.strerror}") from None
        if len(text) > MAX_PROFILE:
            raise RefusedError(f"--profile {path}: it has more than {MAX_PROFILE >> 20} MiB")
        digest.update(text)
        try:
            recordings += parse(text)
        except DamagedError as error:
            raise DamagedError(f"--profile {path}: {error}") from None
        uses = sum(len(recording.lines) for recording in recordings)
        if uses > MAX_USES:
            raise RefusedError(f"--profile {path}: more than {MAX_USES} lines with those before")
    return Profile(tuple(recordings), f"sha256:{digest.hexdigest()}")


def parse(text: bytes) -> list[Recording]:
    """The recordings in a profile; raises DamagedError with the number of the wrong line."""
    lines = text.split(b"\n")
    if lines[0].rstrip(b"\r") != _HEADER:
        raise DamagedError(f"line 1: this is no profile, which begins with {_HEADER.decode()}")
    recordings: list[Recording] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip(b"\r")
        if not line or line.startswith(b"#"):
            continue
        try:
            _take(line, recordings)
        except ValueError as error:
            raise DamagedError(f"line {number}: {error}") from None
    return recordings


def _take(line: bytes, recordings: list[Recording]) -> None:
    word, _, rest = line.partition(b" ")
    if word == b"start":
        recordings.append(Recording(_path(rest)))
        return
    if word not in _WORDS:
        raise ValueError(f"{show(word[:40])!r} is not start, name, none, list or read")
    if not recordings:
        raise ValueError("the line `start` with the program has to come before")
    use = _WORDS[word]
    ranges: tuple[tuple[int, int], ...] = ()
    if use is Use.READ:
        given, _, rest = rest.partition(b" ")
        ranges = _ranges(given)
    recordings[-1].lines.append(Line(use, _path(rest), ranges))


def _path(text: bytes) -> bytes:
    if not text.startswith(b"/"):
        raise ValueError("a path has to begin with /")
    if b"\\" in text:
        text = _ESCAPE.sub(_unescape, text)
    parts = text[1:].split(b"/")
    if parts == [b""]:
        return b""
    if any(part in (b"", b".", b"..") or len(part) > MAX_NAME for part in parts) or b"\0" in text:
        raise ValueError(f"{show(text[:200])} is no path of an image")
    if len(text) > MAX_PATH or len(parts) > MAX_DEPTH:
        raise ValueError("the path is too long")
    return text[1:]


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise ValueError("behind a backslash stand x and two digits")
    return bytes((int(match[1][1:], 16),))


def _ranges(text: bytes) -> tuple[tuple[int, int], ...]:
    """Pages, from OFFSET+LENGTH in bytes with commas between."""
    found: list[tuple[int, int]] = []
    for part in text.split(b",", _MAX_RANGES):
        match = _RANGE.fullmatch(part)
        if match is None or len(found) == _MAX_RANGES:
            raise ValueError(f"{show(text[:40])} is not OFFSET+LENGTH,…")
        offset, length = int(match[1]), int(match[2])
        if not length or offset + length > _MAX_OFFSET:
            raise ValueError(f"{show(part)} is no part of a file")
        first, end = offset // PAGE, -(-(offset + length) // PAGE)
        found.append((first, end - first))
    return tuple(found)
