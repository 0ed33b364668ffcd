"""A command line that is wrong: one sentence, with what was probably meant."""

from __future__ import annotations

import sys
from typing import Any

import typer

from toolkit.files.printable import printable

USAGE_ERROR: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises; it has no public name."""
SKOPEO_S = {"--tls-verify=false": "--no-tls-verify", "--tls-verify=true": "--tls-verify"}
"""How skopeo and podman write an option of commands that ask registries, and we."""


def tell_usage(error: Any, named: list[str]) -> int:
    """Print the sentence for a `USAGE_ERROR` of the commands `named`; returns the exit status."""
    text = error.format_message()
    if "\n" in text:  # help, for who gave no arguments
        print(text, file=sys.stderr)
        return 2
    command = f"dockerc {named[0]}" if len(named) == 1 else "dockerc"
    if error.ctx:
        command = error.ctx.command_path
    hint = f"see `{command} --help`"
    if option := getattr(error, "option_name", None):
        if type(error).__name__ == "NoSuchOption":
            text = f"no such option: {option}"
            if meant := _meant(option, error.ctx.command.params):
                hint = f"did you mean {meant}?"
    elif "Did you mean" in text:
        text, _, names = text.partition(". Did you mean ")
        hint = f"did you mean {names.replace(chr(39), '')}"
    text = f"{text[:1].lower()}{text[1:].rstrip('.')}"
    print(f"dockerc: {printable(text)}; {printable(hint)}", file=sys.stderr)
    return 2


def _meant(option: str, parameters: list[Any]) -> str:
    """The long option that begins so, or is the most alike; empty where none is."""
    import difflib

    known: list[str] = [
        name
        for parameter in parameters
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("--")
    ]
    begun = [name for name in known if len(option) > 3 and name.startswith(option)]
    if len(begun) == 1:
        return begun[0]
    return next(iter(difflib.get_close_matches(option, [*known, "--help"], 1)), "")
