"""`dockerc logs`: the output of a run in the background."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the run is called.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
) -> None:
    """Print what runs of that name have written that were started with -d.

    dockerc logs -f web
    """
    from toolkit.services.logs import log_file, read_log

    for piece in read_log(log_file(name), follow):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
