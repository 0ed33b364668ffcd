"""Run options given at build: what `docker run` would take becomes the executable's default.

All but volumes are an image config's own fields, so they are laid over the image's before it
becomes config.json; volumes have sources on the machine that runs it, and so are an annotation.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolkit.bundle.annotations import ARGS_RULES
from toolkit.bundle.ports import check_ports
from toolkit.bundle.run_options import VOLUME_MODES
from toolkit.errors import UsageError

DRIVE = re.compile(r"[A-Za-z]:(?=[\\/].*:/)")
"""What only a volume of a path of Windows begins with: `a:/x` is a directory `a`."""


@dataclass(frozen=True)
class BakedOptions:
    """Each as written on the command line; None or empty where the image decides.

    Raises UsageError when made of a malformed option: before any work.
    """

    env: tuple[str, ...] = ()
    """`NAME=VALUE`, or `NAME` for the builder's own value."""
    volumes: tuple[str, ...] = ()
    """`SOURCE:DESTINATION[:ro]`; relative sources are seen from where the executable is started."""
    workdir: str | None = None
    entrypoint: str | None = None
    cmd: str | None = None
    user: str | None = None
    labels: tuple[str, ...] = ()
    """`NAME=VALUE`."""
    args: str | None = None
    """How the command line is read: one of ARGS_RULES; None: see default_args_rule."""

    run: tuple[str, ...] = ()
    """Other options of a run, `--name` or `--name=value`: those of run_options.BAKED."""

    def __post_init__(self) -> None:
        for text in (*_texts(self.over({})), *self.volumes, *self.run):
            _check_text(text)
        for volume in self.volumes:
            check_volume(volume)
        publish = "--publish="
        check_ports([word.removeprefix(publish) for word in self.run if word.startswith(publish)])
        if self.args not in (None, *ARGS_RULES):
            raise UsageError(f"--args {self.args}: write --args docker or --args program")

    def over(self, image: Mapping[str, Any]) -> dict[str, Any]:
        """The image config with these laid over it."""
        config = dict(image.get("config") or {})
        if self.env:
            config["Env"] = [*(config.get("Env") or []), *filter(None, map(_variable, self.env))]
        if self.workdir is not None:
            config["WorkingDir"] = self.workdir
        if self.user is not None:
            config["User"] = self.user
        if self.entrypoint is not None:
            # docker's rule: the image's Cmd was meant for the image's Entrypoint.
            config["Entrypoint"], config["Cmd"] = _words(self.entrypoint, "--entrypoint"), None
        if self.cmd is not None:
            config["Cmd"] = _words(self.cmd, "--cmd")
        if self.labels:
            config["Labels"] = {**(config.get("Labels") or {}), **dict(map(_label, self.labels))}
        return {**image, "config": config}


def _variable(text: str) -> str | None:
    name, equals, _ = text.partition("=")
    if not name:
        raise UsageError(f"--env {text}: write NAME=VALUE, or NAME to take your own value")
    if equals:
        return text
    return f"{name}={os.environ[name]}" if name in os.environ else None


def _label(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise UsageError(f"--label {text}: write NAME=VALUE")
    return name, value


def _words(text: str, option: str) -> list[str]:
    """A JSON array of strings, as in a Dockerfile, or words with a shell's quotes."""
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UsageError(f'{option} {text}: write a JSON array of strings, ["a", "b"]')
        return words
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None


def _texts(value: Any) -> Iterator[str]:
    """All strings in a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _check_text(text: str) -> None:
    """config.json is UTF-8, and what the kernel takes ends at a zero byte."""
    shown = text.encode("utf-8", "backslashreplace").decode()
    if shown != text:
        raise UsageError(f"{shown}: it is not UTF-8, which an executable's configuration must be")
    if "\0" in text:
        raise UsageError(f"{shown}: a zero byte cannot stand in it")


def check_volume(text: str) -> tuple[str, str, bool]:
    """Source, destination and whether it is read-only; raises UsageError for what is no volume."""
    if DRIVE.match(text):
        raise UsageError(
            f"--volume {text}: this is a path of Windows; `dockerc vm` takes it there, when it"
            " starts the program"
        )
    source, _, rest = text.partition(":")
    destination, colon, mode = rest.partition(":")
    modes = mode.split(",") if colon else []
    if not source or not destination.startswith("/") or not {*modes} <= {"ro", *VOLUME_MODES}:
        raise UsageError(f"--volume {text}: write SOURCE:/DESTINATION or SOURCE:/DESTINATION:ro")
    return source, destination, "ro" in modes
