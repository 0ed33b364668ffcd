"""The options of a run as pairs, from words that `split_run_words` has let through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from toolkit.bundle.run_options import RUN_OPTIONS, RunOption

_BY_NAME = {option.name: option for option in RUN_OPTIONS}
_BY_LETTER = {option.short: option for option in RUN_OPTIONS if option.short}


def given_options(words: Sequence[str]) -> Iterator[tuple[RunOption, str]]:
    """Each option with its value, `true` or `false` for a switch, in the order of the words."""
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            option = _BY_NAME[name]
            if not equals:
                value = next(rest) if option.value else "true"
            yield option, value
            continue
        for at, letter in enumerate(word[1:], 2):
            option = _BY_LETTER[letter]
            if not option.value:
                yield option, "true"
                continue
            joined = word[at:].removeprefix("=")
            yield option, joined if word[at:] else next(rest)
            break
