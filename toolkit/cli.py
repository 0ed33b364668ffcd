"""The command line: the table of commands, and how a failure is told."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from toolkit.commands.interrupts import end_when_told, exit_if_told
from toolkit.commands.usage import SKOPEO_S, USAGE_ERROR, tell_usage
from toolkit.errors import DockercError
from toolkit.files.printable import printable

COMMANDS = (
    "build", "run", "record", "ps", "exec", "logs", "stop", "unit", "shell", "vm", "inspect", "ls",
    "cat", "cp", "sbom", "mount", "extract", "replace", "edit", "sign", "verify", "diff", "cache",
    "images", "history", "push", "pull", "update", "login", "logout", "tags", "help", "version",
)  # fmt: skip
"""Each is in the module of `toolkit.commands` that has its name."""
_ALIASES = {
    "replace-runtime": "replace",  # as in the first dockerc (0.3)
    "exec": "enter",  # Python's own function
}
_OLD_OPTIONS = ("-i", "--image", "-o", "--output", "--arch", "--rootfull")
_WITH_DEFAULTS = ("build", "push", "pull", "update")
"""Those that dockerc-config(5) is for."""
_HELP = frozenset(("-h", "--help"))


def application(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with the commands of these names, or all: none other is imported."""
    app = typer.Typer(
        name="dockerc",
        help="Turn a container image into one executable file.",
        epilog="Exit status: 0 done, 1 failed (diff: different), 2 wrong usage (diff: or trouble),"
        " 128+N signal N.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich would double the time to the first line of help
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        module = _ALIASES.get(name, name)
        room = import_module(f"toolkit.commands.{module}")
        command = getattr(room, module)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name, **getattr(room, "SETTINGS", {}))(command)
    return app


def _print_version(value: bool) -> None:
    if value:
        from toolkit.commands.version import version

        version()
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """The `dockerc` program: exit status 0, 1 for failures, 2 for usage, 128+N for signal N."""
    _open_streams()
    end_when_told()
    try:
        _run(sys.argv[1:])
    finally:
        exit_if_told()


def _run(arguments: list[str]) -> None:
    # Nothing that we make in number has cycles, and to look for them among the entries of a large
    # image takes a quarter of the time.
    gc.disable()
    # The first dockerc (0.3) had no subcommands: `dockerc --image … --output …` builds.
    if arguments and (
        arguments[0].split("=")[0] in _OLD_OPTIONS or arguments[0][:2] in _OLD_OPTIONS
    ):
        arguments.insert(0, "build")
    if arguments[:1] != ["run"]:  # whose words may be the program's
        arguments = [SKOPEO_S.get(word, word) for word in arguments]
    named = arguments[: 2 if arguments[:1] == ["help"] else 1]
    if named in ([], ["help"]) or any(
        word not in COMMANDS and word not in _ALIASES for word in named
    ):
        named = list(COMMANDS)
    try:
        try:
            has_defaults = (
                len(named) == 1 and named[0] in _WITH_DEFAULTS and _HELP.isdisjoint(arguments)
            )
            status = application(named)(
                arguments,
                prog_name="dockerc",
                standalone_mode=False,
                default_map={named[0]: _build_defaults()} if has_defaults else None,
            )
            sys.exit(status)
        except USAGE_ERROR as error:
            sys.exit(tell_usage(error, named))
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # which typer takes for a failure
                raise end.__context__ from None
            raise
        finally:
            sys.stdout.flush()  # Python would, too late for a sentence
            gc.freeze()  # and it would look for cycles once more, longer than a small build takes
    except DockercError as error:
        _fail(str(error), error.exit_status)
    except BrokenPipeError:
        # Whoever reads has seen enough.
        _drop_output()
        sys.exit(128 + 13)
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


def _build_defaults() -> dict[str, Any]:
    from toolkit.commands.defaults import build_defaults

    return build_defaults()


def _fail(sentence: str, status: int) -> NoReturn:
    # Names and words of an image stand in it.
    print(f"dockerc: {printable(sentence)}", file=sys.stderr)
    sys.exit(status)


def _open_streams() -> None:
    """Those that the caller has closed lead nowhere, and no file of ours gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: SIM115
    # Names and texts of others hold what no encoding has: lone surrogates, bytes that are no UTF-8.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """What Python still holds must not complain at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
