"""A template as a tree: texts, what is to be printed, and what is done with parts."""

from __future__ import annotations

from dataclasses import dataclass, field

from toolkit.commands.gotemplate.words import Word, pieces
from toolkit.errors import UsageError

_MAX_DEPTH = 50
"""Actions and parentheses in one another."""
_REFUSED = ("define", "template", "block", "break", "continue")


@dataclass
class Text:
    """What is printed as it stands."""

    text: str


@dataclass
class Value:
    """A constant; `.` and `$x` are a Start."""

    value: str | int | float | bool | None


@dataclass
class Start:
    """The current value, or a variable's."""

    variable: str | None


@dataclass
class Function:
    """A function by its name, without arguments yet."""

    name: str


@dataclass
class Fields:
    """Members in one another, of what `start` gives."""

    start: Operand
    names: list[str]


@dataclass
class Pipeline:
    """Commands, each of which gets the value of the one before as its last argument."""

    commands: list[list[Operand]]
    variables: list[str] = field(default_factory=list)
    is_new: bool = True


Operand = Value | Start | Function | Fields | Pipeline


@dataclass
class Branch:
    """`if`, `with` or `range`: what is done, and else."""

    kind: str
    pipeline: Pipeline
    body: list[Node] = field(default_factory=list)
    other: list[Node] = field(default_factory=list)


Node = Text | Pipeline | Branch


def parse(template: str) -> list[Node]:
    """Raises UsageError when it is malformed, or has what is not supported."""
    top: list[Node] = []
    open_branches: list[tuple[Branch, bool]] = []
    """Each with whether it ends together with the one that it is the else of."""
    target = top
    for piece in pieces(template):
        if piece.words is None:
            if piece.text:
                target.append(Text(piece.text))
            continue
        if not piece.words:
            raise UsageError("--format: an action is empty")
        keyword = piece.words[0].value if piece.words[0].kind == "name" else ""
        if keyword in _REFUSED:
            raise UsageError(f"--format: {keyword} is not supported; supported are {SUPPORTED}")
        if keyword in ("if", "with", "range"):
            target = _open(open_branches, target, piece.words, chained=False)
        elif keyword == "else":
            if not open_branches or open_branches[-1][0].other:
                raise UsageError("--format: an else has no if, with or range")
            target = open_branches[-1][0].other
            if len(piece.words) > 1:
                target = _open(open_branches, target, piece.words[1:], chained=True)
            else:
                target.append(Text(""))  # so that a second else is seen
        elif keyword == "end":
            if not open_branches:
                raise UsageError("--format: an end has no if, with or range")
            while open_branches and open_branches.pop()[1]:
                pass
            target = _target(top, open_branches)
        else:
            target.append(_Parser(piece.words).pipeline())
        if len(open_branches) > _MAX_DEPTH:
            raise UsageError("--format: too many actions stand in one another")
    if open_branches:
        raise UsageError(f"--format: {open_branches[-1][0].kind} has no end")
    return top


def _open(
    branches: list[tuple[Branch, bool]], target: list[Node], words: list[Word], *, chained: bool
) -> list[Node]:
    kind = str(words[0].value)
    if kind not in ("if", "with", "range"):
        raise UsageError(f"--format: {kind} cannot follow else")
    branch = Branch(kind, _Parser(words[1:]).pipeline(variables=2 if kind == "range" else 1))
    target.append(branch)
    branches.append((branch, chained))
    return branch.body


def _target(top: list[Node], branches: list[tuple[Branch, bool]]) -> list[Node]:
    if not branches:
        return top
    branch = branches[-1][0]
    return branch.other or branch.body


class _Parser:
    """Reads the words of one action."""

    def __init__(self, words: list[Word]) -> None:
        self._words, self._at, self._depth = words, 0, 0

    def pipeline(self, variables: int = 1) -> Pipeline:
        """All words."""
        found = self._pipeline(variables)
        if self._at < len(self._words):
            raise UsageError(f"--format: {self._words[self._at].value} is not expected there")
        return found

    def _pipeline(self, variables: int) -> Pipeline:
        names, is_new = self._assigned(variables)
        commands: list[list[Operand]] = [[]]
        while (word := self._peek()) is not None and word.value != ")":
            if (word.kind, word.value) == ("mark", "|"):
                self._at += 1
                commands.append([])
            else:
                commands[-1].append(self._operand())
        if not all(commands):
            raise UsageError("--format: a value is missing")
        return Pipeline(commands, names, is_new)

    def _assigned(self, most: int) -> tuple[list[str], bool]:
        """`$x :=`, `$i, $x :=` or `$x =` at the start."""
        names = []
        for at in range(self._at, min(self._at + 2 * most, len(self._words)), 2):
            if self._words[at].kind != "variable" or at + 1 >= len(self._words):
                break
            names.append(str(self._words[at].value))
            after = self._words[at + 1]
            if after.kind == "assign":
                self._at = at + 2
                return names, after.value == ":="
            if after.value != ",":
                break
        return [], True

    def _peek(self) -> Word | None:
        return self._words[self._at] if self._at < len(self._words) else None

    def _operand(self) -> Operand:
        word = self._words[self._at]
        self._at += 1
        found: Operand
        if word.kind in ("string", "number"):
            found = Value(word.value)
        elif word.value == "(" and word.kind == "mark":
            found = self._inner()
        elif word.kind == "name":
            constants = {"true": True, "false": False, "nil": None}
            name = str(word.value)
            found = Value(constants[name]) if name in constants else Function(name)
        elif word.kind == "variable":
            found = Start(str(word.value))
        elif word.kind == "dot":
            found = Start(None)
        elif word.kind == "field":
            found = Fields(Start(None), [str(word.value)])
        else:
            raise UsageError(f"--format: {word.value} is not expected there")
        return self._fields(found)

    def _inner(self) -> Pipeline:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UsageError("--format: too many parentheses")
        found = self._pipeline(0)
        if self._peek() is None:
            raise UsageError("--format: a parenthesis is not closed")
        self._at += 1
        self._depth -= 1
        return found

    def _fields(self, start: Operand) -> Operand:
        """What follows without a space: .A.B"""
        names = []
        while (word := self._peek()) is not None and word.kind == "field" and not word.apart:
            names.append(str(word.value))
            self._at += 1
        if not names:
            return start
        if isinstance(start, Fields):
            return Fields(start.start, start.names + names)
        return Fields(start, names)


SUPPORTED = "if, else, end, range, with and variables"
