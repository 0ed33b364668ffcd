"""`dockerc verify`: is an executable whole, and what it claims to be?"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.errors import DockercError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.executable.executable import Executable
    from toolkit.services.verify_signatures import Wanted


def verify(
    apps: Annotated[
        list[Path], typer.Argument(metavar="APP", help="An executable made by dockerc.")
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference", metavar="IMAGE", help="Compare files and configuration with this image."
        ),
    ] = None,
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="Require a signature of this public key (PEM, OpenSSH or minisign); with several,"
            " of one of them.",
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", metavar="FILE", help="Require the signatures that this policy asks for."
        ),
    ] = None,
) -> None:
    """Check every block, inode and name of executables, their hash tree and their signatures.

    Each fault is printed on a line, at most twenty of an executable. The exit status is 1 if there
    are any.

    dockerc verify py

    dockerc verify --key key.pub py

    dockerc verify --reference docker://python:3.12 py
    """
    from toolkit.executable.policy import read_policy
    from toolkit.services.key_files import read_public_key
    from toolkit.services.verify_signatures import Wanted

    wanted = Wanted(
        tuple(read_public_key(key) for key in keys or ()), read_policy(policy) if policy else None
    )
    faults = [fault for app in apps for fault in _faults(app, reference, wanted)]
    if faults:
        raise typer.Exit(1)


def _faults(app: Path, reference: str | None, wanted: Wanted) -> list[str]:
    """What is wrong with one, which is printed, or that nothing is."""
    from toolkit.executable.executable import open_executable
    from toolkit.services.verify import verify as verify_executable
    from toolkit.services.verify_signatures import signers_told
    from toolkit.squashfs.read.lookup import reading

    try:
        with open_executable(app) as executable, reading(str(app)):
            found = verify_executable(executable)
            signed = signers_told(executable, found, wanted)
            compared = ""
            if reference and not found.faults:
                compared = f"; {_compare(executable, reference)}"
    except DockercError as error:
        faults = [str(error)]
    else:
        more = [f"and {found.more} more"] if found.more else []
        faults = [f"{app}: {fault}" for fault in (*found.faults, *more)]
    for fault in faults:
        print(f"dockerc: {printable(fault)}", file=sys.stderr)
    if not faults:
        digest = "its SHA-256 is as recorded" if found.digest else "no SHA-256 was recorded"
        print(
            f"{app}: whole: {found.inodes} files under {found.names} names,"
            f" {found.blocks} blocks and {found.fragments} fragments of {found.bytes / 1e6:.1f} MB;"
            f" {digest}{signed}{compared}"
        )
    return faults


def _compare(executable: Executable, reference: str) -> str:
    """A sentence of what is the same."""
    from toolkit.bundle.baked import BakedOptions
    from toolkit.commands.progress_display import showing
    from toolkit.executable.stub import image_architecture
    from toolkit.images.platforms import host_platform, normalised
    from toolkit.images.source import Platform
    from toolkit.services.build import build
    from toolkit.services.cache import Cache
    from toolkit.services.pack_layers import Parameters
    from toolkit.services.verify import is_rootfull, verify_reference

    platform = host_platform()
    if executable.machine:
        platform = normalised(Platform("linux", image_architecture(executable.machine)))
    with tempfile.TemporaryDirectory(prefix="dockerc-") as directory, showing(True) as progress:
        output = Path(directory, "app")
        build(
            reference,
            output,
            platform,
            rootfull=is_rootfull(executable),
            baked=BakedOptions(),
            parameters=Parameters(),
            cache=Cache(),
            progress=progress,
        )
        return verify_reference(executable, reference, output)
