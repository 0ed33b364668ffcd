"""`dockerc replace`: the same payload under the current runtime stub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.build_options import architectures
from toolkit.commands.overwrite import Force, check_overwrite
from toolkit.errors import UsageError


def replace(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="APP [NEW]",
            help="An executable of any version of dockerc, and the file to write, which may be "
            "APP; with --in-place any number of executables.",
        ),
    ],
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace each APP by the new executable.")
    ] = False,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            help="amd64 or arm64, instead of the executable's own.",
            autocompletion=architectures,
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime", metavar="FILE", help="Use this runtime stub, a static ELF program."
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Give an executable the current runtime stub; its payload stays the same.

    dockerc replace py new_py

    dockerc replace --in-place old/*
    """
    if not in_place and len(files) != 2:
        raise UsageError("name two files, `dockerc replace APP NEW`, or use --in-place")

    from toolkit.services.replace import replace_stub

    pairs = [(file, file) for file in files] if in_place else [(files[0], files[1])]
    for app, new in pairs:
        check_overwrite(new, force, app, runtime)
        for warning in replace_stub(app, new, architecture=arch, runtime=runtime):
            print(f"dockerc: warning: {warning}", file=sys.stderr)
