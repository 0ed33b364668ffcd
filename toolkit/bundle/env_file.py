"""`--env-file`, as docker's command line reads it (docker/cli, pkg/kvfile)."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError
from toolkit.limits import MAX_CONFIG


def read_env_file(path: Path) -> tuple[str, ...]:
    """`NAME=VALUE` for each line that sets something; a bare NAME takes the builder's own value.

    A byte order mark in front, empty lines and comments count for nothing; what stands behind the
    `=` is the value as it is, with its quotes and blanks. Raises DockercError.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG + 1)
    except FileNotFoundError:
        raise AbsentError(f"--env-file {path} does not exist") from None
    except OSError as error:
        raise DockercError(f"--env-file {path}: cannot read it: {error.strerror}") from None
    if len(data) > MAX_CONFIG:
        raise RefusedError(f"--env-file {path} has more than {MAX_CONFIG} bytes")
    found = []
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        if variable := _variable(line.removesuffix(b"\r"), f"--env-file {path}, line {number}"):
            found.append(variable)
    return tuple(found)


def _variable(line: bytes, where: str) -> str | None:
    try:
        text = line.decode().lstrip()
    except UnicodeDecodeError:
        raise DamagedError(f"{where}: it is not UTF-8") from None
    if not text or text.startswith("#"):
        return None
    name, equals, _ = text.partition("=")
    if not name:
        raise DamagedError(f"{where}: no name before the '='")
    if " " in name or "\t" in name:
        raise DamagedError(f"{where}: the name '{name}' contains a blank")
    if "\0" in text:
        raise DamagedError(f"{where}: a zero byte cannot stand in a variable")
    if equals:
        return text
    return f"{name}={os.environ[name]}" if name in os.environ else None
