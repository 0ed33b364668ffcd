"""The options of commands that ask a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.commands.build_options import CertDir, Creds, TlsVerify
from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.images.auth.access import Access
    from toolkit.images.reference import RegistryReference

__all__ = ["Authfile", "CertDir", "Creds", "TlsVerify", "access", "registry_name"]

Authfile = Annotated[
    Path | None,
    typer.Option(
        "--authfile",
        metavar="FILE",
        help="Use this file of logins instead of docker's and podman's.",
    ),
]


def access(
    creds: str | None, tls_verify: bool | None, cert_dir: Path | None, authfile: Path | None
) -> Access:
    """What was given; raises UsageError."""
    from toolkit.images.auth.access import Access, parse_credentials

    credentials = parse_credentials(creds) if creds is not None else None
    return Access(credentials, tls_verify, cert_dir, authfile)


def registry_name(text: str) -> RegistryReference:
    """A name in a registry; raises UsageError for that of another place."""
    from toolkit.images.reference import RegistryReference, parse_reference

    reference = parse_reference(text)
    if not isinstance(reference, RegistryReference):
        raise UsageError(f"'{text}' is in no registry: write [docker://]REGISTRY/NAME[:TAG]")
    return reference
