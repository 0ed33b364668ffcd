"""`dockerc mount`: an executable's image as a directory, until Ctrl-C."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import AbsentError, DockercError, UnsupportedError


def mount(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="An empty directory of yours to mount on.")
    ],
) -> None:
    """Show the files of an executable's image in a directory, read-only, until Ctrl-C.

    Needs fusermount3 (package fuse3), which mounts for ordinary users. Prints the directory's path
    as soon as it is mounted.

    dockerc mount py /tmp/py
    """
    from toolkit.executable.executable import open_executable
    from toolkit.executable.stub import read_stub

    with open_executable(app):
        pass
    if not directory.is_dir():
        raise AbsentError(f"{directory}: no such directory; make it first")
    if not hasattr(os, "memfd_create"):
        raise UnsupportedError("only Linux can mount an image; `dockerc cp` copies files out of it")
    # The file's own runtime may be another version's, or for another machine.
    program = os.memfd_create("dockerc-mount")
    with open(program, "wb", closefd=False) as file:
        file.write(read_stub(platform.machine()))
    words = ["dockerc-mount", "--dockerc-mount", str(directory), str(app.absolute())]
    try:
        os.execve(program, words, os.environ)
    except OSError as error:
        raise DockercError(f"cannot run the runtime: {error.strerror}") from None
