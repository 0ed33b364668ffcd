"""Image names: skopeo's (`containers-transports(5)`), and bare ones as docker reads them.

The grammar of a registry name is that of the distribution project's `reference` package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from toolkit.errors import UsageError

SERVED = (
    "docker://NAME, docker-daemon:NAME, containers-storage:NAME, "
    "oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR"
)

# Compiled when used: no name needs all of them.
_DIGEST = r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_REPOSITORY = rf"{_COMPONENT}(?:/{_COMPONENT})*"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_AT_DIGEST = rf"(?s)(.+?):?@({_DIGEST})"
_AT_ANY_DIGEST = r"(?s).*@[a-z0-9]+:[^:/\\]*"
_WINDOWS_DRIVE = r"[A-Za-z]:[\\/]"
_NAME_LIMIT = 255


@dataclass(frozen=True)
class RegistryReference:
    """`docker://REGISTRY/REPOSITORY:TAG`, or `@DIGEST`, which decides when both are given.

    `is_short` tells that the registry was not written but is docker's default.
    """

    registry: str
    repository: str
    tag: str | None
    digest: str | None
    is_short: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What the registry's manifest address ends in: the digest, or the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        return f"docker://{self.name}{f'@{self.digest}' if self.digest else f':{self.tag}'}"

    @property
    def familiar(self) -> str:
        """As people write it: without docker's default registry and namespace."""
        name = self.name.removeprefix("docker.io/").removeprefix("library/")
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"


@dataclass(frozen=True)
class LayoutReference:
    """`oci:DIR` or `oci-archive:FILE`, and the image's name in the index or its digest."""

    transport: Literal["oci", "oci-archive"]
    path: str
    tag: str | None
    digest: str | None

    def __str__(self) -> str:
        suffix = f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else ""
        return f"{self.transport}:{self.path}{suffix}"


@dataclass(frozen=True)
class ArchiveReference:
    """`docker-archive:FILE`, with the name of an image in it, or its place in manifest.json."""

    path: str
    name: RegistryReference | None
    index: int | None

    def __str__(self) -> str:
        suffix = ""
        if self.name:
            suffix = f":{self.name.name}:{self.name.tag}"
        elif self.index is not None:
            suffix = f":@{self.index}"
        return f"docker-archive:{self.path}{suffix}"


@dataclass(frozen=True)
class DaemonReference:
    """`docker-daemon:NAME:TAG`, or the id of an image of that engine, `sha256:…`."""

    image: str

    def candidates(self) -> list[str]:
        """What to ask the engine for: behind an @ it takes a registry's digest, not its own id."""
        _, at, digest = self.image.partition("@")
        return [self.image, digest] if at else [self.image]

    def __str__(self) -> str:
        return f"docker-daemon:{self.image}"


@dataclass(frozen=True)
class StorageReference:
    """`containers-storage:NAME`: whatever podman and skopeo understand (containers-storage(5))."""

    image: str

    def __str__(self) -> str:
        return f"containers-storage:{self.image}"


@dataclass(frozen=True)
class DirectoryReference:
    """`dir:PATH`, skopeo's own way to keep one image as files."""

    path: str

    def __str__(self) -> str:
        return f"dir:{self.path}"


Reference = (
    RegistryReference
    | LayoutReference
    | ArchiveReference
    | DaemonReference
    | StorageReference
    | DirectoryReference
)


def has_transport(text: str) -> bool:
    """Whether it begins with a transport, and so can be nothing but an image's name."""
    transport, _, rest = text.partition(":")
    others = ("oci", "oci-archive", "docker-archive", "docker-daemon", "containers-storage", "dir")
    return (transport == "docker" and rest.startswith("//")) or bool(rest and transport in others)


def parse_reference(text: str) -> Reference:
    """Reads what a user typed as an image's name.

    Raises UsageError when it is none, or when its transport is unknown or not served.
    """
    transport, colon, rest = text.partition(":")
    if transport == "docker" and rest.startswith("//"):
        return replace(parse_name(rest[2:]), is_short=False)
    if colon and transport in ("oci", "oci-archive"):
        return _parse_layout("oci" if transport == "oci" else "oci-archive", rest)
    if colon and transport == "docker-archive":
        return _parse_archive(rest)
    if colon and transport == "docker-daemon":
        return _parse_daemon(rest)
    if colon and transport == "containers-storage":
        return _parse_storage(rest)
    if colon and transport == "dir":
        if not rest:
            raise UsageError("'dir:' names no directory")
        return DirectoryReference(rest)
    if text.startswith(("/", "./", "../", "~", "\\")) or re.match(_WINDOWS_DRIVE, text):
        raise UsageError(
            f"'{text}' is a path, and a path needs its transport before it: "
            f"oci:DIR, oci-archive:FILE, docker-archive:FILE or dir:DIR"
        )
    # `debian:12` is a name with a tag and `localhost:5000/app` one with a port; `s3://x` and
    # `ftp:/x` can be neither.
    if re.fullmatch(r"[a-z][a-z0-9+-]*", transport) and rest.startswith("/"):
        raise UsageError(f"unknown transport '{transport}:' in '{text}'; there are {SERVED}")
    return parse_name(text)


def parse_name(text: str) -> RegistryReference:
    """Reads `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` with docker's defaults.

    Raises UsageError when it is not such a name.
    """
    name, at, digest = text.partition("@")
    if at and not re.fullmatch(_DIGEST, digest):
        raise UsageError(
            f"'{digest}' in '{text}' is not a digest: write sha256: and 64 hexadecimal digits"
        )
    head, slash, tail = name.rpartition("/")
    tail, colon, tag = tail.partition(":")
    if colon and not re.fullmatch(TAG, tag):
        raise UsageError(
            f"'{tag}' in '{text}' is not a tag: letters, digits, '_', '.' and '-', at most 128 "
            f"(transports: {SERVED})"
        )
    path = head + slash + tail
    first, has_more, others = path.partition("/")
    # Docker's rule: only what looks like a host is one; `library/debian` is no registry.
    is_short = not has_more or not (
        "." in first or ":" in first or first == "localhost" or first.lower() != first
    )
    registry, repository = ("docker.io", path) if is_short else (first, others)
    if registry in ("docker.io", "index.docker.io"):
        registry = "docker.io"
        if repository and "/" not in repository:
            repository = f"library/{repository}"
    if not re.fullmatch(_REGISTRY, registry) or not re.fullmatch(_REPOSITORY, repository):
        hint = " (names are lower-case)" if repository.lower() != repository else ""
        raise UsageError(
            f"'{text}' is not an image name{hint}: "
            f"write [REGISTRY/]NAME[:TAG|@DIGEST], or one of {SERVED}"
        )
    if len(registry) + len(repository) >= _NAME_LIMIT:
        raise UsageError(f"an image name has at most {_NAME_LIMIT} characters, not '{text[:40]}…'")
    return RegistryReference(
        registry, repository, tag or (None if at else "latest"), digest or None, is_short
    )


def parse_registry(text: str) -> str:
    """Reads a registry's name, as `docker login` takes it: perhaps as an address.

    Raises UsageError when it is none.
    """
    name = re.sub(r"^https?://", "", text)
    name, _, path = name.partition("/")
    if not re.fullmatch(_REGISTRY, name):
        raise UsageError(f"'{text}' is not a registry: write HOST or HOST:PORT, like quay.io")
    if path.strip("/") not in ("", "v1", "v2"):
        raise UsageError(f"'{text}' is more than a registry: write {name} alone")
    return "docker.io" if name in ("index.docker.io", "registry-1.docker.io") else name


def _parse_layout(transport: Literal["oci", "oci-archive"], rest: str) -> LayoutReference:
    tag: str | None
    digest: str | None
    if match := re.fullmatch(_AT_DIGEST, rest):
        path, tag, digest = match[1], None, match[2]
    elif re.fullmatch(_AT_ANY_DIGEST, rest):
        raise UsageError(
            f"'{transport}:{rest}' ends in something that is not a digest: "
            f"write @sha256: and 64 hexadecimal digits"
        )
    else:
        path, tag = _split_path(rest)
        digest = None
    if not path:
        raise UsageError(f"'{transport}:{rest}' names no path")
    return LayoutReference(transport, path, tag, digest)


def _parse_archive(rest: str) -> ArchiveReference:
    path, image = _split_path(rest)
    if not path:
        raise UsageError(f"'docker-archive:{rest}' names no file")
    if image is None:
        return ArchiveReference(path, None, None)
    if re.fullmatch(r"@[0-9]{1,9}", image):
        return ArchiveReference(path, None, int(image[1:]))
    name = parse_name(image)
    if name.digest:
        raise UsageError(
            f"'docker-archive:{rest}' asks for a digest, which such an archive does not record; "
            f"name the image NAME:TAG"
        )
    return ArchiveReference(path, name, None)


def _parse_daemon(rest: str) -> DaemonReference:
    if re.fullmatch(_DIGEST, rest):
        return DaemonReference(rest)
    return DaemonReference(parse_name(rest).familiar)


def _parse_storage(rest: str) -> StorageReference:
    if not rest or not rest.isprintable():
        raise UsageError(f"'containers-storage:{rest!a}' names no image")
    return StorageReference(rest)


def _split_path(rest: str) -> tuple[str, str | None]:
    """Splits at the first colon, as skopeo does, save that of a Windows drive (`C:\\images`)."""
    start = 2 if re.match(_WINDOWS_DRIVE, rest) else 0
    path, _, image = rest[start:].partition(":")
    return rest[:start] + path, image or None
