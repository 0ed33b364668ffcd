"""`dockerc run`: an image's program at once, its executable kept in the cache."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from toolkit.errors import DockercError


def run(
    reference: Annotated[
        str, typer.Argument(metavar="IMAGE", help="The image, as `dockerc build` takes it.")
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARGS]...", help="In place of the image's CMD."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="Set a variable, or pass yours."),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option("--volume", "-v", metavar="SRC:DST[:ro]", help="Bind a file or directory."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Tell nothing of the building.")
    ] = False,
) -> None:
    """Build an image into the cache, unless it is there, and run it.

    dockerc run -e A=1 docker://python:3.12 python -c 'print(1)'
    """
    from toolkit.apps import app_of
    from toolkit.images.platforms import host_platform
    from toolkit.progress import showing

    with showing(quiet) as progress:
        app = app_of(reference, host_platform(), progress)
    words = [str(app)]
    for option, values in (("--env", env), ("--volume", volume)):
        for value in values or ():
            words += [option, value]
    sys.stdout.flush()
    try:
        os.execv(app, [*words, "--", *(arguments or ())])
    except OSError as error:
        raise DockercError(f"cannot run {app}: {error.strerror}") from None
