"""Options of docker run for a machine: what is the machine's, and what the runtime in it gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from toolkit.bundle.run_options import split_run_words

DEFAULT_MEMORY = 1 << 30


@dataclass
class Wanted:
    """A command line, taken apart."""

    words: list[str] = field(default_factory=list)
    """Options for the runtime in the machine."""
    arguments: list[str] = field(default_factory=list)
    """The program's."""
    variables: list[str] = field(default_factory=list)
    memory: int = DEFAULT_MEMORY
    processors: int = 2
    network: bool = True
    forwards: list[str] = field(default_factory=list)


def wanted(words: Sequence[str]) -> Wanted:
    options, arguments = split_run_words(words)
    return Wanted(words=options, arguments=arguments)
