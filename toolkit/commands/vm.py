"""`dockerc vm`: an executable's program in a machine of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from toolkit.images.auth.access import Access

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    }
}


Kernel = Annotated[
    str | None,
    typer.Option(
        "--kernel",
        metavar="FILE|IMAGE",
        help="The kernel to boot: a file, a package of Debian (.deb), or an image with its "
        "transport (docker://…).",
    ),
]


def vm(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS] [-- ARGS]",
            help="Options of docker run (-e, -v, -p, -m, …); the program's arguments.",
        ),
    ] = None,
    kernel: Kernel = None,
) -> None:
    """Run an executable in a machine of its own, under QEMU.

    The exit status is the program's; 125 if the machine failed.

    dockerc vm --kernel linux-image-cloud-amd64.deb py -p 8080:80 -- -m http.server 80
    """
    raise typer.Exit(run_vm(app, words or [], kernel))


def run_vm(
    app: Path, words: Sequence[str], kernel: str | None, access: Access | None = None
) -> int:
    """Returns the program's exit status; a failure that is none of usage is a MachineError."""
    from toolkit.commands.defaults import kernel_default
    from toolkit.errors import DockercError, UsageError
    from toolkit.images.auth.access import DEFAULT_ACCESS
    from toolkit.machine.run import MachineError
    from toolkit.machine.start import run_in_machine

    try:
        name = kernel or kernel_default()
        return run_in_machine(app, words, name, _note, access or DEFAULT_ACCESS)
    except UsageError:
        raise
    except DockercError as error:
        raise MachineError(str(error)) from None


def _note(text: str) -> None:
    if os.environ.get("DOCKERC_LOG") != "quiet":
        print(f"dockerc: {text}", file=sys.stderr)
