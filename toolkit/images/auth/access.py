"""How a registry is to be reached, where the command line says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import UsageError


@dataclass(frozen=True)
class Credentials:
    """A login. The secret is a password, or an identity token that stands for user and password
    (docker: "identitytoken"; it is what OAuth2 calls a refresh token)."""

    username: str
    secret: str = field(repr=False)
    is_identity_token: bool = False


@dataclass(frozen=True)
class Access:
    """What the user said for this build; None where the configuration files decide."""

    credentials: Credentials | None = None
    tls_verify: bool | None = None
    certificates: Path | None = None
    """A directory as described in `certificates`, in the place of those of the system."""
    authfile: Path | None = None
    """The one file of logins that is read (containers-auth.json(5))."""


DEFAULT_ACCESS = Access()


def parse_credentials(text: str) -> Credentials:
    """Reads `USER:PASSWORD`. Raises UsageError, which does not repeat it, when it is not that."""
    username, colon, password = text.partition(":")
    if not username or not colon:
        raise UsageError("write --creds USER:PASSWORD, with a colon between the two")
    return Credentials(username, password)
