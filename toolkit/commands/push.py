"""`dockerc push`: an executable goes to a registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.commands.build_options import PasswordStdin, Quiet, with_password
from toolkit.errors import UsageError


def push(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable.")],
    reference: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Where it goes: [docker://]REGISTRY/NAME[:TAG]."),
    ],
    sbom: Annotated[
        bool,
        typer.Option(
            "--sbom", help="Attach a list of its packages to it (CycloneDX 1.6; docs/sbom.md)."
        ),
    ] = False,
    creds: options.Creds = None,
    password_stdin: PasswordStdin = False,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
    quiet: Quiet = False,
) -> None:
    """Store an executable in a registry, as an OCI artifact.

    Only the parts that the repository does not have yet are sent. The name with the digest goes to
    standard output. dockerc pull gets the file back.

    dockerc push app docker://registry.example/team/app:1
    """
    from toolkit.commands.progress_display import showing
    from toolkit.services.transfer.push import push as push_executable

    name = options.registry_name(reference)
    if name.digest:
        raise UsageError(f"the digest comes from the file: name a tag, not '{reference}'")
    access = options.access(with_password(creds, password_stdin), tls_verify, cert_dir, authfile)
    with showing(quiet, done="sent") as progress:
        pushed = push_executable(app, name, access, progress, with_sbom=sbom)
    if not quiet:
        print(
            f"{app}: {pushed.size / 1e6:.1f} MB in {pushed.chunks} chunks, of which"
            f" {pushed.sent_chunks} ({pushed.sent / 1e6:.1f} MB) were sent",
            file=sys.stderr,
        )
        if pushed.sbom:
            print(f"{app}: its SBOM is attached as {pushed.sbom}", file=sys.stderr)
    print(pushed.name)
