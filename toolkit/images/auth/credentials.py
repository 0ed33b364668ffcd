"""Logins that docker, podman and skopeo have stored: which file, which entry, which helper.

The rules are those of containers-auth.json(5), which include docker's own for config.json
(docker/cli, `cli/config/configfile`).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.files.json_document import Document, parse_document
from toolkit.images.auth.access import Credentials
from toolkit.limits import MAX_DOCUMENT

# Docker Hub's name in docker's files is the address of its first API, whatever is spoken now.
_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_HELPER_TIMEOUT = 120.0  # seconds; a helper may ask its user for a passphrase
# What a helper gives as user name when the secret is an identity token (docker-credential-helpers).
_TOKEN_USER = "<token>"


def find_credentials(
    registry: str, repository: str, authfile: Path | None = None
) -> Credentials | None:
    """The stored login for a repository, or None; `authfile` is asked alone where it is given.

    Raises DockercError when a file or a helper is broken.
    """
    for path in _files(authfile):
        document = _read(path)
        if document is None:
            continue
        found = _from_file(document, registry, repository)
        if found:
            return found
    return None


def _files(authfile: Path | None) -> list[Path]:
    """The files that may hold logins, in the order in which they are asked."""
    if authfile:
        return [authfile]
    if chosen := os.environ.get("REGISTRY_AUTH_FILE"):
        if not Path(chosen).exists():
            raise AbsentError(f"REGISTRY_AUTH_FILE names {chosen}, which does not exist")
        return [Path(chosen)]
    files = []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers", "auth.json"))
    elif hasattr(os, "getuid"):
        files.append(Path("/run/containers", str(os.getuid()), "auth.json"))
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    docker = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    return [*files, config / "containers" / "auth.json", docker / "config.json"]


def _read(path: Path) -> Document | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # others' directories are no business of this build
    except OSError as error:
        raise DockercError(f"cannot read the logins in {path}: {error.strerror}") from None
    return parse_document(data, str(path)) if data.strip() else None


def _from_file(document: Document, registry: str, repository: str) -> Credentials | None:
    helpers = document.text_map("credHelpers")
    for key in _keys(registry):
        if key in helpers:
            return _ask_helper(helpers[key], registry)
    entries = document.object("auths")
    for key in _entry_keys(entries, registry, repository):
        if found := _from_entry(entries.object(key)):
            return found
    store = document.text("credsStore")
    return _ask_helper(store, registry) if store else None


def _keys(registry: str) -> list[str]:
    return [registry, *_HUB_HOSTS, _HUB_KEY] if registry in _HUB_HOSTS else [registry]


def _entry_keys(entries: Document, registry: str, repository: str) -> Iterator[str]:
    """The keys of `auths` that speak of the repository, the most particular first."""
    parts = repository.split("/")
    for count in range(len(parts), -1, -1):
        key = "/".join((registry, *parts[:count]))
        if key in entries.members:
            yield key
    # Docker once wrote addresses (`https://quay.io/v1/`): the host in them is meant.
    hosts = _HUB_HOSTS if registry in _HUB_HOSTS else {registry}
    for key in entries.members:
        address = key.removeprefix("https://").removeprefix("http://")
        host = address.partition("/")[0] if address != key else key
        if host in hosts and key != registry:
            yield key


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


def _ask_helper(name: str, registry: str) -> Credentials | None:
    """What `docker-credential-NAME get` says (docker-credential-helpers, README)."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        # With a slash it would be a path, from the working directory as likely as not.
        raise DockercError(f"the credential helper '{name}' has a name that no program in PATH has")
    program = f"docker-credential-{name}"
    path = shutil.which(program)
    if path is None:
        raise AbsentError(f"the credential helper {program} is not installed")
    server = _HUB_KEY if registry in _HUB_HOSTS else registry
    try:
        done = subprocess.run(
            [path, "get"],
            input=server.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_HELPER_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise DockercError(f"the credential helper {program} does not answer") from None
    except OSError as error:
        raise DockercError(
            f"cannot run the credential helper {program}: {error.strerror}"
        ) from None
    if done.returncode != 0:
        # Helpers tell what is wrong on standard output; this sentence is part of their protocol.
        said = done.stdout.decode(errors="replace").strip()[:200]
        if "credentials not found" in said:
            return None
        reason = "".join(char if char.isprintable() else " " for char in said)
        raise DockercError(f"the credential helper {program} failed: {reason or 'it says no more'}")
    try:
        members = json.loads(done.stdout)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        # Not parse_json: its sentence may quote what it cannot read.
        raise DamagedError(f"the credential helper {program} did not answer in JSON")
    answer = Document(members, f"the answer of {program}")
    username, secret = answer.text("Username"), answer.text("Secret")
    if not secret:
        return None
    return Credentials(username, secret, is_identity_token=username == _TOKEN_USER)
