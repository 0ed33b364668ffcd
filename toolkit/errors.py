"""Every error that a user may meet: one sentence that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DockercError(Exception):
    """The command cannot go on. Its text is shown as it stands; the exit status is 1."""

    exit_status = 1


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
