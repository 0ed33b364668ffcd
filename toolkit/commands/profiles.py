"""What commands that take profiles have in common."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.bundle.profile import Profile

ProfileFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Prepare the executable for the starts in this profile, which `dockerc record` wrote; "
        "may be given several times.",
    ),
]


RecordArgs = Annotated[
    str | None,
    typer.Option(
        "--record",
        metavar="ARGS",
        help="Build, record a start with these arguments, and build again with that profile.",
    ),
]


def read_profile(files: list[Path] | None) -> Profile | None:
    """The profile that these files are together; raises DockercError."""
    if not files:
        return None
    from toolkit.bundle.profile import read_profiles

    return read_profiles(files)


@dataclass(frozen=True)
class Starts:
    """What `build` prepares an executable for."""

    profile: Profile | None
    record: tuple[str, ...] | None
    """Arguments of a start that is recorded, for a second build with that profile, too."""

    @classmethod
    def of(cls, files: list[Path] | None, arguments: str | None) -> Starts:
        """As given on the command line; raises DockercError."""
        try:
            words = None if arguments is None else tuple(shlex.split(arguments))
        except ValueError as error:
            raise UsageError(f"--record {arguments}: {error}") from None
        return cls(read_profile(files), words)


def missing_note(count: int) -> str:
    """For paths of a profile that an image does not have."""
    if count == 1:
        return "dockerc: note: one path of the profile is not in this image as it was recorded"
    return (
        f"dockerc: note: {count} paths of the profile are not in this image as they were recorded"
    )
