"""`dockerc help`: the same as a command's --help."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def help(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="COMMAND", help="A command, such as build or cache ls."),
    ] = None,
) -> None:
    """Show the help of a command.

    dockerc help build
    """
    found: Any = context.parent
    for word in words or ():
        if not hasattr(found.command, "resolve_command"):
            raise typer.BadParameter(f"{found.command_path} has no commands")
        name, command, _ = found.command.resolve_command(found, [word])
        found = command.make_context(name, [], parent=found, resilient_parsing=True)
        found.resilient_parsing = False  # which would find nothing wrong with the next word
    print(found.get_help())
