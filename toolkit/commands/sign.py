"""`dockerc sign`: who vouches for an executable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.commands.overwrite import Force, check_overwrite
from toolkit.errors import UsageError


def sign(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key",
            metavar="FILE",
            help="A private Ed25519 key: PEM (PKCS#8), OpenSSH or minisign.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="NEW", help="Write this file, and leave APP as it is."
        ),
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the key's password from standard input."),
    ] = False,
    force: Force = False,
) -> None:
    """Sign an executable; signatures of other keys stay.

    There are two: over the payload, which stays when `dockerc replace` puts another runtime in
    front of it, and over payload and runtime.

    ssh-keygen -t ed25519 -f key -N ''

    dockerc sign py --key key

    dockerc verify py --key key.pub
    """
    from toolkit.services.key_files import read_private_key
    from toolkit.services.sign import sign as sign_executable

    def ask() -> bytes:
        return key_password(key, password_stdin)

    new = output or app
    check_overwrite(new, force, app)
    public = sign_executable(app, new, read_private_key(key, ask))
    print(f"{new}: signed by {public.fingerprint}", file=sys.stderr)


def key_password(key: Path, from_stdin: bool) -> bytes:
    """From standard input, or asked for on the terminal; raises UsageError."""
    if from_stdin:
        password = sys.stdin.buffer.read(4097).removesuffix(b"\n").removesuffix(b"\r")
        if len(password) > 4096:
            raise UsageError("no password has more than 4096 bytes")
    elif sys.stdin.isatty():
        import getpass

        password = getpass.getpass(f"Password of {key}: ").encode()
    else:
        raise UsageError("it has a password; without a terminal give it by --password-stdin")
    return password
