"""Whether a command may replace a file: an executable of ours always, any other with --force."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import DockercError, RefusedError
from toolkit.files.printable import printable

Force = Annotated[
    bool,
    typer.Option("--force", help="Replace NEW even if it is no executable made by dockerc."),
]


def check_overwrite(path: Path, force: bool, *inputs: Path | None) -> None:
    """Raises RefusedError if a file is there that nobody asked us to replace.

    If it is one of the inputs, the service knows whether that can be.
    """
    # An empty file is a place that somebody has made for it (mktemp).
    if force or not path.is_file() or not path.stat().st_size or _is_executable_of_ours(path):
        return
    if any(given and given.exists() and given.samefile(path) for given in inputs):
        return
    raise RefusedError(
        f"{path} exists and is no executable made by dockerc; give another name, or --force to"
        " replace it"
    )


def note_lost_signatures(app: Path, new: Path) -> None:
    """Say that `new`, whose payload is to be another, has none of the signatures of `app`."""
    from toolkit.executable.executable import open_executable

    with open_executable(app) as executable:
        if executable.is_signed:
            before, after = printable(str(app)), printable(str(new))
            print(
                f"dockerc: note: the signatures of {before} are not for what {after} will be:"
                " it has none; sign it with `dockerc sign`",
                file=sys.stderr,
            )


def _is_executable_of_ours(path: Path) -> bool:
    from toolkit.executable.executable import open_executable

    try:
        with open_executable(path):
            return True
    except DockercError:
        return False
