"""Progress as a user sees it: bars on a terminal, lines in a log, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from toolkit.services.progress import Progress


class Silent:
    """Nothing is shown."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A task that nobody sees."""
        yield lambda _: None

    def note(self, text: str) -> None:
        """A remark that nobody reads."""


class Lines(Silent):
    """A plain line on stderr when something is done: for pipes and log files."""

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A line at the end, with the bytes that passed."""
        passed = 0

        def advance(count: int) -> None:
            nonlocal passed
            passed += count

        yield advance
        self.note(f"{name}: {passed / 1e6:.1f} MB")

    def note(self, text: str) -> None:
        """The line."""
        sys.stderr.write(f"{text}\n")  # at once: layers report from several threads


class Bars:
    """A bar a task on a terminal, all of them gone at the end; `done` is what is said of one that
    is full."""

    def __init__(self, done: str) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        self._done = done
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            transient=True,
        )

    @contextmanager
    def task(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar with bytes, rate, time left and state; without a total, only what has passed."""
        bar = self._bars.add_task(name, total=total, state="reading")
        yield lambda count: self._bars.update(bar, advance=count)
        self._bars.update(bar, state=self._done)

    def note(self, text: str) -> None:
        """A line above the bars."""
        self._bars.console.print(text, highlight=False)

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


@contextmanager
def showing(quiet: bool, done: str = "packed") -> Iterator[Progress]:
    """Bars when a person watches stderr, else lines, or nothing at all."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with Bars(done) as bars:
            yield bars
    else:
        yield Lines()
