"""`dockerc vm`: an executable's program in a machine of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    }
}


def vm(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS] [-- ARGS]",
            help="Options of docker run (-e, -v, -p, -m, …); the program's arguments.",
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            "--kernel",
            metavar="FILE|IMAGE",
            help="The kernel to boot: a file, a package of Debian, or an image with its transport.",
        ),
    ] = None,
) -> None:
    """Run an executable in a machine of its own, under QEMU.

    dockerc vm --kernel linux-image-cloud-amd64.deb py -- -c 'print(1)'
    """
    from toolkit.commands.defaults import kernel_default
    from toolkit.machine.start import run_in_machine

    raise typer.Exit(run_in_machine(app, words or [], kernel or kernel_default(), _note))


def _note(text: str) -> None:
    print(f"dockerc: {text}", file=sys.stderr)
