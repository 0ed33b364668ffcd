"""Random mutants of the toolkit, each run against the fast tests of its room: which are not found?

    python tests/mutate.py [--count N] [--minutes M] [--seed S] [FILE ...]

A mutant is one small change: a constant or a comparison off by one, `and` for `or`, a call whose
value nobody takes left out (fsync, close), a `not` dropped, a condition turned. Prints each
survivor as `FILE:LINE: before -> after`; the exit status is 1 when fewer than 90 % were found.
Works on a copy of the tree, so that one may go on editing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = 0.9
_PATIENCE = 180
"""Seconds for the tests of one mutant: one that never ends is found, too."""

ROOMS = {
    "layers": "test_exact_limits test_limits test_read_back test_packer test_stream"
    " test_merge_fuzz test_tar test_cache",
    "squashfs": "test_exact_limits test_limits test_read_back test_mutants test_writer_fuzz"
    " test_inspect test_merge_fuzz test_baked",
    "images": "test_exact_limits test_limits test_synced_and_closed test_reference test_platforms"
    " test_registries_conf test_docker_archive test_oci test_registry test_registry_login",
    "bundle": "test_bundle test_baked",
    "executable": "test_footer test_limits test_executable test_mutants",
    "files": "test_synced_and_closed test_json_document test_limits test_atomic test_copy"
    " test_neighbours test_bundle test_docker_archive",
}
"""The fast tests of each room, the fastest first."""
_SLOW = "not killed and not stalls and not drip"

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
    elif isinstance(new, ast.If):
        new.test = ast.UnaryOp(ast.Not(), new.test)
        yield new


def _is_text(node: ast.BinOp) -> bool:
    """Whether it joins texts, or is a type such as `int | None`."""
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and not isinstance(part.value, int))
        for part in ast.walk(node)
    ) or isinstance(node.op, ast.BitOr)


class _Replace(ast.NodeTransformer):
    def __init__(self, number: int, choice: int) -> None:
        self._number, self._choice, self._seen = number, choice, -1

    def visit(self, node: ast.AST) -> ast.AST:
        self._seen += 1
        if self._seen == self._number:
            return ast.copy_location(list(changes(node))[self._choice], node)
        return self.generic_visit(node)


def sites(tree: ast.AST) -> list[tuple[int, int, int]]:
    """Each possible change: the node's number as `_Replace` counts, which change, and its line."""
    found = []
    number = -1

    def walk(node: ast.AST) -> None:
        nonlocal number
        number += 1
        line = getattr(node, "lineno", 0)
        found.extend((number, choice, line) for choice, _ in enumerate(changes(node)))
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(tree)
    return found


def mutated(text: str, number: int, choice: int) -> tuple[str, str]:
    """The file with one change, and the change in words."""
    tree = ast.parse(text)
    new = _Replace(number, choice).visit(ast.parse(text))
    before, after = ast.unparse(tree).splitlines(), ast.unparse(ast.fix_missing_locations(new))
    other = after.splitlines()
    pair = next(((a, b) for a, b in zip(before, other, strict=False) if a != b), ("", ""))
    return after, f"{pair[0].strip()}  ->  {pair[1].strip()}"


def is_found(tree: Path, room: str) -> bool:
    """Whether a test of the room fails, or does not end."""
    tests = [
        str(found) for name in ROOMS[room].split() for found in tree.glob(f"tests/*/{name}.py")
    ]
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "-k", _SLOW, *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "DOCKERC_FUZZ": "300"}
    process = subprocess.Popen(
        command, cwd=tree, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.wait(_PATIENCE) != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    words = parser.parse_args()
    choose = random.Random(words.seed)
    files = [file.resolve().relative_to(ROOT) for file in words.files] or sorted(
        file.relative_to(ROOT) for room in ROOMS for file in (ROOT / "toolkit" / room).rglob("*.py")
    )
    texts = {file: (ROOT / file).read_text() for file in files}  # they may be edited meanwhile
    every = [(file, *site) for file, text in texts.items() for site in sites(ast.parse(text))]
    end = time.monotonic() + 60 * words.minutes
    tried = found = 0
    with tempfile.TemporaryDirectory(prefix="dockerc-mutate-") as place:
        tree = Path(place, "tree")
        ignored = shutil.ignore_patterns(".git", ".venv", ".cache", "zig-out", ".zig-cache")
        shutil.copytree(ROOT, tree, ignore=ignored)
        for file, number, choice, line in choose.sample(every, min(words.count, len(every))):
            if time.monotonic() > end:
                break
            text = texts[file]
            new, what = mutated(text, number, choice)
            (tree / file).write_text(new)
            tried += 1
            if is_found(tree, file.parts[1]):
                found += 1
            else:
                print(f"{file}:{line}: {what}", flush=True)
            (tree / file).write_text(text)
    print(f"{found} of {tried} mutants were found")
    return 0 if found >= WANTED * tried else 1


if __name__ == "__main__":
    sys.exit(main())
