"""`dockerc run`: an image's program at once, its executable kept in the cache."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from toolkit.commands import build_options as options
from toolkit.commands import registry_options as registry
from toolkit.commands.on_linux import need_linux
from toolkit.commands.run_words import RunCommand
from toolkit.commands.vm import Kernel, run_vm
from toolkit.errors import DockercError, UsageError
from toolkit.services.pull import Pull

SETTINGS = {
    "cls": RunCommand,
    # As with docker, what stands after the image is the program's.
    "context_settings": {
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],  # docker's -h is the host's name
    },
}


def run(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE [ARGS]",
            help="The image. Options of docker run (-e, -v, -w, …) stand before it; all that "
            "follows it goes to the program.",
        ),
    ],
    quiet: options.Quiet = False,
    pull: Annotated[
        Pull, typer.Option("--pull", help="When to ask the registry for the image.")
    ] = Pull.MISSING,
    creds: registry.Creds = None,
    authfile: registry.Authfile = None,
    tls_verify: registry.TlsVerify = None,
    cert_dir: registry.CertDir = None,
    machine: Annotated[
        bool, typer.Option("--vm", help="Run it in a machine of its own, as dockerc-vm(1) does.")
    ] = False,
    kernel: Kernel = None,
) -> None:
    """Run an image; its executable is built into the cache unless it is there.

    The registry is asked if the cache has no image of this name, or with --pull always; never for
    a name with a digest that is in the cache.

    dockerc run -e A=1 docker://python:3.12 python -c 'print(1)'
    """
    from toolkit.bundle.run_options import split_run_words
    from toolkit.commands.progress_display import showing
    from toolkit.images.platforms import host_platform
    from toolkit.services.run_cache import app_of

    before, rest = split_run_words(words)
    if not rest:
        raise UsageError("name an image: `dockerc run [OPTIONS] IMAGE [ARGS]`")
    reference, *arguments = rest
    if not machine:
        need_linux(f"dockerc run --vm {reference}")
    with showing(quiet) as progress:
        access = registry.access(creds, tls_verify, cert_dir, authfile)
        app = app_of(reference, host_platform(), progress, access, pull)
    if machine:
        raise typer.Exit(run_vm(app, [*before, "--", *arguments], kernel, access))
    if kernel is not None:
        raise UsageError("--kernel goes with --vm")
    try:
        os.execv(app, [str(app), *before, "--", *arguments])
    except OSError as error:
        raise DockercError(f"cannot run {app}: {error.strerror}") from None
