"""Registries that let nobody in without a password or a token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registry_support import (
    Authority,
    Closed,
    TokenServer,
    password_closed,
    token_closed,
    token_server,
)


@pytest.fixture(scope="module")
def password_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Closed]:
    with password_closed(tmp_path_factory.mktemp("passwords"), authority) as closed:
        yield closed


@pytest.fixture(scope="module")
def tokens(authority: Authority) -> Iterator[TokenServer]:
    with token_server(authority) as server:
        yield server


@pytest.fixture(scope="module")
def token_registry(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, tokens: TokenServer
) -> Iterator[Closed]:
    with token_closed(tmp_path_factory.mktemp("tokens"), authority, tokens) as closed:
        yield closed
