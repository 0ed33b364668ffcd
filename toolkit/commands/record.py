"""`dockerc record`: a profile of an executable's start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import UsageError

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    }
}


def record(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PROFILE", help="The profile to write.")
    ],
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", metavar="N", min=0.1, help="End the program after so long, by SIGTERM."
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS] [-- ARGS]",
            help="Options of docker run (-e, -v, -u, …); what follows -- goes to the program.",
        ),
    ] = None,
) -> None:
    """Run an executable and record what it uses of its image, for build --profile.

    dockerc record -o numpy.profile py -- python -c 'import numpy'

    dockerc record -o web.profile --seconds 10 web
    """
    from toolkit.bundle.run_options import split_run_words
    from toolkit.commands.on_linux import need_linux
    from toolkit.services.record import record as record_start

    need_linux(f"dockerc vm {app}")
    options, arguments = split_run_words(words or [])
    if arguments and "--" not in (words or [])[: len(options) + 1]:
        raise UsageError(f"put -- before the arguments of the program: -- {arguments[0]}")
    status = record_start(app, output, options, arguments, seconds=seconds)
    ended = 128 + 15
    if status and not (seconds and status == ended):
        print(f"dockerc: note: the program's exit status was {status}", file=sys.stderr)
