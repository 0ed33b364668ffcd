"""`dockerc login`: a registry's user and password, checked and kept."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.errors import AbsentError, UsageError

Registry = Annotated[
    str, typer.Argument(metavar="REGISTRY", help="HOST or HOST:PORT; by default Docker Hub.")
]


def login(
    registry: Registry = "docker.io",
    username: Annotated[
        str | None, typer.Option("--username", "-u", metavar="NAME", help="The name of the user.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    get_login: Annotated[
        bool, typer.Option("--get-login", help="Print the name of the user who is logged in.")
    ] = False,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """Log in to a registry; logins are shared with docker, podman and skopeo.

    The login is checked with the registry, then stored in docker's config.json or by the credential
    helper that it names.

    pass show quay | dockerc login --username anna --password-stdin quay.io
    """
    from toolkit.images.auth.access import Access, Credentials
    from toolkit.images.reference import parse_registry

    host = parse_registry(registry)
    if get_login:
        from toolkit.images.auth.credentials import find_credentials

        found = find_credentials(host, "", authfile)
        if found is None:
            raise AbsentError(f"there is no login for {host}")
        print(found.username)
        return
    from toolkit.services.login import login as log_in

    name = username or _ask_name(password_stdin)
    if ":" in name:
        raise UsageError("a user's name has no colon")
    credentials = Credentials(name, _password(name, host, password_stdin))
    stored = log_in(host, credentials, Access(None, tls_verify, cert_dir), authfile)
    print(f"logged in to {host} as {name}; kept in {stored.where}")
    if not stored.is_checked:
        print(
            f"dockerc: note: {host} asks for no login, so that this one was not checked",
            file=sys.stderr,
        )


def _ask_name(password_stdin: bool) -> str:
    if password_stdin or not sys.stdin.isatty():
        raise UsageError("name the user: --username NAME")
    print("Username: ", end="", file=sys.stderr, flush=True)
    if name := sys.stdin.readline().strip():
        return name
    raise UsageError("name the user: --username NAME")


def _password(name: str, host: str, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    elif sys.stdin.isatty():
        import getpass

        password = getpass.getpass(f"Password of {name} at {host}: ")
    else:
        raise UsageError("without a terminal give the password by --password-stdin")
    if not password:
        raise UsageError("the password is empty")
    return password
