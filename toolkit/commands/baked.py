"""The options that are baked in, as `dockerc build` and `dockerc edit` take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolkit.bundle.baked import BakedOptions

Env = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="Bake in a variable."),
]
EnvFile = Annotated[
    list[Path] | None,
    typer.Option("--env-file", metavar="FILE", help="Bake in the variables of a file's lines."),
]
Volume = Annotated[
    list[str] | None,
    typer.Option("--volume", "-v", metavar="SRC:DST[:ro]", help="Bake in a bind of the user's."),
]
Workdir = Annotated[
    str | None, typer.Option("--workdir", "-w", help="Bake in a working directory.")
]
Entrypoint = Annotated[
    str | None, typer.Option("--entrypoint", help="Bake in a program: words, or a JSON array.")
]
Cmd = Annotated[str | None, typer.Option("--cmd", help="Bake in its default arguments: likewise.")]
User = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Bake in whom to run as."),
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Bake in an annotation."),
]
Args = Annotated[
    str | None,
    typer.Option(
        "--args",
        metavar="docker|program",
        help="Whose the arguments are: the program's, but for --dockerc-… and what stands before "
        "a -- (default with an entrypoint), or options as for docker run first (default without).",
    ),
]


def options(
    env: Env, volume: Volume, workdir: Workdir, entrypoint: Entrypoint, cmd: Cmd, user: User,
    label: Label, args: Args, env_file: EnvFile, run: tuple[str, ...],
) -> BakedOptions:  # fmt: skip
    """What was given, checked; raises DockercError."""
    from toolkit.bundle.baked import BakedOptions
    from toolkit.bundle.env_file import read_env_file

    # docker's rule: what stands on the command line goes before what a file says.
    of_files = [variable for path in env_file or () for variable in read_env_file(path)]
    return BakedOptions(
        env=(*of_files, *(env or ())),
        volumes=tuple(volume or ()),
        workdir=workdir,
        entrypoint=entrypoint,
        cmd=cmd,
        user=user,
        labels=tuple(label or ()),
        args=args,
        run=run,
    )
