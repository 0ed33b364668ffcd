"""The files that keys are in. Apart from signing: who wants a public key only starts sooner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import UnsupportedError, about
from toolkit.executable.public_key import MAX_KEY_FILE, PublicKey, parse_public_key
from toolkit.files.regular import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from toolkit.executable.private_key import Ask


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file; raises DockercError."""
    with about(str(path)):
        return parse_public_key(read_regular(path, MAX_KEY_FILE, "key").decode("utf-8", "replace"))


def read_private_key(path: Path, ask: Ask) -> Ed25519PrivateKey:
    """The private key in a file; raises DockercError."""
    from toolkit.executable.private_key import parse_private_key

    with about(str(path)):
        try:
            return parse_private_key(read_regular(path, MAX_KEY_FILE, "key"), ask)
        except ModuleNotFoundError as error:
            raise UnsupportedError(
                f"{error.name} is not installed (pip install {error.name})"
            ) from None
