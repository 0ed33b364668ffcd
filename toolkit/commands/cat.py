"""`dockerc cat`: one file out of a payload."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import DockercError


def cat(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="A file of the image.")],
) -> None:
    """Print files of an executable's image; symlinks are followed inside the image.

    dockerc cat py /etc/os-release
    """
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import find_in_image
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable:
        for path in paths:
            with reading(str(app)):
                filesystem, node = find_in_image(executable, path)
                if node is None or not node.is_file:
                    there = "has no" if node is None else "has no regular file"
                    raise DockercError(f"its image {there} {path}")
                pieces = filesystem.content(node)
            while True:
                # Writing is outside: what goes wrong there is no damage of the payload.
                with reading(str(app)):
                    chunk = next(pieces, None)
                if chunk is None:
                    break
                sys.stdout.buffer.write(bytes(chunk.size) if chunk.data is None else chunk.data)
