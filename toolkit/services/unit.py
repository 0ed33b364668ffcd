"""A systemd unit that runs an executable (systemd.service(5), systemd.resource-control(5))."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.bundle.run_options import RUN_OPTIONS
from toolkit.errors import UsageError

_LIMITS = {"memory": "MemoryMax", "cpus": "CPUQuota", "pids-limit": "TasksMax"}
"""Options that systemd's own limits replace: no control group has to be delegated for those."""
_RUNTIME_TASKS = 16
"""The runtime's own threads and processes, beside the program's."""
_UNITS = "bkmgt"
_BYTES = re.compile(r"(\d{1,18})(?:(b)|([kmgt])(?:i?b)?)?", re.ASCII | re.IGNORECASE)
_CPUS = re.compile(r"(?=\d|\.\d)\d{0,9}(\.\d+)?", re.ASCII)
_COUNT = re.compile(r"-1|\d{1,9}", re.ASCII)
_SIGNAL = re.compile(r"(SIG)?([A-Z]{2,9}([+-]\d+)?|\d+)", re.ASCII)
"""As the runtime takes them (cli/quantity.zig, instances/stop_signal.zig)."""


@dataclass(frozen=True)
class Unit:
    """What the unit is made of: the options of the run and the program's arguments."""

    app: Path
    options: Sequence[str]
    arguments: Sequence[str]
    stop_signal: str
    of_user: bool
    is_tool: bool = False
    """All words are the program's, unless options stand before a --."""


def unit_text(unit: Unit) -> str:
    """The unit; raises UsageError for options that a unit cannot have."""
    rest, limits = _split(unit.options)
    # A name or -i alone would be taken for a tool's own.
    words = map(_argument, unit.arguments if unit.is_tool else [*rest, "--", *unit.arguments])
    given = f"DOCKERC_ARGS={shlex.join(rest)}" if unit.is_tool and rest else ""
    program, directory = _path(str(unit.app)), _path(os.getcwd())  # noqa: PTH109
    program = f'"{program}"' if " " in program else program
    signal = _signal(unit.stop_signal)
    lines = [
        f"# {unit.app.name}, as `dockerc unit` has made it.",
        "[Unit]",
        f"Description={_specifiers(unit.app.name)}",
    ]
    if not unit.of_user:
        lines += ["Wants=network-online.target", "After=network-online.target"]
    lines += [
        "",
        "[Service]",
        "# notify, if the program tells when it is ready (sd_notify(3)).",
        "Type=exec",
        "NotifyAccess=all",
        *([f"Environment={_word(given)}"] if given else []),
        f"ExecStart={' '.join([program, *words])}",
        f"WorkingDirectory={directory}",
        "Restart=on-failure",
        "# The runtime passes signals on.",
        "KillMode=mixed",
        *([f"KillSignal={signal}"] if signal else []),
        "TimeoutStopSec=10",
        "# 128 and SIGTERM.",
        "SuccessExitStatus=143",
        *limits,
        "",
        "[Install]",
        f"WantedBy={'default.target' if unit.of_user else 'multi-user.target'}",
    ]
    return "\n".join(lines) + "\n"


def _split(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options that stay the run's, and systemd's limits."""
    rest: list[str] = []
    limits: dict[str, str] = {}
    words = list(options)
    while words:
        word = words.pop(0)
        after = len(words)
        name, value = _option(word, words)
        if name in ("detach", "log"):
            raise UsageError(f"{word}: a unit is in the background, and its output in the journal")
        if name in _LIMITS:
            limits[_LIMITS[name]] = _limit(name, value)
            continue
        rest.append(word)
        if len(words) < after:
            rest.append(value)
    return rest, [f"{name}={value}" for name, value in limits.items()]


def _option(word: str, after: list[str]) -> tuple[str, str]:
    """Its name and value, which may be the next word; a group of letters counts as the last."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        option = next(each for each in RUN_OPTIONS if each.name == name)
        if equals or not option.value:
            return name, value
        return name, after.pop(0)
    for at, letter in enumerate(word[1:], 1):
        option = next(each for each in RUN_OPTIONS if each.short == letter)
        if option.name == "detach":
            return option.name, ""
        if option.value:
            if option.name in _LIMITS and at > 1:
                raise UsageError(f"{word}: write --{option.name} by itself")
            joined = word[at + 1 :].removeprefix("=")
            return option.name, joined if word[at + 1 :] else after.pop(0)
    return "", ""


def _limit(name: str, value: str) -> str:
    """As systemd writes it; raises UsageError."""
    if name == "memory" and (found := _BYTES.fullmatch(value)) and int(found[1]):
        return str(int(found[1]) << 10 * _UNITS.index((found[2] or found[3] or "b").lower()))
    if name == "cpus" and _CPUS.fullmatch(value) and float(value):
        return f"{float(value) * 100:.10g}%"
    if name == "pids-limit" and _COUNT.fullmatch(value) and int(value):
        return "infinity" if int(value) < 0 else str(int(value) + _RUNTIME_TASKS)
    raise UsageError(f"--{name} {value}: not a limit")


def _signal(name: str) -> str:
    """As systemd takes it: a name with SIG, or a number. Nothing if the image has none."""
    if not _SIGNAL.fullmatch(name):
        return ""
    return name if name.isdigit() or name.startswith("SIG") else f"SIG{name}"


def _path(path: str) -> str:
    """For a program or a directory; systemd takes no others. Raises UsageError."""
    if not path.isprintable() or any(each in path for each in "\"'\\") or path != path.strip():
        raise UsageError(f"{path!r}: a unit cannot have a path with such letters; rename it")
    return _specifiers(path)


def _argument(word: str) -> str:
    """A word of a command line, in which variables are expanded (systemd.service(5))."""
    return _word(word.replace("$", "$$"))


def _word(word: str) -> str:
    """A word, quoted if it has to be (systemd.syntax(7))."""
    escaped = _specifiers("".join(map(_escaped, word)))
    plain = word and all(each.isalnum() or each in "/._-+=:,@%$" for each in word)
    return escaped if plain else f'"{escaped}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    short = {"\n": "\\n", "\t": "\\t"}.get(letter)
    return short or "".join(f"\\x{byte:02x}" for byte in os.fsencode(letter))


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
