"""`dockerc pull`: an executable comes from a registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.commands.build_options import PasswordStdin, Quiet, with_password
from toolkit.commands.output import output_name
from toolkit.commands.overwrite import check_overwrite

if TYPE_CHECKING:
    from toolkit.services.transfer.rebuild import Pulled


def pull(
    reference: Annotated[
        str,
        typer.Argument(metavar="NAME", help="[docker://]REGISTRY/NAME[:TAG|@DIGEST]."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file to write; by default named after NAME and its tag."
        ),
    ] = None,
    base: Annotated[
        list[Path] | None,
        typer.Option(
            "--base",
            metavar="APP",
            help="Another version: what it has is copied, not fetched. A file that is replaced is "
            "one by itself.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a file that was not made by dockerc.")
    ] = False,
    creds: options.Creds = None,
    password_stdin: PasswordStdin = False,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
    quiet: Quiet = False,
) -> None:
    """Get an executable from a registry, to the byte as it was pushed.

    Each part is checked against its digest, and the whole file, before it takes its place.

    dockerc pull docker://registry.example/team/app:2 -o app --base app-1
    """
    from toolkit.commands.progress_display import showing
    from toolkit.services.transfer.rebuild import pull as pull_executable

    name = options.registry_name(reference)
    path = output or output_name(reference, None)
    check_overwrite(path, force)
    access = options.access(with_password(creds, password_stdin), tls_verify, cert_dir, authfile)
    if output is None:
        print(f"dockerc: no --output, so the file is {path}", file=sys.stderr)
    with showing(quiet, done="fetched") as progress:
        pulled = pull_executable(name, path, base or [], access, progress)
    if not quiet:
        print(f"{path}: {summary(pulled)}", file=sys.stderr)


def summary(pulled: Pulled) -> str:
    """What was fetched, of how much."""
    return (
        f"{pulled.size / 1e6:.1f} MB in {pulled.chunks} chunks, of which {pulled.fetched_chunks}"
        f" ({pulled.fetched / 1e6:.1f} MB) were fetched from {pulled.reference}"
    )
