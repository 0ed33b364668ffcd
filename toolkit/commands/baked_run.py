"""The runtime's options as `dockerc build` and `dockerc edit` take them: baked in, by their names.

They come from the one table (bundle/run_options.py), beside those that config.json itself holds
(commands/baked.py), which have a help line of their own.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from toolkit.bundle.run_options import BAKED, RunOption

_WORDS = "dockerc.baked"


class BakingCommand(TyperCommand):
    """A command that takes every option of `BAKED`, too; `baked_words` are those given."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.params += [_parameter(option) for option in BAKED]


def baked_words(context: typer.Context) -> tuple[str, ...]:
    """`--name=value` for each that was given, in the order of the command line."""
    return tuple(context.meta.get(_WORDS, ()))


def _parameter(option: RunOption) -> TyperOption:
    def note(context: typer.Context, values: Any) -> None:
        words = context.meta.setdefault(_WORDS, [])
        if option.value:
            words += [f"--{option.name}={value}" for value in values or ()]
        elif values:
            words.append(f"--{option.name}")

    return TyperOption(
        param_decls=[f"--{option.name}"],
        # A page of its own has them: the runtime's manual, dockerc-run(1).
        hidden=True,
        expose_value=False,
        callback=lambda context, _, value: note(context, value),
        is_flag=not option.value,
        multiple=bool(option.value),
        default=None if option.value else False,
    )
