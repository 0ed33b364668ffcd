"""`dockerc stop`: ends a run."""

from __future__ import annotations

from typing import Annotated

import typer

_MORE = 30
"""Seconds that the runtime may take beside."""


def stop(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PID", help="The run, as `dockerc ps` has it.")
    ],
    time: Annotated[
        int, typer.Option("--time", "-t", min=0, help="Seconds until it is killed.")
    ] = 10,
) -> None:
    """Stop a run: the image's stop signal (SIGTERM), and SIGKILL after some seconds.

    dockerc stop web
    """
    from toolkit.errors import DockercError
    from toolkit.files.printable import printable
    from toolkit.services.instances import ask_run, choose_run, find_runs

    run = choose_run(find_runs(), name)
    words = ["--dockerc-stop", "-t", str(time), str(run.pid)]
    if not ask_run(run, words, time + _MORE):
        raise DockercError(f"{name} could not be stopped")
    print(printable(run.name))
