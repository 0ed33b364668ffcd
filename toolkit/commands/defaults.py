"""The user's defaults for `dockerc build` and `vm`: configuration files, and DOCKERC_… variables.

Tables of what may be set there, which dockerc-config(5) is made of (docs/man.py). The command
line goes before the environment, that before the user's file, and that before the machine's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from toolkit.errors import AbsentError, DamagedError, DockercError, UsageError
from toolkit.limits import MAX_CONFIG

SYSTEM = Path("/etc/dockerc/config.toml")
FILE = "DOCKERC_CONFIG"
"""Names the only file to be read."""
_Settings = dict[str, tuple[type[Any], str]]
SETTINGS: _Settings = {
    "authfile": (str, "a file of logins, instead of docker's and podman's"),
    "block-size": (str, "block size of the squashfs, 4K to 1M"),
    "cache-from": (list, "caches in registries to take compressed layers from"),
    "cache-key": (list, "public keys whose signatures in cache-from are trusted"),
    "cache-sign": (str, "a private key to sign what goes into cache-to"),
    "cache-to": (list, "caches in registries to put compressed layers into"),
    "cert-dir": (str, "a directory of certificates for registries"),
    "compression": (str, "zstd or none"),
    "level": (int, "the level of zstd, 1 to 22"),
    "no-cache": (bool, "do not use the cache of packed layers"),
    "quiet": (bool, "print nothing but errors and notes"),
    "tls-verify": (bool, "verify the certificates of registries"),
}
"""Options of `dockerc build`, the kind of value that each takes, and what it is."""
VM_SETTINGS: _Settings = {"kernel": (str, "the kernel to boot: a file, a package or an image")}
"""The same of `dockerc vm`."""
_TABLES = {"build": SETTINGS, "vm": VM_SETTINGS}
_KINDS: dict[type, str] = {
    str: "a string",
    int: "a number",
    bool: "true or false",
    list: "a list of strings",
}


def variable(setting: str) -> str:
    """The variable of the environment: DOCKERC_BLOCK_SIZE for block-size."""
    return f"DOCKERC_{setting.upper().replace('-', '_')}"


def build_defaults() -> dict[str, Any]:
    """By the names of the parameters of `build`; raises DockercError for what is malformed."""
    found: dict[str, Any] = {}
    for path in _files():
        found |= _read(path)["build"]
    for setting, (kind, _) in SETTINGS.items():
        if text := os.environ.get(variable(setting)):
            if kind is bool and text.lower() not in ("true", "false", "1", "0"):
                raise UsageError(f"{variable(setting)} is {text!r}; it must be true or false")
            if kind is int and not text.isdecimal():
                raise UsageError(f"{variable(setting)} is {text!r}; it must be a number")
            found[setting] = text.split() if kind is list else text
    return {setting.replace("-", "_"): value for setting, value in found.items()}


def kernel_default() -> str | None:
    """The kernel that the user chose once and for all; raises DockercError, as above."""
    found: dict[str, Any] = {}
    for path in _files():
        found |= _read(path)["vm"]
    return os.environ.get(variable("kernel")) or found.get("kernel")


def _files() -> list[Path]:
    if chosen := os.environ.get(FILE):
        if not Path(chosen).exists():
            raise AbsentError(f"{FILE} names {chosen}, which does not exist")
        return [Path(chosen)]
    try:
        user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    except RuntimeError:  # nobody's home
        return [SYSTEM]
    return [SYSTEM, user / "dockerc" / "config.toml"]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a file, empty ones where there is none."""
    empty: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        return empty
    except OSError as error:
        if isinstance(error, PermissionError) and not os.environ.get(FILE):
            return empty  # HOME may be another user's, whose files are no business of this build
        raise DockercError(f"cannot read {path}: {error.strerror}") from None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is not valid TOML: {error}") from None
    tables = {name: document.pop(name, {}) for name in _TABLES}
    for name, table in (*document.items(), *tables.items()):
        if name not in _TABLES or not isinstance(table, dict):
            raise DamagedError(
                f"{path}: {name} has no meaning there; [build] and [vm] are the only tables"
            )
        _check(table, _TABLES[name], path)
    return tables


def _check(table: dict[str, Any], settings: _Settings, path: Path) -> None:
    for name, value in table.items():
        if name not in settings:
            known = ", ".join(settings)
            raise DamagedError(f"{path}: there is no setting {name}; there are {known}")
        kind = settings[name][0]
        items = value if type(value) is list else []
        if type(value) is not kind or not all(type(item) is str for item in items):
            raise DamagedError(f"{path}: {name} must be {_KINDS[kind]}")
