"""`dockerc edit`: another configuration for an executable, without its image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands import baked
from toolkit.commands.baked_run import BakingCommand, baked_words
from toolkit.commands.overwrite import Force, check_overwrite, note_lost_signatures
from toolkit.commands.profiles import ProfileFiles, missing_note, read_profile
from toolkit.errors import UsageError

SETTINGS = {"cls": BakingCommand}


def edit(
    context: typer.Context,
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="The executable to write; may be APP itself.")
    ],
    env: baked.Env = None,
    env_file: baked.EnvFile = None,
    volume: baked.Volume = None,
    workdir: baked.Workdir = None,
    entrypoint: baked.Entrypoint = None,
    cmd: baked.Cmd = None,
    user: baked.User = None,
    label: baked.Label = None,
    args: baked.Args = None,
    force: Force = False,
    profile: ProfileFiles = None,
) -> None:
    """Change the configuration in an executable; its files are copied as they are.

    dockerc edit py new_py --env GREETING=hi --cmd 'python3 -q'

    Other options of docker run (dockerc-run(1)) are accepted by their long names, as by build.
    """
    from toolkit.bundle.baked import BakedOptions
    from toolkit.services.edit import edit as edit_executable

    options = baked.options(
        env, volume, workdir, entrypoint, cmd, user, label, args, env_file, baked_words(context)
    )
    if options == BakedOptions() and not profile:
        raise UsageError("say what to change, for example --env NAME=VALUE")
    check_overwrite(new, force, app)
    note_lost_signatures(app, new)
    missing = edit_executable(app, new, options, read_profile(profile))
    if missing:
        print(missing_note(missing), file=sys.stderr)
