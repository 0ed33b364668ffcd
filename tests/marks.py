"""The markers `root` and `peers`, from what a test and its fixtures call.

Who skips where `geteuid` tells it to wants root; who skips where `which` finds nothing (`need` of
support, `tool` of images_support) wants a peer. Functions of the tests are looked through, and what
the making of their classes calls; what comes by a parameter is not, so that such a test says itself
`@pytest.mark.peers`. An unmarked test that is skipped for a program fails (conftest).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from support import TESTS

_WANTS = {"geteuid": "root", "which": "peers"}


def markers_of(item: pytest.Function) -> set[str]:
    """What the test and its fixtures want."""
    definitions = item._fixtureinfo.name2fixturedefs.values()
    waiting: list[Any] = [
        item.function,
        *(each.func for several in definitions for each in several),
    ]
    seen: set[FunctionType] = set()
    found = set()
    while waiting:
        function = waiting.pop()
        if inspect.isclass(function):
            function = function.__init__
        if not isinstance(function, FunctionType):
            continue
        function = inspect.unwrap(function)
        if function in seen or not _is_ours(function):
            continue
        seen.add(function)
        names = set(_names(function.__code__))
        if "skip" in names:
            found |= {_WANTS[name] for name in names & _WANTS.keys()}
        waiting += [function.__globals__[name] for name in names if name in function.__globals__]
    return found


def _is_ours(function: FunctionType) -> bool:
    return Path(function.__code__.co_filename).is_relative_to(TESTS)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
