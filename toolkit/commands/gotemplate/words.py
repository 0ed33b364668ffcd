"""The words of an action, which is what stands between {{ and }}."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from toolkit.errors import UsageError

_WORD = re.compile(
    r"""(?P<space>\s+)
    | (?P<string>"(?:[^"\\\n]|\\.)*" | `[^`]*`)
    | (?P<number>[+-]?(?:0x[0-9a-fA-F]+|\d+(?:\.\d+)?))
    | (?P<assign>:=|=)
    | (?P<mark>[|(),])
    | (?P<variable>\$[A-Za-z0-9_]*)
    | (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
    | (?P<dot>\.)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)""",
    re.VERBOSE,
)
_ACTION = re.compile(
    r"""\{\{(?P<left>-(?=\s))?\s*
        (?: (?P<comment>/\*.*?\*/) | (?P<inside>(?:"(?:[^"\\\n]|\\.)*"|`[^`]*`|(?!\}\}).)*?) )
        \s*(?P<right>(?<=\s)-)?\}\}""",
    re.VERBOSE | re.DOTALL,
)


class Word(NamedTuple):
    """What kind it is of, its text or value, and whether a space stands before it."""

    kind: str
    value: str | int | float
    apart: bool


class Piece(NamedTuple):
    """A text, or the words of an action."""

    text: str
    words: list[Word] | None


def pieces(template: str) -> list[Piece]:
    """The template in texts and actions; raises UsageError when it is malformed.

    `{{- ` and ` -}}` take the white space beside them away, as in Go.
    """
    found: list[Piece] = []
    at, trim = 0, False
    for action in _ACTION.finditer(template):
        text = template[at : action.start()]
        text = text.lstrip() if trim else text
        found.append(Piece(text.rstrip() if action["left"] else text, None))
        if not action["comment"]:
            found.append(Piece("", _words(action["inside"])))
        at, trim = action.end(), bool(action["right"])
    rest = template[at:].lstrip() if trim else template[at:]
    found.append(Piece(rest, None))
    for piece in found:
        if piece.words is None and "{{" in piece.text:
            raise UsageError(f"--format: an action is not closed: {piece.text[:40]}")
    return found


def _words(action: str) -> list[Word]:
    words: list[Word] = []
    at, apart = 0, True
    while at < len(action):
        match = _WORD.match(action, at)
        if match is None:
            raise UsageError(f"--format: cannot read {action[at : at + 20]!r} in {{{{{action}}}}}")
        at = match.end()
        kind = str(match.lastgroup)
        if kind != "space":
            words.append(Word(kind, _value(kind, match[0]), apart))
        apart = kind == "space"
    return words


def _value(kind: str, text: str) -> str | int | float:
    if kind == "string":
        return _string(text)
    if kind == "number":
        return float(text) if "." in text else int(text, 0)
    return text[1:] if kind in ("field", "variable") else text


def _string(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    try:
        return str(json.loads(text))
    except ValueError:
        raise UsageError(f"--format: cannot read the string {text}") from None
