"""`dockerc shell`: a shell in an executable's image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.on_linux import need_linux
from toolkit.errors import AbsentError, DockercError, UnsupportedError, UsageError
from toolkit.limits import MAX_STUB

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    }
}
_OWN = b"dockerc-help"
"""Stands in each of our runtimes."""
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/sh", "/usr/bin/sh")


def shell(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OPTIONS] [-- ARGS]",
            help="Options of docker run (-e, -v, -u, …); what follows -- goes to the shell.",
        ),
    ] = None,
) -> None:
    """Start the shell of an executable's image, bash or sh, instead of its program.

    dockerc shell py

    dockerc shell py -v .:/work -- -c 'ls /work'
    """
    from toolkit.bundle.run_options import split_run_words
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import find_in_image
    from toolkit.squashfs.read.lookup import reading

    need_linux(f"dockerc vm {app}")
    options, arguments = split_run_words(words or [])
    if arguments and "--" not in (words or [])[: len(options) + 1]:
        raise UsageError(f"put -- before the arguments of the shell: -- {arguments[0]}")
    with open_executable(app) as executable, reading(str(app)):
        if _OWN not in executable.stub(MAX_STUB):
            raise UnsupportedError(
                "its runtime is another's and starts no shell; `dockerc replace` gives it ours"
            )
        nodes = ((path, find_in_image(executable, path)[1]) for path in _SHELLS)
        found = next((path for path, node in nodes if node is not None and node.is_file), "")
    if not found:
        raise AbsentError(f"{app}: its image has no shell: neither bash nor sh")
    program = str(app) if "/" in str(app) else f"./{app}"
    try:
        os.execv(program, [program, *options, "--entrypoint", found, "--", *arguments])
    except OSError as error:
        raise DockercError(f"cannot run {app}: {error.strerror}") from None
