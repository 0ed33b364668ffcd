"""Progress of long work: services report, a command decides what a user sees of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a service needs: a named task of so many bytes, advanced as they pass."""

    def task(
        self, name: str, total: int | None
    ) -> AbstractContextManager[Callable[[int], None]]: ...


class Silent:
    """Nothing is shown: a pipe, a file, a test."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A task that nobody sees."""
        yield lambda _: None


class Bars:
    """A bar a task on a terminal's stderr, gone when the task ends."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar with bytes, rate and time left; without a total, only what has passed."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        with RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as bars:
            bar = bars.add_task(name, total=total)
            yield lambda count: bars.update(bar, advance=count)


def stderr_progress() -> Progress:
    """Bars when a person watches stderr, else silence."""
    return Bars() if sys.stderr.isatty() else Silent()
