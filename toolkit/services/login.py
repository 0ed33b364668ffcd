"""Logging in: the registry is asked before anything is stored."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.images.auth.access import Access, Credentials
from toolkit.images.auth.registries_conf import load_registries_conf
from toolkit.images.auth.stored_login import store_login
from toolkit.images.transports.registry.client import RegistryClient


@dataclass(frozen=True)
class Stored:
    """Where a login is kept, and whether the registry has seen it."""

    where: str
    is_checked: bool


def login(registry: str, credentials: Credentials, access: Access, authfile: Path | None) -> Stored:
    """Check a login and keep it; raises DockercError, and keeps nothing, when it is refused."""
    endpoint = load_registries_conf().registry(registry)
    with closing(RegistryClient(endpoint, replace(access, credentials=credentials))) as client:
        is_checked = client.takes_login()
    return Stored(store_login(registry, credentials, authfile), is_checked)
