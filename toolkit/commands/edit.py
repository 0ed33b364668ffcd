"""`dockerc edit`: another configuration for an executable, without its image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.baked import (
    Cmd,
    Entrypoint,
    Env,
    Label,
    User,
    Volume,
    Workdir,
    baked_options,
)
from toolkit.errors import UsageError


def edit(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="The executable to write; may be APP itself.")
    ],
    env: Env = None,
    volume: Volume = None,
    workdir: Workdir = None,
    entrypoint: Entrypoint = None,
    cmd: Cmd = None,
    user: User = None,
    label: Label = None,
) -> None:
    """Change what is baked into an executable; its data is copied as it is.

    dockerc edit py new_py --env GREETING=hi --cmd 'python3 -q'
    """
    from toolkit.bundle.baked import BakedOptions
    from toolkit.edition import edit as edit_executable

    baked = baked_options(env, volume, workdir, entrypoint, cmd, user, label)
    if baked == BakedOptions():
        raise UsageError("say what to change, for example --env NAME=VALUE")
    edit_executable(app, new, baked)
