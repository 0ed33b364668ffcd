"""Templates as `docker inspect --format` takes them (docs/inspect.md, "Templates")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from toolkit.commands.gotemplate.functions import call, text_of
from toolkit.commands.gotemplate.tree import (
    Branch,
    Function,
    Node,
    Operand,
    Pipeline,
    Start,
    Text,
    Value,
    parse,
)
from toolkit.errors import UsageError


class Facts(dict[str, Any]):
    """An object with names that are found in it, too, but not printed with it."""

    def __init__(self, members: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        super().__init__(members)
        self.more = more


def render(template: str, facts: dict[str, Any]) -> str:
    """The template with its actions carried out.

    Names are the JSON object's, without underscores and in any case: `.Footer.RequireMappedUids`.
    Raises UsageError on what is malformed or not supported, and on names that there are not.
    """
    return "".join(_Rendering(facts).nodes(parse(template), facts))


class _Rendering:
    def __init__(self, facts: dict[str, Any]) -> None:
        self._variables: list[tuple[str, Any]] = [("", facts)]

    def nodes(self, nodes: list[Node], dot: Any) -> Iterator[str]:
        mark = len(self._variables)
        for node in nodes:
            if isinstance(node, Text):
                yield node.text
            elif isinstance(node, Branch):
                yield from self._branch(node, dot)
            else:
                value = self._pipeline(node, dot)
                self._assign(node, value)
                if not node.variables:
                    yield text_of(value)
        del self._variables[mark:]

    def _branch(self, branch: Branch, dot: Any) -> Iterator[str]:
        value = self._pipeline(branch.pipeline, dot)
        mark = len(self._variables)
        if branch.kind == "range":
            yield from self._range(branch, value, dot)
        else:
            self._assign(branch.pipeline, value)
            inner = value if branch.kind == "with" and value else dot
            yield from self.nodes(branch.body if value else branch.other, inner)
        del self._variables[mark:]

    def _range(self, branch: Branch, value: Any, dot: Any) -> Iterator[str]:
        names = branch.pipeline.variables
        mark = len(self._variables)
        for key, each in _pairs(value):
            given = [key, each] if len(names) == 2 else [each]
            self._variables += zip(names, given, strict=False)
            yield from self.nodes(branch.body, each)
            del self._variables[mark:]
        if not value:
            yield from self.nodes(branch.other, dot)

    def _assign(self, pipeline: Pipeline, value: Any) -> None:
        for name in pipeline.variables:
            if pipeline.is_new:
                self._variables.append((name, value))
            else:
                at = self._place(name)
                self._variables[at] = name, value

    def _place(self, name: str) -> int:
        for at in reversed(range(len(self._variables))):
            if self._variables[at][0] == name:
                return at
        raise UsageError(f"--format: there is no variable ${name}")

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        last: list[Any] = []
        for command in pipeline.commands:
            first, *others = command
            arguments = [self._operand(each, dot) for each in others] + last
            if isinstance(first, Function):
                value = call(first.name, arguments)
            elif arguments:
                raise UsageError("--format: a value cannot take arguments")
            else:
                value = self._operand(first, dot)
            last = [value]
        return last[0]

    def _operand(self, operand: Operand, dot: Any) -> Any:
        if isinstance(operand, Value):
            return operand.value
        if isinstance(operand, Start):
            return dot if operand.variable is None else self._variables[
                self._place(operand.variable)
            ][1]  # fmt: skip
        if isinstance(operand, Function):
            return call(operand.name, [])
        if isinstance(operand, Pipeline):
            return self._pipeline(operand, dot)
        value = self._operand(operand.start, dot)
        for name in operand.names:
            value = _member(value, name)
        return value


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    if value is None:
        return []
    raise UsageError(f"--format: range takes an array or an object, not {text_of(value)[:40]}")


def _member(value: Any, name: str) -> Any:
    members = value if isinstance(value, dict) else {}
    more = value.more if isinstance(value, Facts) else {}
    for known in (members, more):
        for member in known:
            if _plain(member) == _plain(name):
                return known[member]
    choices = ", ".join(f".{member}" for member in members) or "nothing"
    raise UsageError(f"--format: there is no .{name}; there is {choices}")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
