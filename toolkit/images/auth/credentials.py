"""Logins that docker, podman and skopeo have stored: which file, which entry, which helper."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import DamagedError
from toolkit.files.json_document import Document
from toolkit.images.auth.access import Credentials
from toolkit.images.auth.helpers import helper_get
from toolkit.images.auth.login_files import helper_of, keys_of, login_files, read_logins


def find_credentials(
    registry: str, repository: str, authfile: Path | None = None
) -> Credentials | None:
    """The stored login for a repository, or None.

    Raises DockercError when a file or a helper is broken.
    """
    for path in login_files(authfile):
        try:
            document = read_logins(path)
        except PermissionError:
            continue  # others' files are no business of this build
        if document is None:
            continue
        found = _from_file(document, registry, repository)
        if found:
            return found
    return None


def _from_file(document: Document, registry: str, repository: str) -> Credentials | None:
    if helper := helper_of(document, registry):
        return helper_get(helper, registry)
    entries = document.object("auths")
    for key in _entry_keys(entries, registry, repository):
        if found := _from_entry(entries.object(key)):
            return found
    store = document.text("credsStore")
    return helper_get(store, registry) if store else None


def _entry_keys(entries: Document, registry: str, repository: str) -> Iterator[str]:
    """The keys of `auths` that speak of the repository, the most particular first."""
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        key = "/".join((registry, *parts[:count]))
        if key in entries.members:
            yield key
    yield from keys_of(entries, registry)


def _from_entry(entry: Document) -> Credentials | None:
    username, password = entry.text("username"), entry.text("password")
    if encoded := entry.text("auth"):
        try:
            decoded = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            decoded = ""
        username, colon, password = decoded.partition(":")
        if not colon:
            raise DamagedError(f"{entry.where} is malformed: an 'auth' is not base64 of USER:PASS")
        password = password.strip("\0")  # old versions of docker padded it
    if token := entry.text("identitytoken"):
        return Credentials(username, token, is_identity_token=True)
    return Credentials(username, password) if username else None
