"""A policy: whose signature the executables of which paths must have (docs/trust.md).

It is TOML, of which only lines `NAME = ["KEY", …]`, empty ones and comments are taken, since the
runtime reads it, too (payload/policy.zig). What one of them refuses, both must.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import DamagedError, DockercError, about
from toolkit.executable.public_key import PublicKey, parse_public_key

MAX_POLICY = 64 << 10
MAX_RULES = 256
MAX_KEYS = 32
"""Of one rule."""

_STRING = r'"([^"\\\x00-\x1f\x7f]*)"'
_LINE = re.compile(rf"(?:([A-Za-z0-9_-]+)|{_STRING})[ \t]*=[ \t]*\[(.*)\]")
_ITEM = re.compile(rf"[ \t]*{_STRING}[ \t]*(,|$)")


@dataclass(frozen=True)
class Policy:
    """Rules by what they are for."""

    rules: dict[str, tuple[PublicKey, ...]]

    def keys_for(self, path: str) -> tuple[PublicKey, ...] | None:
        """The keys of the rule that is closest to an absolute path; None where none is for it.

        That is the one of the path itself, of the nearest directory above it (`DIR/*`), of the
        file's name, or of all files (`*`).
        """
        names = [path]
        directory = path
        while "/" in directory:
            directory = directory.rpartition("/")[0]
            names.append(f"{directory}/*")
        names += [path.rpartition("/")[2], "*"]
        return next((self.rules[name] for name in names if name in self.rules), None)


def parse_policy(data: bytes) -> Policy:
    """The policy of a file's bytes; raises DockercError for any line that is not as it must be."""
    if len(data) > MAX_POLICY:
        raise DamagedError(f"a policy has at most {MAX_POLICY >> 10} KiB")
    rules: dict[str, tuple[PublicKey, ...]] = {}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError("it is not UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        with about(f"line {number}"):
            line = line.removesuffix("\r").strip(" \t")
            if not line or line.startswith("#"):
                continue
            name, keys = _rule(line)
            if name in rules:
                raise DamagedError(f"there is a rule for {name} already")
            rules[name] = keys
            if len(rules) > MAX_RULES:
                raise DamagedError(f"a policy has at most {MAX_RULES} rules")
    return Policy(rules)


def read_policy(path: Path) -> Policy:
    """The policy in a file; raises DockercError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY + 1)
    except OSError as error:
        raise DockercError(f"{path}: cannot read it: {error.strerror}") from None
    with about(str(path)):
        return parse_policy(data)


def policy_path(path: Path) -> str:
    """A file's path as rules name it: absolute, without symlinks."""
    return os.path.realpath(path)


def _rule(line: str) -> tuple[str, tuple[PublicKey, ...]]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise DamagedError('write NAME = ["KEY", "KEY"], on one line')
    bare, quoted, items = found.groups()
    name = quoted if bare is None else bare
    if not name:
        raise DamagedError("a rule needs a name")
    at, keys = 0, []
    items = items.strip(" \t")
    while at < len(items):
        item = _ITEM.match(items, at)
        if item is None:
            raise DamagedError('write NAME = ["KEY", "KEY"], on one line')
        keys.append(parse_public_key(item[1]))
        at = item.end()
        if len(keys) > MAX_KEYS:
            raise DamagedError(f"a rule has at most {MAX_KEYS} keys")
    return name, tuple(keys)
