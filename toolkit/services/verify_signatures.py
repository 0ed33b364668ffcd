"""Whose signatures an executable has, and whether they are those that somebody asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from toolkit.errors import DamagedError, DockercError
from toolkit.executable.executable import Executable
from toolkit.executable.policy import Policy, policy_path
from toolkit.executable.public_key import PublicKey
from toolkit.executable.signed_block import ED25519, Signature, SignedBlock
from toolkit.executable.stub import is_installed_stub
from toolkit.limits import MAX_STUB
from toolkit.services.verify import Verified


@dataclass(frozen=True)
class Wanted:
    """What the caller asks for: a signature of one of the keys, and what a policy says."""

    keys: tuple[PublicKey, ...] = ()
    policy: Policy | None = None


def signers_told(executable: Executable, found: Verified, wanted: Wanted) -> str:
    """Check the signatures; returns what there is to say of them, and tells `found` of faults."""
    signers: list[Signer] = []
    if found.signed_block:
        signers = check_signatures(found.signed_block, found.tell)
    said = ""
    try:
        if wanted.policy is not None:
            path = policy_path(executable.path)
            keys = wanted.policy.keys_for(path)
            if keys is None:
                raise DockercError(f"the policy has no rule for {path}")
            said = _require_signer(executable, signers, keys)
        if wanted.keys:
            said = _require_signer(executable, signers, wanted.keys)
    except DockercError as error:
        found.tell(str(error))
    if not said and signers:
        said = f"signed by {', '.join(signer.key.fingerprint for signer in signers)}"
    return f"; {said}" if said else ""


@dataclass(frozen=True)
class Signer:
    """A key whose signatures are valid, and whether one of them is over the runtime, too."""

    key: PublicKey
    runtime: bool


def check_signatures(block: SignedBlock, tell: Callable[[str], None]) -> list[Signer]:
    """The keys with valid signatures; tells of every signature that is not."""
    signers: dict[bytes, Signer] = {}
    for number, each in enumerate(block.signatures, 1):
        key = PublicKey(each.key)
        if each.algorithm != ED25519:
            tell(f"its signature {number} is of an unknown algorithm, {each.algorithm}")
        elif not _is_valid(block, each):
            tell(f"its signature {number}, of the key {key.fingerprint}, is wrong")
        else:
            before = signers.get(each.key)
            runtime = each.covers_stub or (before is not None and before.runtime)
            signers[each.key] = Signer(key, runtime)
    return list(signers.values())


def _is_valid(block: SignedBlock, signature: Signature) -> bool:
    """Whether the signature is one of its key over this block."""
    return PublicKey(signature.key).has_signed(
        block.signed_bytes(signature.covers), signature.value
    )


def _require_signer(
    executable: Executable, signers: Collection[Signer], keys: Collection[PublicKey]
) -> str:
    """A sentence of who vouches for the executable; raises DockercError if none of `keys` does.

    The runtime is vouched for by the key, or is that of this installation: the payload's signature
    says nothing of the program that runs before it.
    """
    trusted = [signer for signer in signers if signer.key in keys]
    if not trusted:
        others = ", ".join(signer.key.fingerprint for signer in signers)
        what = f"it is signed by {others} only" if others else "it is not signed"
        raise DockercError(f"{what}, and by none of the keys that were asked for")
    for signer in trusted:
        if signer.runtime:
            return f"signed by {signer.key.fingerprint}"
    signer = trusted[0]
    if is_installed_stub(executable.stub(MAX_STUB)):
        return f"signed by {signer.key.fingerprint}; its runtime is that of this installation"
    raise DockercError(
        f"its payload is signed by {signer.key.fingerprint}, but its runtime by nobody, and it is"
        " not that of this installation, which `dockerc replace` puts in its place"
    )


def signed_facts(executable: Executable) -> dict[str, Any] | None:
    """The root of the hash tree, and the signatures; None for files without."""
    try:
        block = executable.signed_block
    except DamagedError:
        return None
    if block is None:
        return None
    return {
        "root_hash": block.payload.root.hex(),
        "salt": block.payload.salt.hex(),
        "signatures": [
            {
                "key": PublicKey(each.key).fingerprint,
                "runtime": each.covers_stub,
                "valid": each.algorithm == ED25519 and _is_valid(block, each),
            }
            for each in block.signatures
        ],
    }
