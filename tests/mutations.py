"""Small changes of a program's text: where each could be made, and the text with one of them."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

PERFORMANCE = frozenset({
    # how much is read, passed on or copied at once
    "_COMPRESSED_CHUNK", "_CHUNK", "_CHUNKS_AHEAD", "_PIECE", "BUFFER_SIZE", "_MAX_CALL", "_TICK",
    # how much is kept in memory, lest it be read or decompressed again
    "_KEPT", "_KEPT_METADATA", "_KEPT_DATA",
    # how well what nobody but us reads is compressed, and from which size on a disk is asked first
    "_INDEX_LEVEL", "METADATA_LEVEL", "_WORTH_RESERVING",
})  # fmt: skip
"""Names of constants that decide how fast something is, and nothing else."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What could stand in the place of a node."""
    new = copy.deepcopy(node)
    if isinstance(new, ast.Compare) and type(new.ops[0]) in _COMPARISONS:
        new.ops[0] = _COMPARISONS[type(new.ops[0])]()
        yield new
    elif isinstance(new, ast.BoolOp):
        new.op = ast.And() if isinstance(new.op, ast.Or) else ast.Or()
        yield new
    elif isinstance(new, ast.Constant) and type(new.value) is int:
        for step in (1, -1):
            yield ast.Constant(new.value + step)
    elif isinstance(new, ast.BinOp) and type(new.op) in _ARITHMETIC and not _is_text(new):
        new.op = _ARITHMETIC[type(new.op)]()
        yield new
    elif isinstance(new, ast.UnaryOp) and isinstance(new.op, ast.Not):
        yield new.operand
    elif isinstance(new, ast.Expr) and isinstance(new.value, ast.Call):
        yield ast.Pass()
    elif isinstance(new, ast.If) and _is_drawn(new, "test"):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new


def _is_text(node: ast.BinOp) -> bool:
    """Whether it joins texts, or is a type such as `int | None`."""
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and not isinstance(part.value, int))
        for part in ast.walk(node)
    ) or isinstance(node.op, ast.BitOr)


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield node.id if isinstance(node, ast.Name) else node.attr


def _is_error(node: ast.AST) -> bool:
    """Whether it makes an error, of which nothing is said here but its sentence."""
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return name.endswith("Error") or name in ("Interrupted", "Stalled", "MissingPlatform")


def _is_drawn(node: ast.AST, name: str) -> bool:
    """Whether what is changed in this field of the node is a mutant worth a test."""
    if name in ("annotation", "returns") or isinstance(node, ast.Raise) or _is_error(node):
        return False
    if isinstance(node, ast.If) and name == "test":
        return not {"TYPE_CHECKING", "version_info"} & set(_names(node.test))
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return not any(isinstance(each, ast.Name) and each.id in PERFORMANCE for each in targets)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Those that may be changed, in an order that is the same for the same text."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if _is_drawn(tree, name):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child)


def sites(text: str) -> list[tuple[int, int, int]]:
    """Each possible change: the number of the node, which change of it, and its line."""
    return [
        (number, choice, getattr(node, "lineno", 0))
        for number, node in enumerate(_nodes(ast.parse(text)))
        for choice, _ in enumerate(changes(node))
    ]


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self._new, node) if node is self._old else self.generic_visit(node)


def mutated(text: str, number: int, choice: int) -> tuple[ast.AST, str]:
    """The program with one change, and the change in words."""
    tree = ast.parse(text)
    old = list(_nodes(tree))[number]
    new = list(changes(old))[choice]
    line = text.splitlines()[old.lineno - 1].strip()  # type: ignore[attr-defined]
    words = (ast.unparse(node).partition("\n")[0] for node in (old, new))
    after = ast.fix_missing_locations(_Replace(old, new).visit(tree))
    return after, f"{line}  [{'  ->  '.join(words)}]"


def statement_at(text: str, line: int) -> range:
    """The lines of the innermost statement there, less those of the statements in it."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            if line in (lines := range(node.lineno, end)):
                found = lines
    return found


def names_of_constants(text: str, line: int) -> list[str]:
    """What is given its value there when the module is imported; empty in a function."""
    found: list[str] = []

    def look(body: list[ast.stmt]) -> None:
        for node in body:
            if not node.lineno <= line <= (node.end_lineno or node.lineno):
                continue
            if isinstance(node, ast.ClassDef):
                found.append(node.name)
                look(node.body)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if line < node.body[0].lineno:
                    found.append(node.name)
            else:
                names = (part for part in ast.walk(node) if isinstance(part, ast.Name))
                found.extend(name.id for name in names if isinstance(name.ctx, ast.Store))

    look(ast.parse(text).body)
    return found
