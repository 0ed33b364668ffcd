"""registries.conf, version 2: mirrors, other locations, what is insecure or blocked, short names.

The rules are those of containers-registries.conf(5) and of the package `sysregistriesv2` in
containers/image, on which podman, buildah and skopeo stand.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolkit.errors import (
    AbsentError,
    DamagedError,
    DockercError,
    RefusedError,
    UnsupportedError,
    UsageError,
)
from toolkit.files.json_document import Document
from toolkit.images.reference import RegistryReference, parse_name

# Python has the library since 3.11; tomli is the same one for 3.10.
if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SYSTEM = Path("/etc/containers")
_FILE_LIMIT = 4 << 20
_SEARCH_LIMIT = 16


@dataclass(frozen=True)
class Endpoint:
    """Where an image may be fetched from, in the order of trial."""

    reference: RegistryReference
    insecure: bool
    is_mirror: bool


@dataclass(frozen=True)
class _Mirror:
    location: str
    insecure: bool
    pull: str


@dataclass(frozen=True)
class _Registry:
    """One `[[registry]]` table."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    digest_only: bool
    mirrors: tuple[_Mirror, ...]
    where: str


@dataclass(frozen=True)
class RegistriesConf:
    """What the files say together; by default nothing."""

    registries: Mapping[str, _Registry]
    aliases: Mapping[str, str]
    search: Sequence[str]
    is_enforcing: bool

    def long_names(self, reference: RegistryReference) -> list[RegistryReference]:
        """What a short name may stand for, in the order of trial.

        Docker's answer, `docker.io`, is the one where no file knows a better. Raises UsageError
        when there are several and the user forbade guessing (`short-name-mode = "enforcing"`).
        """
        if not reference.is_short:
            return [reference]
        short = reference.repository.removeprefix("library/")
        if alias := self.aliases.get(short):
            return [replace(parse_name(alias), tag=reference.tag, digest=reference.digest)]
        if self.is_enforcing and len(self.search) > 1:
            raise UsageError(
                f"'{short}' may be in any of {', '.join(self.search)}, and registries.conf forbids "
                f"guessing (short-name-mode): write the registry before the name"
            )
        if not self.search:
            return [replace(reference, is_short=False)]
        suffix = f"@{reference.digest}" if reference.digest else f":{reference.tag}"
        return [parse_name(f"{registry}/{short}{suffix}") for registry in self.search]

    def endpoints(self, reference: RegistryReference) -> list[Endpoint]:
        """The mirrors of an image, then its own place. Raises DockercError when it is blocked."""
        registry = self._find(reference)
        if registry is None:
            return [Endpoint(reference, insecure=False, is_mirror=False)]
        if registry.blocked:
            raise RefusedError(f"{reference} is blocked by {registry.where}")
        endpoints = []
        for mirror in registry.mirrors:
            pull = "digest-only" if registry.digest_only else mirror.pull
            if pull == "all" or (pull == "digest-only") == bool(reference.digest):
                moved = _moved(reference, registry, mirror.location)
                endpoints.append(Endpoint(moved, mirror.insecure, is_mirror=True))
        own = _moved(reference, registry, registry.location) if registry.location else reference
        return [*endpoints, Endpoint(own, registry.insecure, is_mirror=False)]

    def registry(self, name: str) -> Endpoint:
        """A registry itself, without a repository. Raises DockercError when it is blocked."""
        reference = RegistryReference(name, "", None, None)
        table = self._find(reference)
        if table and table.blocked:
            raise RefusedError(f"{name} is blocked by {table.where}")
        return Endpoint(reference, insecure=bool(table and table.insecure), is_mirror=False)

    def _find(self, reference: RegistryReference) -> _Registry | None:
        """The table with the longest prefix that the name begins with."""
        suited = [r for r in self.registries.values() if _matched(r.prefix, reference) is not None]
        return max(suited, key=lambda registry: len(registry.prefix), default=None)


def _matched(prefix: str, reference: RegistryReference) -> str | None:
    """The part of the name that a prefix stands for; None when it does not fit."""
    if prefix.startswith("*."):
        return reference.registry if reference.registry.endswith(prefix[1:]) else None
    for suffix in ("", f":{reference.tag}", f"@{reference.digest}"):
        if prefix == f"{reference.name}{suffix}":
            return prefix
    return prefix if f"{reference.name}/".startswith(f"{prefix}/") else None


def _moved(reference: RegistryReference, registry: _Registry, location: str) -> RegistryReference:
    """The reference with `location` in the place of the prefix that matched."""
    tag = f":{reference.tag}" if reference.tag else ""
    digest = f"@{reference.digest}" if reference.digest else ""
    name = f"{reference.name}{tag}{digest}"
    rest = name[len(_matched(registry.prefix, reference) or "") :]
    try:
        return parse_name(location + rest)
    except UsageError:
        raise DamagedError(
            f"{registry.where} sends {reference} to '{location}{rest}', which is no image name"
        ) from None


def load_registries_conf() -> RegistriesConf:
    """Reads the user's file or the system's, and what lies in the directories beside them.

    Raises DockercError when one of them is malformed.
    """
    registries: dict[str, _Registry] = {}
    aliases: dict[str, str] = {}
    search: list[str] = []
    mode = ""
    for path in _files():
        document = _read(path)
        for table in document.objects("registry"):
            registry = _registry(table)
            registries[registry.prefix] = registry
        # An empty alias takes one of an earlier file away.
        aliases |= document.text_map("aliases")
        if "unqualified-search-registries" in document.members:
            search = document.texts("unqualified-search-registries")
        mode = document.text("short-name-mode") or mode
    if len(search) > _SEARCH_LIMIT:
        raise RefusedError(f"registries.conf names more than {_SEARCH_LIMIT} search registries")
    return RegistriesConf(registries, aliases, search, mode == "enforcing")


def _files() -> list[Path]:
    """One main file, then the drop-ins, the system's before the user's; later ones win."""
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers"
    if chosen := os.environ.get("CONTAINERS_REGISTRIES_CONF"):
        if not Path(chosen).exists():
            raise AbsentError(f"CONTAINERS_REGISTRIES_CONF names {chosen}, which does not exist")
        main = [Path(chosen)]
    else:
        main = [directory / "registries.conf" for directory in (user, _SYSTEM)]
        main = [path for path in main if path.is_file()][:1]
    for directory in (_SYSTEM, user):
        main += sorted((directory / "registries.conf.d").glob("*.conf"))
    return main


def _read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT)
        members: dict[str, Any] = tomllib.loads(data.decode())
    except OSError as error:
        raise DockercError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not valid TOML: {error}") from None
    if "registries" in members:
        raise UnsupportedError(
            f"{path} has the old format, version 1 ([registries.search]); "
            f"containers-registries.conf(5) shows the present one"
        )
    return Document(members, str(path))


def _registry(table: Document) -> _Registry:
    prefix, location = table.text("prefix"), table.text("location").rstrip("/")
    if not prefix and not location:
        raise DamagedError(f"{table.where} is malformed: a [[registry]] without prefix or location")
    if not prefix.startswith("*."):
        prefix = prefix or location
        location = location or prefix
    mirrors = []
    for mirror in table.objects("mirror"):
        pull = mirror.text("pull-from-mirror") or "all"
        if pull not in ("all", "digest-only", "tag-only"):
            raise DamagedError(f"{table.where} is malformed: pull-from-mirror = '{pull}'")
        mirrors.append(
            _Mirror(mirror.text("location").rstrip("/"), mirror.boolean("insecure"), pull)
        )
    return _Registry(
        prefix.rstrip("/"),
        location,
        table.boolean("insecure"),
        table.boolean("blocked"),
        table.boolean("mirror-by-digest-only"),
        tuple(mirrors),
        table.where,
    )
