"""Progress of long work: what a service reports; a command decides what a user sees of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """What a service needs: named tasks of so many bytes, from any thread, and remarks."""

    def task(
        self, name: str, total: int | None
    ) -> AbstractContextManager[Callable[[int], None]]: ...

    def note(self, text: str) -> None: ...
