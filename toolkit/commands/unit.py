"""`dockerc unit`: a systemd unit for an executable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import AbsentError, UsageError
from toolkit.files.user import is_root

SETTINGS = {
    "context_settings": {
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    }
}
_MANAGERS = ("--user", "--system")


def unit(
    app: Annotated[str, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[--user|--system] [OPTIONS] [-- ARGS]",
            help="The manager, by default the system's for root and the user's for all others; "
            "options of docker run (-e, -v, -u NAME, …); the program's arguments.",
        ),
    ] = None,
) -> None:
    """Print a systemd unit that runs an executable with these options.

    -m, --cpus and --pids-limit become systemd's limits; relative paths are those of the current
    directory.

    dockerc unit /opt/web --name web -v /srv:/srv >/etc/systemd/system/web.service
    """
    from toolkit.bundle.annotations import ARGS
    from toolkit.bundle.run_options import split_run_words
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import config_of
    from toolkit.files.json_document import Document
    from toolkit.services.unit import Unit, unit_text
    from toolkit.squashfs.read.lookup import reading

    given = list(words or [])
    manager = given.pop(0) if given and given[0] in _MANAGERS else ""
    options, arguments = split_run_words(given)
    if arguments and "--" not in given[: len(options) + 1]:
        raise UsageError(f"put -- before the program's arguments: -- {arguments[0]}")
    found = app if "/" in app or Path(app).exists() else shutil.which(app)
    if found is None:
        raise AbsentError(f"{app}: there is no such file")
    path = Path(found).absolute()
    with open_executable(path) as executable, reading(str(path)):
        annotations = Document(config_of(executable), "its config.json").text_map("annotations")
    signal = annotations.get("org.opencontainers.image.stopSignal", "")
    of_user = manager == "--user" or (not manager and not is_root())
    is_tool = annotations.get(ARGS) == "program"
    print(unit_text(Unit(path, options, arguments, signal, of_user, is_tool)), end="")
