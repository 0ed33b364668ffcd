"""The options of `dockerc build`, but for those that are baked in (`baked.py`)."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


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
        "docker-archive:FILE[:NAME:TAG], dir:DIR; a bare name is docker://.",
    ),
]
OldImage = Annotated[
    str | None, typer.Option("--image", "-i", metavar="IMAGE", help="The same, as option.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The executable to write.")]
Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        help="amd64 or arm64; this machine's when not given.",
        autocompletion=architectures,
    ),
]
PlatformName = Annotated[
    str | None,
    typer.Option("--platform", metavar="OS/ARCH[/VARIANT]", help="The same in docker's words."),
]
AllPlatforms = Annotated[
    bool,
    typer.Option("--all-platforms", help="One executable for each architecture: OUTPUT-amd64, …"),
]
Creds = Annotated[
    str | None,
    typer.Option("--creds", metavar="USER:PASSWORD", help="For the registry, not a stored login."),
]
TlsVerify = Annotated[
    bool | None,
    typer.Option(
        "--tls-verify/--no-tls-verify",
        help="Whether the registry's certificate must be right; "
        "if not, it may speak plain http too.",
    ),
]
CertDir = Annotated[
    Path | None,
    typer.Option(
        "--cert-dir", help="Authorities (*.crt) and our certificates (*.cert, *.key) for it."
    ),
]
Rootfull = Annotated[
    bool,
    typer.Option("--rootfull", help="When started by root, run as root without user namespace."),
]
CompressionName = Annotated[
    Compression, typer.Option("--compression", help="How to compress the payload.")
]
Level = Annotated[int, typer.Option("--level", min=1, max=22, help="zstd's level.")]
BlockSizeName = Annotated[
    BlockSize,
    typer.Option("--block-size", help="Of the squashfs: larger is smaller and slower."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither use nor fill the cache of packed layers.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and notes.")]
