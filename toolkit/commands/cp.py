"""`dockerc cp`: a file or directory out of an executable's image, or into a new executable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.overwrite import Force, check_overwrite, note_lost_signatures
from toolkit.errors import DockercError, UsageError
from toolkit.files.printable import printable


def cp(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC DEST [NEW]",
            help="Out: APP:PATH and the target; - is a tar on standard output. In: a file or "
            "directory of this machine, APP:PATH and the executable to write (NEW), which may be "
            "APP.",
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow-link", "-L", help="Copy what a symlink points to.")
    ] = False,
    force: Force = False,
) -> None:
    """Copy files out of an executable's image, or into it, as docker cp does.

    APP is not changed: copying into it writes a new executable.

    dockerc cp py:/etc/passwd .

    dockerc cp py:/etc - | tar -t

    dockerc cp settings.ini py:/etc/settings.ini new_py
    """
    inside = [split_inside(word) for word in words]
    if len(words) == 2 and inside[0] and not inside[1]:
        _out(*inside[0], words[1], follow)
    elif len(words) == 3 and inside[1] and not inside[0]:
        from toolkit.services.copy_in import copy_in

        app, path = inside[1]
        source = str(Path(words[0]).resolve()) if follow else words[0]
        check_overwrite(Path(words[2]), force, app)
        note_lost_signatures(app, Path(words[2]))
        copy_in(source, app, path, Path(words[2]))
    elif len(words) == 2 and inside[1]:
        raise UsageError(f"name the executable to write: `dockerc cp SRC {words[1]} NEW`")
    else:
        raise UsageError(
            "write `dockerc cp APP:PATH DEST` or `dockerc cp SRC APP:PATH NEW`, where APP is an"
            " executable that is there"
        )


def split_inside(word: str) -> tuple[Path, str] | None:
    """The executable and the path of its image; None for a path of this machine."""
    if Path(word).exists():
        return None
    at = word.find(":")
    while at > 0:
        app = Path(word[:at])
        if app.is_file():
            return app, word[at + 1 :] or "/"
        at = word.find(":", at + 1)
    return None


def _out(app: Path, path: str, target: str, follow: bool) -> None:
    from toolkit.executable.executable import open_executable
    from toolkit.services.copy_out import copy_as_tar, copy_to
    from toolkit.squashfs.read.lookup import reading

    if target == "-" and sys.stdout.isatty():
        raise DockercError("a tar cannot go to a terminal; redirect the output")
    with open_executable(app) as executable, reading(str(app)):
        if target == "-":
            copy_as_tar(executable, path, sys.stdout.buffer.write, follow=follow)
            return
        left_out = copy_to(executable, path, target, follow=follow)
    for what, count in sorted(left_out.items()):
        print(f"dockerc: note: not kept: {count} {printable(what)}", file=sys.stderr)
