"""The files in which docker, podman and skopeo keep logins, and the names of registries there.

The rules are those of containers-auth.json(5), which include docker's own for config.json
(docker/cli, `cli/config/configfile`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from toolkit.errors import AbsentError, DockercError
from toolkit.files.json_document import Document, parse_document
from toolkit.limits import MAX_DOCUMENT

# Docker Hub's name in docker's files is the address of its first API, whatever is spoken now.
HUB_KEY = "https://index.docker.io/v1/"
HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def login_files(authfile: Path | None = None, *, must_exist: bool = True) -> list[Path]:
    """The files that may hold logins, in the order in which they are asked.

    Only one where the user has named it; with `must_exist`, AbsentError if it is not there.
    """
    chosen = authfile or os.environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        if must_exist and not Path(chosen).exists():
            which = "--authfile" if authfile else "REGISTRY_AUTH_FILE"
            raise AbsentError(f"{which} names {chosen}, which does not exist")
        return [Path(chosen)]
    files = []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(runtime, "containers", "auth.json"))
    elif hasattr(os, "getuid"):
        files.append(Path("/run/containers", str(os.getuid()), "auth.json"))
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [*files, config / "containers" / "auth.json", docker_file()]


def docker_file() -> Path:
    """docker's own, which podman and skopeo read as well."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def read_logins(path: Path) -> Document | None:
    """A file of logins; None where there is none, or it is empty.

    Raises PermissionError, and DockercError when it cannot be read otherwise or is malformed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise
    except OSError as error:
        raise DockercError(f"cannot read the logins in {path}: {error.strerror}") from None
    return parse_document(data, str(path)) if data.strip() else None


def helper_of(document: Document, registry: str) -> str:
    """The credential helper that the file names for this registry, or for all; empty for none."""
    helpers = document.text_map("credHelpers")
    keys = [registry, *HUB_HOSTS, HUB_KEY] if registry in HUB_HOSTS else [registry]
    return next((helpers[key] for key in keys if key in helpers), "")


def keys_of(entries: Document, registry: str) -> Iterator[str]:
    """The keys of `auths` that speak of the whole registry, its own name first."""
    if registry in entries.members:
        yield registry
    # Docker once wrote addresses (`https://quay.io/v1/`): the host in them is meant.
    hosts = HUB_HOSTS if registry in HUB_HOSTS else {registry}
    for key in entries.members:
        address = key.removeprefix("https://").removeprefix("http://")
        host = address.partition("/")[0] if address != key else key
        if host in hosts and key != registry:
            yield key
