"""Public Ed25519 keys in the forms that people have: PEM, OpenSSH, minisign (docs/trust.md).

Each form is base64 of a few fixed bytes and the key's 32, and none needs a library to be read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from toolkit.errors import UnsupportedError

KEY_SIZE = 32
MAX_KEY_FILE = 64 << 10
_SSH = b"\0\0\0\x0bssh-ed25519\0\0\0 "
_FORMS = {
    len(_SSH) + KEY_SIZE: (_SSH, len(_SSH)),  # RFC 8709, section 4
    12 + KEY_SIZE: (bytes.fromhex("302a300506032b6570032100"), 12),  # RFC 8410, section 4
    10 + KEY_SIZE: (b"Ed", 10),  # minisign: the algorithm, and eight bytes of its own key id
}
"""By its size: how a form begins, and where the key starts."""
_BLANK = " \t\r"
_PEM = "-----BEGIN PUBLIC KEY-----"


@dataclass(frozen=True)
class PublicKey:
    """The key's 32 bytes."""

    data: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(_SSH + self.data).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """Whether this is the key's signature of these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.data).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_public_key(text: str) -> PublicKey:
    """The key of a file or of a word of a policy; raises UnsupportedError when it is no such key.

    Comments of all three forms are left out.
    """
    lines = [line.strip(_BLANK) for line in text.strip(f"{_BLANK}\n").split("\n")]
    if lines[:1] == [_PEM]:
        lines = ["".join(lines[1:-1])]
    elif lines and lines[0].startswith("untrusted comment:"):
        del lines[0]
    if len(lines) == 1:
        words = re.split(f"[{_BLANK}]+", lines[0])
        if words[:1] == ["ssh-ed25519"]:
            del words[0]
            del words[1:]  # the comment
        if len(words) == 1 and (key := _decoded(words[0])):
            return key
    raise UnsupportedError("no public Ed25519 key in PEM, OpenSSH or minisign form")


def _decoded(word: str) -> PublicKey | None:
    try:
        data = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return None
    start, at = _FORMS.get(len(data), (b"", 0))
    # One text for one key: the unused bits of base64 are zero.
    if not start or not data.startswith(start) or base64.b64encode(data).decode() != word:
        return None
    return PublicKey(data[at:])
