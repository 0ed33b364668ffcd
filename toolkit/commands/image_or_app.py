"""Commands that take the name of an image or an executable."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.commands import registry_options as options
from toolkit.errors import AbsentError, UsageError

if TYPE_CHECKING:
    from toolkit.images.source import Image

Name = Annotated[
    str,
    typer.Argument(
        metavar="APP|IMAGE",
        help="An executable made by dockerc, or an image with its transport: docker://NAME, "
        "oci:DIR, docker-archive:FILE and all others that `dockerc build` takes.",
    ),
]
PlatformName = Annotated[
    str | None,
    typer.Option(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        help="Platform of the image; by default this machine's.",
    ),
]


def is_image(name: str) -> bool:
    """Whether it is an image's name, and no executable; raises DockercError when it is neither."""
    from toolkit.images.reference import has_transport

    if Path(name).exists():
        return False
    if has_transport(name):
        return True
    raise AbsentError(
        f"{name}: cannot read it: No such file or directory; an image is named docker://{name}"
    )


def open_named(
    name: str,
    platform: str | None,
    creds: options.Creds,
    authfile: options.Authfile,
    tls_verify: options.TlsVerify,
    cert_dir: options.CertDir,
) -> AbstractContextManager[Image]:
    """The image, open; raises UsageError for options that are malformed."""
    from toolkit.images.open import open_image
    from toolkit.images.platforms import host_platform, parse_platform_name

    wanted = parse_platform_name(platform) if platform else host_platform()
    return open_image(name, wanted, options.access(creds, tls_verify, cert_dir, authfile))


def refuse_image_options(**given: object) -> None:
    """Raise UsageError for options that mean nothing for an executable."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} goes with the name of an image")
