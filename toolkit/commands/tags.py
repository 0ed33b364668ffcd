"""`dockerc tags`: what a repository of a registry has."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.errors import UsageError


def tags(
    repository: Annotated[
        str, typer.Argument(metavar="REPOSITORY", help="[docker://][REGISTRY/]NAME.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """List the tags of a repository, one a line.

    dockerc tags python
    """
    from toolkit.images.reference import RegistryReference, parse_reference
    from toolkit.images.transports.registry.tags import list_tags

    reference = parse_reference(repository)
    if not isinstance(reference, RegistryReference):
        raise UsageError(f"'{repository}' is in no registry: write [REGISTRY/]NAME")
    if reference.digest or ":" in repository.rpartition("/")[2]:
        raise UsageError(f"name the repository alone, without tag or digest: not '{repository}'")
    found = list_tags(reference, options.access(creds, tls_verify, cert_dir, authfile))
    if as_json:
        print(json.dumps(list(found), indent=2))
        return
    for tag in found:
        print(tag)
