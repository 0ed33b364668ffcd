"""`dockerc replace`: the same payload under the current runtime stub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replace(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    new: Annotated[
        Path, typer.Argument(metavar="NEW", help="The executable to write; may be APP itself.")
    ],
) -> None:
    """Put an executable's payload under the current runtime stub of its architecture.

    dockerc replace py new_py
    """
    from toolkit.executable import replace_stub

    replace_stub(app, new)
