"""The options that are baked in, as `dockerc build` and `dockerc edit` take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolkit.bundle.baked import BakedOptions

Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="Set a variable; NAME alone takes its value from the environment.",
    ),
]
EnvFile = Annotated[
    list[Path] | None,
    typer.Option("--env-file", metavar="FILE", help="Set the variables in FILE, one on each line."),
]
Volume = Annotated[
    list[str] | None,
    typer.Option(
        "--volume",
        "-v",
        metavar="SRC:DST[:ro]",
        help="Bind mount a file or directory of the machine that it runs on.",
    ),
]
Workdir = Annotated[str | None, typer.Option("--workdir", "-w", help="Set the working directory.")]
Entrypoint = Annotated[
    str | None,
    typer.Option("--entrypoint", help="Replace the image's entrypoint: words, or a JSON array."),
]
Cmd = Annotated[str | None, typer.Option("--cmd", help="Replace the image's command, likewise.")]
User = Annotated[
    str | None,
    typer.Option("--user", "-u", metavar="USER[:GROUP]", help="Set the user and group."),
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Add a label."),
]
Args = Annotated[
    str | None,
    typer.Option(
        "--args",
        metavar="docker|program",
        help="How the executable reads its arguments. program: all are the program's, but for "
        "--dockerc-… and options before a -- (default for images with an entrypoint). docker: "
        "options of docker run first (default for others).",
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
