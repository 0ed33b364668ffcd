"""Private Ed25519 keys: PEM (PKCS#8), OpenSSH and minisign, encrypted or not (docs/trust.md)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.errors import DamagedError, DockercError, RefusedError, UnsupportedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Ask = Callable[[], bytes]
"""Gives the password of an encrypted key; called at most once."""

_SSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PLAIN_SSH = b"openssh-key-v1\0\0\0\0\x04none"
_MINISIGN = struct.Struct("<2s2s2s32sQQ104s")
_MINISIGN_KEY = struct.Struct("<8s32s32s32s")
"""Its id, seed, public key and checksum."""
MAX_SCRYPT = 1 << 30
"""Bytes of memory that a minisign key may ask for; its own are made with as much."""
_MAX_OPERATIONS = 1 << 26
"""Twice as many as minisign's own; they bound the memory of what is done in parallel, too."""
_WRONG = "the password is wrong, or the key is damaged"


def parse_private_key(data: bytes, ask: Ask) -> Ed25519PrivateKey:
    """The key of a file; raises DockercError when it is none, or the password does not fit."""
    if data.startswith(b"untrusted comment:"):
        return _minisign(data, ask)
    return _library_s(data, ask() if _is_encrypted(data) else None)


def _is_encrypted(data: bytes) -> bool:
    """Of PEM (RFC 5958) and OpenSSH (its PROTOCOL.key), whose first field names the cipher."""
    _, is_ssh, body = data.partition(_SSH)
    if not is_ssh:
        return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in data
    try:
        return not base64.b64decode(b"".join(body.split())[:44]).startswith(_PLAIN_SSH)
    except binascii.Error:
        return False


def _library_s(data: bytes, password: bytes | None) -> Ed25519PrivateKey:
    """The same of the forms that the library reads."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    is_ssh = _SSH in data
    load: Any = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
    try:
        key = load(data, password)
    except (ValueError, TypeError):  # the latter for a password that is missing or one too many
        raise UnsupportedError(
            _WRONG if password is not None else "no private key in PEM, OpenSSH or minisign form"
        ) from None
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(f"a private key of a kind that is not supported: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnsupportedError("no Ed25519 key; make one with `ssh-keygen -t ed25519`")
    return key


def _minisign(data: bytes, ask: Ask) -> Ed25519PrivateKey:
    """As minisign's own file says (https://jedisct1.github.io/minisign/, "Secret key format")."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    lines = data.splitlines()[:2]
    try:
        algorithm, kdf, checksum_algorithm, salt, operations, memory, hidden = _MINISIGN.unpack(
            base64.b64decode(lines[-1], validate=True)
        )
    except (struct.error, binascii.Error):
        raise DamagedError("no minisign secret key: it is cut short or malformed") from None
    if (algorithm, checksum_algorithm) != (b"Ed", b"B2") or kdf not in (b"Sc", b"\0\0"):
        raise UnsupportedError("a minisign secret key of a kind that is not known")
    if kdf == b"Sc":
        stream = _scrypt(ask(), salt, operations, memory)
        hidden = bytes(left ^ right for left, right in zip(hidden, stream, strict=True))
    key_id, seed, public, checksum = _MINISIGN_KEY.unpack(hidden)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    right = hashlib.blake2b(algorithm + key_id + seed + public, digest_size=32).digest()
    if kdf != b"Sc":
        right = bytes(32)  # minisign leaves it empty
    if checksum != right or key.public_key().public_bytes_raw() != public:
        raise DockercError(_WRONG)
    return key


def _scrypt(password: bytes, salt: bytes, operations: int, memory: int) -> bytes:
    """With the parameters that libsodium takes for these limits (pickparams of its
    pwhash_scryptsalsa208sha256.c)."""
    if memory > MAX_SCRYPT or operations > _MAX_OPERATIONS:
        raise RefusedError(
            f"its password takes {memory >> 20} MiB of memory and {operations} operations; at most"
            f" {MAX_SCRYPT >> 20} MiB and {_MAX_OPERATIONS} are taken"
        )
    operations = max(operations, 32768)
    block, parallel = 8, 1
    is_small = operations < memory // 32
    most = operations // (block * 4) if is_small else memory // (block * 128)
    bits = 1
    while bits < 63 and 1 << bits <= most // 2:
        bits += 1
    if not is_small:
        parallel = min(operations // 4 >> bits, 0x3FFFFFFF) // block
    cost = 1 << bits
    return hashlib.scrypt(
        password, salt=salt, n=cost, r=block, p=parallel, dklen=104,
        maxmem=128 * block * (cost + parallel + 2) + (1 << 20),
    )  # fmt: skip
