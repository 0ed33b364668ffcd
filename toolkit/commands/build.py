"""`dockerc build`: an image becomes one executable file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from toolkit.errors import UsageError


def build(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[IMAGE]",
            help="The image: docker://NAME[:TAG|@DIGEST], oci:DIR[:TAG|@DIGEST], "
            "oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG]; a bare name is docker://.",
        ),
    ] = None,
    image: Annotated[str | None, typer.Option("--image", "-i", help="The same, as option.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The executable to write.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="amd64 or arm64; this machine's when not given."),
    ] = None,
    rootfull: Annotated[
        bool,
        typer.Option(
            "--rootfull", help="When started by root, run as root without user namespace."
        ),
    ] = False,
) -> None:
    """Turn a container image into one executable file.

    dockerc build docker://python:3.12 -o py
    """
    reference = name or image
    if reference is None or (name and image):
        raise UsageError("name one image: `dockerc build IMAGE --output FILE`")
    if output is None:
        raise UsageError("name the file to write: `dockerc build IMAGE --output FILE`")

    from toolkit.build import build as build_executable
    from toolkit.images.platforms import host_platform, normalised
    from toolkit.images.source import Platform
    from toolkit.progress import stderr_progress

    platform = normalised(Platform("linux", arch)) if arch else host_platform()
    built = build_executable(reference, output, platform, rootfull, stderr_progress())
    for what, count in sorted(built.left_out.items()):
        print(
            f"dockerc: note: left out, squashfs cannot hold them: {count} {what}", file=sys.stderr
        )
    print(f"{output}: {built.size / 1e6:.1f} MB, {built.platform}, {built.digest}", file=sys.stderr)
