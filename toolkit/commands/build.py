"""`dockerc build`: an image becomes one executable file."""

from __future__ import annotations

import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.commands import baked
from toolkit.errors import UsageError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.images.source import Platform


class Compression(str, Enum):
    """What --compression takes."""

    ZSTD = "zstd"
    NONE = "none"


class BlockSize(str, Enum):
    """What --block-size takes: squashfs's powers of two."""

    K4, K8, K16, K32, K64 = "4K", "8K", "16K", "32K", "64K"
    K128, K256, K512, M1 = "128K", "256K", "512K", "1M"

    @property
    def bytes(self) -> int:
        """The number that the name stands for."""
        unit = 1 << 20 if self.value.endswith("M") else 1 << 10
        return int(self.value[:-1]) * unit


def build(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE",
            help="The image: docker://NAME[:TAG|@DIGEST], docker-daemon:NAME[:TAG], "
            "containers-storage:NAME[:TAG], oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG], "
            "docker-archive:FILE[:NAME:TAG], dir:DIR; a bare name is docker://.",
        ),
    ] = None,
    old_image: Annotated[
        str | None, typer.Option("--image", "-i", metavar="IMAGE", help="The same, as option.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The executable to write.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="amd64 or arm64; this machine's when not given."),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="The same in docker's words."),
    ] = None,
    all_platforms: Annotated[
        bool,
        typer.Option(
            "--all-platforms", help="One executable for each architecture: OUTPUT-amd64, …"
        ),
    ] = False,
    creds: Annotated[
        str | None,
        typer.Option(
            "--creds", metavar="USER:PASSWORD", help="For the registry, not a stored login."
        ),
    ] = None,
    tls_verify: Annotated[
        bool | None,
        typer.Option(
            "--tls-verify/--no-tls-verify",
            help="Whether the registry's certificate must be right; "
            "if not, it may speak plain http too.",
        ),
    ] = None,
    cert_dir: Annotated[
        Path | None,
        typer.Option(
            "--cert-dir", help="Authorities (*.crt) and our certificates (*.cert, *.key) for it."
        ),
    ] = None,
    rootfull: Annotated[
        bool,
        typer.Option(
            "--rootfull", help="When started by root, run as root without user namespace."
        ),
    ] = False,
    env: baked.Env = None,
    volume: baked.Volume = None,
    workdir: baked.Workdir = None,
    entrypoint: baked.Entrypoint = None,
    cmd: baked.Cmd = None,
    user: baked.User = None,
    label: baked.Label = None,
    compression: Annotated[
        Compression, typer.Option("--compression", help="How to compress the payload.")
    ] = Compression.ZSTD,
    level: Annotated[int, typer.Option("--level", min=1, max=22, help="zstd's level.")] = 10,
    block_size: Annotated[
        BlockSize,
        typer.Option("--block-size", help="Of the squashfs: larger is smaller and slower."),
    ] = BlockSize.K512,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor fill the cache of packed layers.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors and notes.")
    ] = False,
) -> None:
    """Turn a container image into one executable file.

    dockerc build docker://python:3.12 -o py
    """
    reference = image or old_image
    if reference is None or (image and old_image):
        raise UsageError("name one image: `dockerc build IMAGE --output FILE`")
    if output is None:
        raise UsageError("name the file to write: `dockerc build IMAGE --output FILE`")

    from toolkit.commands.progress_display import showing
    from toolkit.images.auth.access import Access, parse_credentials
    from toolkit.images.platforms import MissingPlatform
    from toolkit.services.build import build as build_executable
    from toolkit.services.cache import Cache
    from toolkit.services.pack_layers import Parameters

    stored = compression is Compression.NONE
    parameters = Parameters(block_size.bytes, None if stored else level)
    options = baked.options(env, volume, workdir, entrypoint, cmd, user, label)
    access = Access(parse_credentials(creds) if creds is not None else None, tls_verify, cert_dir)
    cache = None if no_cache else Cache()
    missing: MissingPlatform | None = None
    made = 0
    for path, wanted in _targets(output, arch, platform, all_platforms):
        started = time.monotonic()
        try:
            with showing(quiet) as progress:
                built = build_executable(
                    reference,
                    path,
                    wanted,
                    access=access,
                    rootfull=rootfull,
                    baked=options,
                    parameters=parameters,
                    cache=cache,
                    progress=progress,
                )
        except MissingPlatform as error:
            missing = error
            continue
        made += 1
        for what, count in sorted(built.left_out.items()):
            print(
                f"dockerc: note: left out of the executable: {count} {printable(what)}",
                file=sys.stderr,
            )
        if not quiet:
            source = "" if built.size_in is None else f" from {built.size_in / 1e6:.1f} MB"
            print(
                f"{path}: {built.size / 1e6:.1f} MB{source}, {printable(str(built.platform))},"
                f" {built.digest},"
                f" {built.cached} of {built.layers} layers cached,"
                f" {time.monotonic() - started:.1f} s",
                file=sys.stderr,
            )
    if missing and not made:
        raise missing


def _targets(
    output: Path, arch: str | None, platform: str | None, all_platforms: bool
) -> list[tuple[Path, Platform]]:
    """The files to write, and for what. Raises UsageError when that is said twice."""
    from toolkit.executable.stub import ARCHITECTURES
    from toolkit.images.platforms import host_platform, normalised, parse_platform_name
    from toolkit.images.source import Platform

    if (arch is not None) + (platform is not None) + all_platforms > 1:
        raise UsageError("name one of --arch, --platform and --all-platforms")
    if all_platforms:
        return [
            (output.with_name(f"{output.name}-{architecture}"), Platform("linux", architecture))
            for architecture in ARCHITECTURES
        ]
    if platform is not None:
        return [(output, parse_platform_name(platform))]
    return [(output, normalised(Platform("linux", arch)) if arch else host_platform())]
