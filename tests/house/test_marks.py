"""Markers are found in what a test calls, so that `-m 'not root and not peers'` skips nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from images_support import run
from marks import markers_of
from registry_support import Authority
from support import Runner, need


def with_a_peer() -> None:
    need("skopeo")


def indirectly() -> None:
    with_a_peer()
    indirectly()


def by_a_function_of_the_tests() -> None:
    run("skopeo")


def by_a_class() -> None:
    Authority  # noqa: B018


def in_a_function_within() -> None:
    def work() -> None:
        need("skopeo")

    work()


def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root")


def as_both() -> None:
    as_root()
    indirectly()


def as_anybody() -> None:
    """What a root user is spared wants no root: nothing is skipped."""
    Runner(as_root=os.geteuid() == 0)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (with_a_peer, {"peers"}),
        (indirectly, {"peers"}),
        (by_a_function_of_the_tests, {"peers"}),
        (by_a_class, {"peers"}),
        (in_a_function_within, {"peers"}),
        (as_root, {"root"}),
        (as_both, {"root", "peers"}),
        (as_anybody, set()),
    ],
)
def test_what_a_test_calls(test: Callable[[], None], expected: set[str]) -> None:
    item: Any = SimpleNamespace(function=test, _fixtureinfo=SimpleNamespace(name2fixturedefs={}))
    assert markers_of(item) == expected


def test_what_a_fixture_calls(authority: Authority, request: pytest.FixtureRequest) -> None:
    """The authority's certificates are made with openssl."""
    assert request.node.get_closest_marker("peers")
