"""Options of docker run for a machine: what is the machine's, and what the runtime in it gets."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.bundle.annotations import exposed_ports, word_list
from toolkit.bundle.env_file import read_env_file
from toolkit.bundle.given import given_options
from toolkit.bundle.run_options import split_run_words
from toolkit.errors import UnsupportedError, UsageError
from toolkit.machine.forwards import Forward, forwards
from toolkit.machine.shares import Shares

DEFAULT_MEMORY = 1 << 30
_MIN_MEMORY = 128 << 20
"""The kernel alone takes half of it."""
_MAX_MEMORY = 1 << 50

_REFUSED = {
    "detach": "start it in the background with the means of your shell",
    "log": "redirect its output",
    "device": "a machine has none of this one's devices",
    "gpus": "a machine has none of this one's devices",
}
_DROPPED = frozenset(
    ("interactive", "tty", "rm", "label", "pull", "name", "share", "linger", "publish", "expose",
     "publish-all", "memory", "cpus")
)  # fmt: skip
"""Without meaning in a machine, or the machine's own."""
_OF_THE_CALLER = frozenset(("cwd", "home", "userns"))
"""Become other options, once all are known."""


@dataclass
class Wanted:
    """A command line, taken apart."""

    first: list[str] = field(default_factory=list)
    """Options for the runtime in the machine, before those as given."""
    words: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    """The program's."""
    variables: list[str] = field(default_factory=list)
    """The environment of the runtime in the machine."""
    memory: int = DEFAULT_MEMORY
    processors: int = 0
    """0: as many as this machine has, at most four."""
    network: bool = True
    shares: Shares = field(default_factory=Shares)
    forwards: list[Forward] = field(default_factory=list)
    overlay: str | None = None


def wanted(app: str, words: Sequence[str], annotations: Mapping[str, str]) -> Wanted:
    """What the words and the executable's own options ask for; raises DockercError."""
    options, arguments = split_run_words(words)
    parser = _Parser(app, Wanted(arguments=arguments))
    parser.volumes(word_list(annotations, "run.volumes", app))
    baked = word_list(annotations, "run.options", app)
    for given in (split_run_words(baked)[0], _own_line(), options):
        for option, value in given_options(given):
            parser.take(option.name, value)
    return parser.finish(exposed_ports(annotations))


def _own_line() -> list[str]:
    """Options of DOCKERC_ARGS."""
    try:
        return split_run_words(shlex.split(os.environ.get("DOCKERC_ARGS", "")))[0]
    except ValueError:
        raise UsageError("DOCKERC_ARGS: a quote is not closed") from None


class _Parser:
    def __init__(self, app: str, found: Wanted) -> None:
        self._app = app
        self._found = found
        self._published: list[str] = []
        self._exposed: list[str] = []
        self._last: dict[str, str] = {}
        self._takes: dict[str, Callable[[str], None]] = {
            "env": self._variable,
            "env-file": self._env_file,
            "env-host": self._environment,
            "volume": self._volume,
            "mount": self._mount,
            "network": self._network,
            "net": self._network,
            "memory": self._memory,
            "cpus": self._processors,
            "publish": self._published.append,
            "expose": self._exposed.append,
            "overlay": self._overlay,
            "security-opt": self._security,
            "group-add": self._group,
        }

    def volumes(self, texts: Sequence[str]) -> None:
        """Those of a build: whatever is given later goes before them."""
        for text in texts:
            self._found.first.append(f"--volume={self._found.shares.volume(text)}")

    def take(self, name: str, value: str) -> None:
        """An option, in the order of the command line."""
        if name in _REFUSED and value != "false":
            raise UnsupportedError(f"--{name} is not supported in a machine: {_REFUSED[name]}")
        if name.startswith("dockerc-") and name != "dockerc-verify":
            raise UsageError(f"--{name} needs no machine: run {self._app} --{name}")
        self._last[name] = value
        if name in self._takes:
            self._takes[name](value)
        elif name not in _DROPPED and name not in _OF_THE_CALLER:
            self._found.words.append(f"--{name}={value}")

    def finish(self, exposed: Sequence[str]) -> Wanted:
        """What is only known once all options are."""
        found = self._found
        if self._is_on("cwd"):
            self._bind(Path.cwd(), "--cwd")
            found.first.append(f"--workdir={Path.cwd()}")
        if self._is_on("home"):
            self._bind(Path.home(), "--home")
            found.first.append(f"--env=HOME={Path.home()}")
        if self._last.get("userns") == "keep-id" and sys.platform != "win32":
            found.first.append(f"--user={os.getuid()}:{os.getgid()}")
        wanted_ports = [*self._exposed, *exposed] if self._is_on("publish-all") else []
        if found.network:
            found.forwards = forwards(self._published, wanted_ports)
        return found

    def _is_on(self, name: str) -> bool:
        return self._last.get(name) == "true"

    def _bind(self, path: Path, option: str) -> None:
        if sys.platform == "win32":
            raise UnsupportedError(f"{option}: Linux has no such path as {path}; write -v .:/work")
        volume = self._found.shares.add(str(path), str(path), read_only=False)
        self._found.first.append(f"--volume={volume}")

    def _variable(self, text: str) -> None:
        if "=" not in text and text in os.environ:
            self._found.variables.append(f"{text}={os.environ[text]}")
        self._found.words.append(f"--env={text}")

    def _env_file(self, text: str) -> None:
        # Docker's rule: variables of --env go before those of files.
        self._found.first += [f"--env={each}" for each in read_env_file(Path(text))]

    def _environment(self, value: str) -> None:
        self._found.variables += [f"{name}={each}" for name, each in os.environ.items()]
        self._found.words.append(f"--env-host={value}")

    def _volume(self, text: str) -> None:
        self._found.words.append(f"--volume={self._found.shares.volume(text)}")

    def _mount(self, text: str) -> None:
        volume = self._found.shares.mount(text)
        self._found.words.append(f"--volume={volume}" if volume else f"--mount={text}")

    def _network(self, text: str) -> None:
        """QEMU's network is private, and there is no other."""
        self._found.network = text != "none"
        if text not in ("host", "private"):
            self._found.words.append(f"--network={text}")

    def _memory(self, text: str) -> None:
        match = re.fullmatch(r"([0-9]{1,18})([bkmgt]?)(?:i?b)?", text.lower())
        size = int(match[1]) << 10 * "bkmgt".index(match[2] or "b") if match else 0
        if match is None or size > _MAX_MEMORY:
            raise UsageError(f"--memory {text}: write 512m or 2g")
        if size < _MIN_MEMORY:
            raise UsageError(f"--memory {text}: a machine needs {_MIN_MEMORY >> 20}m")
        self._found.memory = size

    def _processors(self, text: str) -> None:
        if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", text) or not 0 < float(text) <= 255:
            raise UsageError(f"--cpus {text}: write a number of processors, up to 255")
        self._found.processors = math.ceil(float(text))
        if float(text) % 1:
            self._found.words.append(f"--cpus={text}")

    def _overlay(self, text: str) -> None:
        self._found.overlay = text
        self._found.words.append("--overlay=/overlay/kept")

    def _security(self, text: str) -> None:
        name, _, value = text.partition("=")
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            raise UnsupportedError(
                f"--security-opt {text}: a machine has docker's filter, or seccomp=unconfined"
            )
        self._found.words.append(f"--security-opt={text}")

    def _group(self, text: str) -> None:
        if text != "keep-groups":  # those of this machine's user
            self._found.words.append(f"--group-add={text}")
