"""Signing an executable, and the files that keys are in."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import DamagedError, RefusedError, UnsupportedError, about
from toolkit.executable.executable import open_executable
from toolkit.executable.private_key import Ask, parse_private_key
from toolkit.executable.public_key import MAX_KEY_FILE, PublicKey, parse_public_key
from toolkit.executable.signed_block import (
    ED25519,
    MAX_SIGNATURES,
    PAYLOAD,
    RUNTIME,
    SIZE,
    Signature,
)
from toolkit.files.atomic import atomic_file
from toolkit.files.copy import copy_range
from toolkit.files.regular import read_regular
from toolkit.services.integrity import check_integrity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def read_public_key(path: Path) -> PublicKey:
    """The public key in a file; raises DockercError."""
    with about(str(path)):
        return parse_public_key(read_regular(path, MAX_KEY_FILE, "key").decode("utf-8", "replace"))


def read_private_key(path: Path, ask: Ask) -> Ed25519PrivateKey:
    """The private key in a file; raises DockercError."""
    with about(str(path)):
        try:
            return parse_private_key(read_regular(path, MAX_KEY_FILE, "key"), ask)
        except ModuleNotFoundError as error:
            raise UnsupportedError(
                f"{error.name} is not installed (pip install {error.name})"
            ) from None


def sign(path: Path, new: Path, key: Ed25519PrivateKey) -> PublicKey:
    """Write `new`: the executable with two signatures of the key; returns its public half.

    One is over the payload alone, which stays when the runtime is replaced, the other over payload
    and runtime. Others stay. Raises DockercError when the executable is not whole.
    """
    public = PublicKey(key.public_key().public_bytes_raw())
    with open_executable(path) as executable:
        faults: list[str] = []
        block = check_integrity(executable, faults.append)
        if faults:
            raise DamagedError(f"{path}: not signed, as it is damaged: {faults[0]}")
        if block is None:
            raise UnsupportedError(
                f"{path}: it has no hash tree to sign, as an older version made it; `dockerc"
                " replace` gives it one"
            )
        kept = [each for each in block.signatures if each.key != public.data]
        made = [
            Signature(covers, ED25519, public.data, key.sign(block.signed_bytes(covers)))
            for covers in (PAYLOAD, PAYLOAD | RUNTIME)
        ]
        if len(kept) + len(made) > MAX_SIGNATURES:
            raise RefusedError(f"{path}: it has {len(kept)} signatures and no room for more")
        block = replace(block, signatures=(*kept, *made))
        in_place = new.exists() and new.samefile(path)
        like = os.fstat(executable.file.fileno()) if in_place else None
        with atomic_file(new, 0o755, like=like, source=executable.file) as file:
            copy_range(executable.file, 0, file, executable.block_offset)
            file.write(block.encode())
            rest = executable.block_offset + SIZE
            copy_range(executable.file, rest, file, executable.size - rest)
    return public
