"""The runtime stubs that come with the package, one for each architecture."""

from __future__ import annotations

from pathlib import Path

from toolkit.errors import AbsentError, UnsupportedError
from toolkit.executable.elf import HEADER_SIZE, elf_machine
from toolkit.executable.public_key import KEY_SIZE

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Go's names, which images use, to uname(2)'s."""
ARCHITECTURES = tuple(_MACHINES)
_PIN = b"\0dockerc pinned\0"
"""What stands before the place of a key (payload/pinned_key.zig)."""


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


def is_installed_stub(stub: bytes) -> bool:
    """Whether it is, with padding or without, the one of this installation for its machine,
    whichever key is pinned in it."""
    machine = elf_machine(stub[:HEADER_SIZE])
    if machine is None:
        return False
    if pinned_key(stub) is not None:
        stub = with_pinned_key(stub, bytes(KEY_SIZE))
    try:
        return read_stub(machine).rstrip(b"\0") == stub.rstrip(b"\0")
    except AbsentError:
        return False


def pinned_key(stub: bytes) -> bytes | None:
    """The key without whose signature the stub starts nothing; None in one that starts all."""
    at = stub.find(_PIN)
    key = stub[at + len(_PIN) : at + len(_PIN) + KEY_SIZE] if at >= 0 else b""
    return key if any(key) and len(key) == KEY_SIZE else None


def with_pinned_key(stub: bytes, key: bytes) -> bytes:
    """The stub with this key; raises UnsupportedError when it has no place for one."""
    before, pin, after = stub.partition(_PIN)
    if not pin or len(after) < KEY_SIZE or _PIN in after:
        raise UnsupportedError("this runtime has no place for a key; it is not of this version")
    return before + pin + key + after[KEY_SIZE:]


def image_architecture(machine: str | None) -> str:
    """The other way round; a machine that we do not know keeps its name."""
    return next((ours for ours, theirs in _MACHINES.items() if theirs == machine), machine or "")
