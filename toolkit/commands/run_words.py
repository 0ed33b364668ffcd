"""The command line of `dockerc run`: the builder's options among those of the executable."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from typer.core import TyperCommand

from toolkit.bundle.run_options import RUN_OPTIONS, split_run_words
from toolkit.commands.usage import SKOPEO_S
from toolkit.errors import UsageError


class RunCommand(TyperCommand):
    """Takes its own options wherever they stand before the image; the rest are its `words`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Own options first, for which alone the parser is asked."""
        own = {"--help": False}
        for parameter in self.params:
            if parameter.param_type_name == "option":
                names = (*parameter.opts, *parameter.secondary_opts)
                own |= dict.fromkeys(names, not getattr(parameter, "is_flag", False))
        try:
            args = own_first(args, own)
        except UsageError:
            if not ctx.resilient_parsing:  # completion, of what is not whole yet
                raise
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Own options, and those of the executable, until the image is named."""
        found = super().shell_complete(ctx, incomplete)
        if not incomplete.startswith("-"):
            return found
        try:
            if split_run_words(ctx.params.get("words") or [])[1]:
                return []
        except UsageError:
            return []
        kind: Any = type(super().shell_complete(ctx, "--")[0])
        known = {each.value for each in found}
        names = {f"--{each.name}": each.help for each in RUN_OPTIONS}
        return found + [
            kind(name, help=text)
            for name, text in names.items()
            if name.startswith(incomplete) and name not in known
        ]


def own_first(words: list[str], own: Mapping[str, bool]) -> list[str]:
    """The words with the builder's own options in front, behind them `--` and all others.

    `own` tells of each whether it takes a value. Raises UsageError for an unknown option.
    """
    ours, theirs, at = [], [], 0
    while at < len(words):
        word = SKOPEO_S.get(words[at], words[at])
        name, equals, _ = word.partition("=")
        if name in own:
            end = at + 1 + (own[name] and not equals)
            if end > len(words):
                raise UsageError(f"{word} needs a value")
            ours += [word, *words[at + 1 : end]]
        else:
            # Of two words, the option takes both, itself, or is none.
            size = len(_options([word, "x"], own))
            if not size:
                break
            end = at + size
            theirs += words[at:end]
        at = end
    return [*ours, "--", *theirs, *words[at:]]


def _options(words: list[str], own: Mapping[str, bool]) -> list[str]:
    try:
        return split_run_words(words)[0]
    except UsageError as error:
        # It knows no options but the executable's.
        known = [*own, *(f"--{each.name}" for each in RUN_OPTIONS)]
        name = words[0].partition("=")[0]
        if not str(error).startswith("unknown option"):
            raise
        for near in difflib.get_close_matches(name, known, 1):
            raise UsageError(
                f"unknown option {name} before the image; did you mean {near}?"
            ) from None
        raise
