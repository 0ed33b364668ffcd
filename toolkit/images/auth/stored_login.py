"""Keeping a login, and forgetting it: in the files that docker, podman and skopeo read, too."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from toolkit.errors import AbsentError, DockercError
from toolkit.files.atomic import atomic_file
from toolkit.files.json_document import Document
from toolkit.images.auth.access import Credentials
from toolkit.images.auth.helpers import helper_erase, helper_get, helper_store
from toolkit.images.auth.login_files import (
    HUB_HOSTS,
    HUB_KEY,
    docker_file,
    helper_of,
    keys_of,
    login_files,
    read_logins,
)


def store_login(registry: str, credentials: Credentials, authfile: Path | None = None) -> str:
    """Keep the login where the first one for this registry is, else in docker's file.

    Returns where that was. A file that is not understood stays as it is: DockercError.
    """
    files = login_files(authfile, must_exist=False)
    documents = {path: read_logins(path) or Document({}, str(path)) for path in files}
    path = next((p for p in files if _speaks_of(documents[p], registry)), files[-1])
    document = documents[path]
    # A helper of the registry's own goes before an entry, and one for all behind it.
    if helper := helper_of(document, registry):
        helper_store(helper, registry, credentials)
        return f"docker-credential-{helper}"
    entry: dict[str, str] = {}
    helper = document.text("credsStore")
    if helper:
        helper_store(helper, registry, credentials)
    else:
        pair = f"{credentials.username}:{credentials.secret}".encode()
        entry["auth"] = base64.b64encode(pair).decode()
    in_docker_s = path == docker_file() and registry in HUB_HOSTS
    _write(path, document, registry, {HUB_KEY if in_docker_s else registry: entry})
    return f"docker-credential-{helper}" if helper else str(path)


def erase_login(registry: str, authfile: Path | None = None) -> list[str]:
    """Forget the logins for this registry; returns where they were.

    Raises AbsentError where there was none.
    """
    gone = []
    for path in login_files(authfile):
        document = read_logins(path)
        if document is None:
            continue
        helper = helper_of(document, registry) or document.text("credsStore")
        if helper and helper_get(helper, registry):
            helper_erase(helper, registry)
            gone.append(f"docker-credential-{helper}")
        if list(keys_of(document.object("auths"), registry)):
            _write(path, document, registry, {})
            gone.append(str(path))
    if not gone:
        raise AbsentError(f"there is no login for {registry}")
    return gone


def _speaks_of(document: Document, registry: str) -> bool:
    in_entries = any(True for _ in keys_of(document.object("auths"), registry))
    return in_entries or bool(helper_of(document, registry))


def _write(path: Path, document: Document, registry: str, entries: dict[str, Any]) -> None:
    """Put these in the place of the registry's entries; all else stays."""
    auths = document.object("auths")
    old = set(keys_of(auths, registry))
    kept = {key: value for key, value in auths.members.items() if key not in old}
    members = {**document.members, "auths": {**kept, **entries}}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DockercError(f"cannot make {path.parent}: {error.strerror}") from None
    with atomic_file(path, 0o600) as file:
        # As docker writes it, to whom git may compare.
        file.write(json.dumps(members, indent="\t", ensure_ascii=False).encode() + b"\n")
