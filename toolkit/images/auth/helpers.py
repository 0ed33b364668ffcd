"""Credential helpers, the programs that keep logins (docker-credential-helpers, README)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.files.json_document import Document
from toolkit.images.auth.access import Credentials
from toolkit.images.auth.login_files import HUB_HOSTS, HUB_KEY

_TIMEOUT = 120.0  # seconds; a helper may ask its user for a passphrase
# What a helper gives as user name when the secret is an identity token.
_TOKEN_USER = "<token>"


def helper_get(name: str, registry: str) -> Credentials | None:
    """What `docker-credential-NAME get` says; raises DockercError when it fails."""
    said = _ask(name, "get", _server(registry))
    if said is None:
        return None
    program = f"docker-credential-{name}"
    try:
        members = json.loads(said)
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


def helper_store(name: str, registry: str, credentials: Credentials) -> None:
    """Have it keep a login; raises DockercError when it fails."""
    entry = {
        "ServerURL": _server(registry),
        "Username": credentials.username,
        "Secret": credentials.secret,
    }
    _ask(name, "store", json.dumps(entry))


def helper_erase(name: str, registry: str) -> None:
    """Have it forget one; raises DockercError when it fails."""
    _ask(name, "erase", _server(registry))


def _server(registry: str) -> str:
    return HUB_KEY if registry in HUB_HOSTS else registry


def _ask(name: str, action: str, text: str) -> bytes | None:
    """What the helper says; None where it has no such login."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        # With a slash it would be a path, from the working directory as likely as not.
        raise DockercError(f"the credential helper '{name}' has a name that no program in PATH has")
    program = f"docker-credential-{name}"
    path = shutil.which(program)
    if path is None:
        raise AbsentError(f"the credential helper {program} is not installed")
    try:
        done = subprocess.run(
            [path, action],
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
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
        raise DockercError(f"the credential helper {program} failed: {reason or 'no reason given'}")
    return done.stdout
