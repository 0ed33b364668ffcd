"""`dockerc extract`: the squashfs out of an executable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def extract(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The squashfs file to write.")],
) -> None:
    """Write an executable's squashfs to a file of its own.

    dockerc extract py out.sqfs
    """
    from toolkit.atomic import atomic_file
    from toolkit.executable import copy_payload, open_executable

    with open_executable(app) as executable, atomic_file(output, 0o644) as file:
        copy_payload(executable, file)
