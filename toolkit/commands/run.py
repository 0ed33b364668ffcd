"""`dockerc run`: an image's program at once, its executable kept in the cache."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from toolkit.errors import DockercError, UsageError

_WITHOUT_VALUE = {"--init", "--interactive", "--privileged", "--read-only", "--rm", "--tty"}
"""Of the runtime's options (runtimes/src/cli/flags.zig); all others take a value."""
_LETTERS_WITHOUT_VALUE = "it"


def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE [ARGS]",
            help="Options as of the executable itself, which are those of docker run (-e, -v, -w, "
            "…), before the image; first of all may stand -q, to hear nothing of the building. "
            "What stands after the image is the program's.",
        ),
    ],
) -> None:
    """Build an image into the cache, unless it is there, and run it.

    dockerc run -e A=1 docker://python:3.12 python -c 'print(1)'
    """
    from toolkit.apps import app_of
    from toolkit.images.platforms import host_platform
    from toolkit.progress import showing

    quiet = words[0] in ("-q", "--quiet")
    options, reference, arguments = _split(words[quiet:])
    with showing(quiet) as progress:
        app = app_of(reference, host_platform(), progress)
    try:
        os.execv(app, [str(app), *options, "--", *arguments])
    except OSError as error:
        raise DockercError(f"cannot run {app}: {error.strerror}") from None


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    """The runtime's options, the image, and the program's words."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        at += 1 if _stands_alone(words[at]) else 2
    image = at + (words[at : at + 1] == ["--"])
    if image >= len(words):
        raise UsageError("name an image: `dockerc run [OPTIONS] IMAGE [ARGS]`")
    return words[:at], words[image], words[image + 1 :]


def _stands_alone(option: str) -> bool:
    """Whether the next word is not its value: it has one in itself, or takes none."""
    if option.startswith("--"):
        return "=" in option or option in _WITHOUT_VALUE
    return len(option) > 2 or option[1:] in _LETTERS_WITHOUT_VALUE
