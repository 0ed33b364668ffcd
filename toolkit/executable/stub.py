"""The runtime stubs that come with the package, one for each architecture."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import AbsentError, UnsupportedError

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Go's names, which images use, to uname(2)'s."""
ARCHITECTURES = tuple(_MACHINES)


def stub_machine(architecture: str) -> str:
    """uname(2)'s word for an image's architecture; raises DockercError when we have no stub."""
    try:
        return _MACHINES[architecture]
    except KeyError:
        raise UnsupportedError(
            f"there is no runtime for {architecture}; there is for {' and '.join(_MACHINES)}"
        ) from None


def read_stub(machine: str) -> bytes:
    """The stub for a machine as uname(2) names it; raises DockercError when it was not built."""
    file = Path(__file__).parents[1] / "stub" / machine
    try:
        return file.read_bytes()
    except OSError:
        raise AbsentError(
            f"the runtime for {machine} is not in this installation; install dockerc with pip,"
            " which builds it"
        ) from None


def image_architecture(machine: str | None) -> str:
    """The other way round; a machine that we do not know keeps its name."""
    return next((ours for ours, theirs in _MACHINES.items() if theirs == machine), machine or "")
