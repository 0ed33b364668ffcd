"""`dockerc update`: an executable becomes its newest version."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.commands.build_options import PasswordStdin, Quiet, with_password
from toolkit.commands.pull import summary


def update(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable.")],
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="[docker://]REGISTRY/NAME[:TAG|@DIGEST]; by default where dockerc pull got it.",
        ),
    ] = None,
    creds: options.Creds = None,
    password_stdin: PasswordStdin = False,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
    quiet: Quiet = False,
) -> None:
    """Replace an executable by what its name in the registry now leads to.

    Only what has changed is fetched. dockerc pull writes the name into the extended attribute
    user.dockerc.origin of the file, which copies do not have.

    dockerc update app
    """
    from toolkit.commands.progress_display import showing
    from toolkit.services.transfer.origin import known_origin
    from toolkit.services.transfer.rebuild import update as update_executable

    name = options.registry_name(reference) if reference else known_origin(app)
    access = options.access(with_password(creds, password_stdin), tls_verify, cert_dir, authfile)
    with showing(quiet, done="fetched") as progress:
        pulled = update_executable(app, name, access, progress)
    if not quiet:
        told = f"{app}: {summary(pulled)}" if pulled else f"{app} is current ({name})"
        print(told, file=sys.stderr)
