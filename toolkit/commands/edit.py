"""`dockerc edit`: another configuration for an executable, without its image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import UsageError


def edit(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="The executable to write; may be APP itself.")
    ],
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="Set a variable."),
    ] = None,
    volume: Annotated[
        list[str] | None,
        typer.Option("--volume", "-v", metavar="SRC:DST[:ro]", help="Add a bind of the user's."),
    ] = None,
    workdir: Annotated[
        str | None, typer.Option("--workdir", "-w", help="Change the working directory.")
    ] = None,
    entrypoint: Annotated[
        str | None,
        typer.Option("--entrypoint", help="Change the program: words, or a JSON array."),
    ] = None,
    cmd: Annotated[
        str | None, typer.Option("--cmd", help="Change its default arguments: likewise.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Change whom it runs as."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Set an annotation.")
    ] = None,
) -> None:
    """Change what is baked into an executable; its data is copied as it is.

    dockerc edit py new_py --env GREETING=hi --cmd 'python3 -q'
    """
    from toolkit.bundle.baked import BakedOptions
    from toolkit.edition import edit as edit_executable

    baked = BakedOptions(
        env=tuple(env or ()),
        volumes=tuple(volume or ()),
        workdir=workdir,
        entrypoint=entrypoint,
        cmd=cmd,
        user=user,
        labels=tuple(label or ()),
    )
    if baked == BakedOptions():
        raise UsageError("say what to change, for example --env NAME=VALUE")
    edit_executable(app, new, baked)
