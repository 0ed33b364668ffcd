"""The options of `dockerc build`, but for those that are baked in (`baked.py`)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.images.source import Platform
    from toolkit.layers.added import AddedFile
    from toolkit.services.cache import Cache
    from toolkit.services.context import Recipe
    from toolkit.services.pack_layers import Parameters

_MAX_PASSWORD = 64 << 10


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


def architectures() -> list[str]:
    """What --arch completes to."""
    from toolkit.executable.stub import ARCHITECTURES

    return list(ARCHITECTURES)


Image = Annotated[
    str | None,
    typer.Argument(
        metavar="IMAGE",
        help="The image: docker://NAME[:TAG|@DIGEST], docker-daemon:NAME[:TAG], "
        "containers-storage:NAME[:TAG], oci:DIR[:TAG|@DIGEST], oci-archive:FILE[:TAG], "
        "docker-archive:FILE[:NAME:TAG], dir:DIR; a bare name is docker://. Or a directory with a "
        "Dockerfile (., ./DIR, /DIR), which is first built by docker, podman or buildah.",
    ),
]
OldImage = Annotated[
    str | None,
    typer.Option("--image", "-i", metavar="IMAGE", help="The image, given as an option."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The executable to write; - is standard output. By default it is named after the "
        "image and its tag, in the working directory.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite a file that was not made by dockerc.")
]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="The Dockerfile, if IMAGE is a directory.")
]
BuildArg = Annotated[
    list[str] | None,
    typer.Option("--build-arg", metavar="NAME[=VALUE]", help="Set an ARG of the Dockerfile."),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="STAGE", help="The stage of the Dockerfile to build."),
]
Tag = Annotated[
    str | None,
    typer.Option(
        "--tag",
        "-t",
        metavar="NAME[:TAG]",
        help="Name the image that is built from the Dockerfile.",
    ),
]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        "--override-arch",
        help="amd64 or arm64; by default this machine's.",
        autocompletion=architectures,
    ),
]
OverrideOs = Annotated[
    str | None,
    typer.Option("--override-os", metavar="OS", help="As with skopeo; only linux is supported."),
]
PlatformName = Annotated[
    str | None,
    typer.Option(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="The platform, as with docker: linux/arm64."
    ),
]
AllPlatforms = Annotated[
    bool,
    typer.Option("--all-platforms", help="Write OUTPUT-amd64 and OUTPUT-arm64."),
]
Creds = Annotated[
    str | None,
    typer.Option("--creds", metavar="USER:PASSWORD", help="Log in to the registry as USER."),
]
PasswordStdin = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read the password of --creds USER from standard input."),
]
TlsVerify = Annotated[
    bool | None,
    typer.Option(
        "--tls-verify/--no-tls-verify",
        help="Whether to verify the registry's certificate; if not, plain http is accepted, too.",
    ),
]
CertDir = Annotated[
    Path | None,
    typer.Option(
        "--cert-dir",
        help="Certificates for the registry: *.crt of authorities, *.cert and *.key of the client.",
    ),
]
Rootfull = Annotated[
    bool,
    typer.Option("--rootfull", help="Make an executable for root alone, without a user namespace."),
]
PinKey = Annotated[
    Path | None,
    typer.Option(
        "--pin-key",
        metavar="FILE",
        help="Let the executable start only what this public key has signed (docs/trust.md).",
    ),
]


def pinned(path: Path | None) -> bytes | None:
    """The key of --pin-key; raises DockercError."""
    if path is None:
        return None
    from toolkit.services.key_files import read_public_key

    return read_public_key(path).data


AddFile = Annotated[
    list[str] | None,
    typer.Option(
        "--add-file",
        metavar="SRC:DST",
        help="Add a file or directory to the image, owned by root; a DST that ends with / is the "
        "directory to put it into.",
    ),
]
CompressionName = Annotated[
    Compression, typer.Option("--compression", help="How the payload is compressed.")
]
Level = Annotated[int, typer.Option("--level", min=1, max=22, help="The level of zstd.")]
BlockSizeName = Annotated[
    BlockSize,
    typer.Option(
        "--block-size",
        help="Block size of the squashfs; larger blocks make smaller files that start slower.",
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Neither read nor write the cache of packed layers; no --cache-from."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and notes.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", "--verbose", help="Show the requests to registries and engines."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON (docs/building.md).")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Find the image and show what would be built; write nothing."),
]


@dataclass(frozen=True)
class Targets:
    """The platforms to build for; `all` of them into files of their own."""

    platforms: tuple[Platform, ...]
    all: bool


def targets(
    arch: str | None, override_os: str | None, platform: str | None, all_platforms: bool
) -> Targets:
    """Raises UsageError when that is said twice."""
    from toolkit.executable.stub import ARCHITECTURES
    from toolkit.images.platforms import host_platform, normalised, parse_platform_name
    from toolkit.images.source import Platform

    if (arch is not None) + (platform is not None) + all_platforms > 1:
        raise UsageError("name one of --arch, --platform and --all-platforms")
    if override_os not in (None, "linux"):
        raise UsageError(f"executables run images for linux, not for {override_os}")
    if all_platforms:
        return Targets(tuple(Platform("linux", each) for each in ARCHITECTURES), True)
    if platform is not None:
        return Targets((parse_platform_name(platform),), False)
    return Targets((normalised(Platform("linux", arch)) if arch else host_platform(),), False)


def recipe(
    image: str | None,
    file: Path | None,
    build_arg: list[str] | None,
    target: str | None,
    tag: str | None,
) -> Recipe | None:
    """The directory to be built by an engine, if `image` is one; raises UsageError."""
    is_path = image in (".", "..") or (image or "").startswith(("./", "../", "/"))
    if image is None or not is_path or not Path(image).is_dir():
        if file or build_arg or target or tag:
            raise UsageError(
                "--file, --build-arg, --target and --tag go with a directory: `dockerc build .`"
            )
        return None
    from toolkit.services.context import Recipe

    return Recipe(image, file, tuple(build_arg or ()), target, tag)


def one_image(image: str | None, old_image: str | None) -> str | None:
    """The image, given as an argument or as an option; raises UsageError for both."""
    if image and old_image:
        raise UsageError("name one image: `dockerc build IMAGE --output FILE`")
    return image or old_image


def reference(image: str | None, recipe: Recipe | None) -> str:
    """The image's name, checked; for a directory its path. Raises UsageError."""
    if image is None:
        raise UsageError("name one image: `dockerc build IMAGE --output FILE`")
    if recipe is None:
        from toolkit.images.reference import parse_reference

        parse_reference(image)
    return image


def with_password(creds: str | None, password_stdin: bool) -> str | None:
    """USER:PASSWORD, the password perhaps from standard input; raises UsageError."""
    if not password_stdin:
        return creds
    if not creds or ":" in creds:
        raise UsageError("--password-stdin goes with --creds USER, without a password")
    password = sys.stdin.read(_MAX_PASSWORD).removesuffix("\n").removesuffix("\r")
    if not password:
        raise UsageError("there is no password on standard input")
    return f"{creds}:{password}"


def parameters(compression: Compression, level: int, block_size: BlockSize) -> Parameters:
    """How to compress."""
    from toolkit.services.pack_layers import Parameters

    return Parameters(block_size.bytes, None if compression is Compression.NONE else level)


def added(add_file: list[str] | None) -> tuple[AddedFile, ...]:
    """The files to add; raises UsageError."""
    if not add_file:
        return ()
    from toolkit.layers.added import parse_added

    return tuple(map(parse_added, add_file))


def cache(no_cache: bool) -> Cache | None:
    """The cache of packed layers, or none."""
    from toolkit.services.cache import Cache

    return None if no_cache else Cache()
