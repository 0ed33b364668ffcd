"""Every error that a user may meet: one sentence that says what, where and what to do.

The kinds are for callers that treat one otherwise than another; a user reads the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DockercError(Exception):
    """The command cannot go on. Its text is shown as it stands; the exit status is 1."""

    exit_status = 1


class AbsentError(DockercError):
    """What was named, or what something else names, is not there."""


class DamagedError(DockercError):
    """What was read is not what its format says: cut short, malformed, changed."""


class RefusedError(DockercError):
    """It is well-formed and could be done, but not safely: beyond a bound, or not allowed."""


class UnsupportedError(DockercError):
    """It is well-formed, and of a kind that this version does not know."""


class PushedExecutableError(UnsupportedError):
    """It is no image, but an executable that was pushed."""


class UsageError(DockercError):
    """The command line itself is wrong. The exit status is 2."""

    exit_status = 2


@contextmanager
def about(where: str) -> Iterator[None]:
    """Say of every DockercError raised in the block where it happened."""
    try:
        yield
    except DockercError as error:
        raise type(error)(f"{where}: {error}") from None
