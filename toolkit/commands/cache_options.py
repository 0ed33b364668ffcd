"""The options of `dockerc build` for caches in registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.errors import UsageError

if TYPE_CHECKING:
    from toolkit.images.auth.access import Access
    from toolkit.services.remote_cache import CacheNames

CacheFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--cache-from",
        metavar="NAME",
        help="Take layers that others have compressed from this cache in a registry, "
        "docker://REGISTRY/NAME[:TAG]; each block is checked (docs/remote-cache.md).",
    ),
]
CacheTo = Annotated[
    list[str] | None,
    typer.Option(
        "--cache-to",
        metavar="NAME",
        help="Put the compressed layers into this cache in a registry, for --cache-from.",
    ),
]
CacheKey = Annotated[
    list[Path] | None,
    typer.Option(
        "--cache-key",
        metavar="FILE",
        help="Use what this public key has signed in --cache-from without reading the layers.",
    ),
]
CacheSign = Annotated[
    Path | None,
    typer.Option(
        "--cache-sign",
        metavar="FILE",
        help="Sign what goes into --cache-to with this private Ed25519 key.",
    ),
]


def remote_caches(
    sources: list[str] | None,
    targets: list[str] | None,
    keys: list[Path] | None,
    signer: Path | None,
    no_cache: bool,
    access: Access,
    image: str,
) -> CacheNames | None:
    """The caches in registries, if there are any; with `no_cache`, those that are written.

    A login in `access` is for the image's registry. Raises DockercError.
    """
    if signer and not targets:
        raise UsageError("--cache-sign goes with --cache-to")
    sources = [] if no_cache else sources
    if not sources and not targets:
        return None
    from toolkit.commands.registry_options import registry_name
    from toolkit.images.reference import RegistryReference, parse_reference
    from toolkit.services.key_files import read_private_key, read_public_key
    from toolkit.services.remote_cache import CacheNames

    def ask() -> bytes:
        from toolkit.commands.sign import key_password

        assert signer
        return key_password(signer, False)

    named = None if Path(image).is_dir() else parse_reference(image)
    return CacheNames(
        tuple(map(registry_name, sources or ())),
        tuple(map(registry_name, targets or ())),
        access,
        named.registry if isinstance(named, RegistryReference) else "",
        tuple(map(read_public_key, keys or ())),
        read_private_key(signer, ask) if signer else None,
    )
