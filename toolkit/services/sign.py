"""Signing an executable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import DamagedError, RefusedError, UnsupportedError
from toolkit.executable.executable import open_executable
from toolkit.executable.public_key import PublicKey
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
from toolkit.services.integrity import check_integrity

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


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
