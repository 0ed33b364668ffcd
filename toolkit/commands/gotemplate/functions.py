"""The functions of templates: Go's own, and those that docker adds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from toolkit.errors import UsageError

_VERB = re.compile(r"%([-+ 0#]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")
_MAX_WIDTH = 1000
_MAX_TEXT = 16 << 20  # of a function's arguments: one that a loop doubles would fill the memory


def text_of(value: Any) -> str:
    """A value as it is printed: arrays and objects as JSON, and nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value) if isinstance(value, list | dict) else str(value)


def call(name: str, arguments: list[Any]) -> Any:
    """The value of a function; raises UsageError for one that there is not."""
    if name not in FUNCTIONS:
        raise UsageError(
            f"--format: there is no function {name}; there are {', '.join(sorted(FUNCTIONS))}"
        )
    least, most, function = FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        raise UsageError(f"--format: {name} cannot take {len(arguments)} arguments")
    if sum(len(each) for each in arguments if isinstance(each, str)) > _MAX_TEXT:
        raise UsageError(f"--format: {name} takes at most {_MAX_TEXT >> 20} MiB of text")
    return function(*arguments)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _len(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    return len(_kind("len", value, list, dict)) if value is not None else 0


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(_kind("index", key, str), "")
        elif isinstance(value, list):
            number = _kind("index", key, int)
            if not 0 <= number < len(value):
                raise UsageError(f"--format: index {number} of an array of {len(value)}")
            value = value[number]
        elif value is not None:
            raise UsageError("--format: index takes an array or an object")
    return value


def _slice(value: Any, *bounds: Any) -> Any:
    start, end = (*(_kind("slice", each, int) for each in bounds), None, None)[:2]
    _kind("slice", value, str, list)
    if not 0 <= (start or 0) <= (len(value) if end is None else end) <= len(value):
        raise UsageError("--format: slice goes past the end")
    return value[start:end]


def _join(value: Any, separator: Any = "") -> str:
    listed = [] if value is None else _kind("join", value, list)
    return str(_kind("join", separator, str)).join(map(text_of, listed))


def _split(value: Any, separator: Any) -> list[str]:
    text, at = _kind("split", value, str), _kind("split", separator, str)
    return str(text).split(at) if at else list(str(text))


def _printf(form: Any, *values: Any) -> str:
    left = list(values)

    def fill(verb: re.Match[str]) -> str:
        flags, width, precision, letter = verb.groups()
        if letter == "%":
            return "%"
        if letter not in "svdqxtf":
            raise UsageError(f"--format: printf has no %{letter}; it has %s %v %d %q %x %t %f")
        if not left:
            raise UsageError("--format: printf has fewer values than verbs")
        text = _formatted(letter, left.pop(0), precision)
        size = int(width or 0)
        if size > _MAX_WIDTH:
            raise UsageError(f"--format: printf pads to at most {_MAX_WIDTH} characters")
        if "-" in flags:
            return text.ljust(size)
        return text.zfill(size) if "0" in flags and letter in "dxf" else text.rjust(size)

    text = _VERB.sub(fill, str(_kind("printf", form, str)))
    if left:
        raise UsageError("--format: printf has more values than verbs")
    return text


def _formatted(letter: str, value: Any, precision: str | None) -> str:
    if letter == "q":
        return json.dumps(text_of(value), ensure_ascii=False)
    if letter == "d":
        return str(_kind("printf %d", value, int))
    if letter == "x":
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape").hex()
        return f"{_kind('printf %x', value, int):x}"
    if letter == "f":
        return f"{_kind('printf %f', value, int, float):.{min(int(precision or 6), 100)}f}"
    text = text_of(value)
    return text[: int(precision)] if precision is not None else text


def _println(*values: Any) -> str:
    return " ".join(map(text_of, values)) + "\n"


def _print(*values: Any) -> str:
    """As Go: a space between two values, neither of which is a string."""
    text = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            text += " "
        text += text_of(value)
    return text


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _eq(value: Any, *others: Any) -> bool:
    return any(type(value) is type(other) and value == other for other in others)


def _ordered(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def function(left: Any, right: Any) -> bool:
        numbers = all(isinstance(each, int | float) for each in (left, right))
        if not numbers and not (isinstance(left, str) and isinstance(right, str)):
            raise UsageError(f"--format: {name} compares two numbers or two strings")
        return compare(left, right)

    return function


def _on_text(name: str, change: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: change(str(_kind(name, value, str)))


def _pad(value: Any, before: Any, after: Any) -> str:
    counts = [_kind("pad", each, int) for each in (before, after)]
    if not all(0 <= each <= _MAX_WIDTH for each in counts):
        raise UsageError(f"--format: pad takes 0 to {_MAX_WIDTH} spaces")
    text = str(_kind("pad", value, str))
    return f"{' ' * counts[0]}{text}{' ' * counts[1]}" if text else text


def _kind(name: str, value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        words = {str: "a string", int: "a number", list: "an array", dict: "an object"}
        wanted = " or ".join(words[kind] for kind in kinds if kind in words)
        raise UsageError(f"--format: {name} takes {wanted}, not {_json(value)[:40]}")
    return value


_MANY = 100
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "and": (1, _MANY, _and),
    "or": (1, _MANY, _or),
    "not": (1, 1, lambda value: not value),
    "eq": (2, _MANY, _eq),
    "ne": (2, 2, lambda left, right: not _eq(left, right)),
    "lt": (2, 2, _ordered("lt", lambda left, right: bool(left < right))),
    "le": (2, 2, _ordered("le", lambda left, right: bool(left <= right))),
    "gt": (2, 2, _ordered("gt", lambda left, right: bool(left > right))),
    "ge": (2, 2, _ordered("ge", lambda left, right: bool(left >= right))),
    "index": (1, _MANY, _index),
    "slice": (1, 3, _slice),
    "len": (1, 1, _len),
    "print": (0, _MANY, _print),
    "printf": (1, _MANY, _printf),
    "println": (0, _MANY, _println),
    "json": (1, 1, _json),
    "join": (1, 2, _join),
    "split": (2, 2, _split),
    "lower": (1, 1, _on_text("lower", str.lower)),
    "upper": (1, 1, _on_text("upper", str.upper)),
    "title": (1, 1, _on_text("title", str.title)),
    "pad": (3, 3, _pad),
    "truncate": (2, 2, lambda value, size: _slice(value, 0, min(size, len(value)))),
}
"""Each with the least and the most arguments."""
