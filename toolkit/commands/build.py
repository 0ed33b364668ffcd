"""`dockerc build`: an image becomes one executable file."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.commands import baked
from toolkit.commands import build_options as options
from toolkit.errors import UsageError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.bundle.baked import BakedOptions
    from toolkit.images.auth.access import Access
    from toolkit.images.source import Platform
    from toolkit.services.cache import Cache
    from toolkit.services.pack_layers import Parameters


def build(
    image: options.Image = None,
    old_image: options.OldImage = None,
    output: options.Output = None,
    arch: options.Arch = None,
    platform: options.PlatformName = None,
    all_platforms: options.AllPlatforms = False,
    creds: options.Creds = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
    rootfull: options.Rootfull = False,
    env: baked.Env = None,
    volume: baked.Volume = None,
    workdir: baked.Workdir = None,
    entrypoint: baked.Entrypoint = None,
    cmd: baked.Cmd = None,
    user: baked.User = None,
    label: baked.Label = None,
    args: baked.Args = None,
    compression: options.CompressionName = options.Compression.ZSTD,
    level: options.Level = 10,
    block_size: options.BlockSizeName = options.BlockSize.K512,
    no_cache: options.NoCache = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn a container image into one executable file.

    dockerc build docker://python:3.12 -o py
    """
    reference = image or old_image
    if reference is None or (image and old_image):
        raise UsageError("name one image: `dockerc build IMAGE --output FILE`")
    if output is None:
        raise UsageError("name the file to write: `dockerc build IMAGE --output FILE`")

    from toolkit.images.auth.access import Access, parse_credentials
    from toolkit.images.platforms import MissingPlatform
    from toolkit.services.cache import Cache
    from toolkit.services.pack_layers import Parameters

    stored = compression is options.Compression.NONE
    wanted = _Wanted(
        reference,
        Parameters(block_size.bytes, None if stored else level),
        baked.options(env, volume, workdir, entrypoint, cmd, user, label, args),
        Access(parse_credentials(creds) if creds is not None else None, tls_verify, cert_dir),
        None if no_cache else Cache(),
        rootfull,
        quiet,
    )
    missing: MissingPlatform | None = None
    made = 0
    for path, target in _targets(output, arch, platform, all_platforms):
        try:
            _build_one(wanted, path, target)
            made += 1
        except MissingPlatform as error:
            missing = error
    if missing and not made:
        raise missing


@dataclass(frozen=True)
class _Wanted:
    """What was asked for, the same for every platform."""

    reference: str
    parameters: Parameters
    baked: BakedOptions
    access: Access
    cache: Cache | None
    rootfull: bool
    quiet: bool


def _build_one(wanted: _Wanted, path: Path, platform: Platform) -> None:
    """Build for one platform and say what was made; raises DockercError."""
    from toolkit.commands.progress_display import showing
    from toolkit.services.build import build as build_executable

    started = time.monotonic()
    with showing(wanted.quiet) as progress:
        built = build_executable(
            wanted.reference,
            path,
            platform,
            access=wanted.access,
            rootfull=wanted.rootfull,
            baked=wanted.baked,
            parameters=wanted.parameters,
            cache=wanted.cache,
            progress=progress,
        )
    for what, count in sorted(built.left_out.items()):
        print(
            f"dockerc: note: left out of the executable: {count} {printable(what)}",
            file=sys.stderr,
        )
    if not wanted.quiet:
        source = "" if built.size_in is None else f" from {built.size_in / 1e6:.1f} MB"
        print(
            f"{path}: {built.size / 1e6:.1f} MB{source}, {printable(str(built.platform))},"
            f" {built.digest},"
            f" {built.cached} of {built.layers} layers cached,"
            f" {time.monotonic() - started:.1f} s\n{_USAGE[built.args].format(path)}",
            file=sys.stderr,
        )


_USAGE = {
    "program": "usage: {0} ARGUMENT..., or {0} OPTION... -- ARGUMENT... with options of docker run",
    "docker": "usage: {0} OPTION... ARGUMENT..., options of docker run first",
}
"""By the rule of its arguments."""


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
