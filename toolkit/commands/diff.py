"""`dockerc diff`: in what two executables differ."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.services.compare import Change


def diff(
    left: Annotated[Path, typer.Argument(metavar="A", help="An executable made by dockerc.")],
    right: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (docs/inspect.md).")
    ] = False,
) -> None:
    """Compare two executables: footer, runtime, configuration and files.

    dockerc diff py new_py
    """
    from toolkit.executable.executable import open_executable
    from toolkit.services.compare import compare_facts, compare_trees
    from toolkit.squashfs.read.lookup import reading

    with open_executable(left) as a, open_executable(right) as b, reading(f"{left} and {right}"):
        facts = compare_facts(a, b)
        changes = [_change(change) for change in compare_trees(a, b)]
    equal = not changes and not any(facts.values())
    if as_json:
        print(json.dumps({"equal": equal, **facts, "files": changes}, indent=2))
    else:
        _print(facts, changes)
    if not equal:
        raise typer.Exit(1)


def _change(change: Change) -> dict[str, Any]:
    from toolkit.files.printable import show

    kind = "removed" if change.after is None else "added" if change.before is None else "changed"
    return {
        "path": f"/{show(change.path)}",
        "change": kind,
        "fields": list(change.fields),
        "size": [node.size if node and node.is_file else None
                 for node in (change.before, change.after)],
    }  # fmt: skip


def _print(facts: dict[str, dict[str, list[Any]]], changes: Iterable[dict[str, Any]]) -> None:
    for part, fields in facts.items():
        for name, (before, after) in fields.items():
            print(f"{part} {printable(name)}: {json.dumps(before)} -> {json.dumps(after)}")
    for change in changes:
        sign = {"added": "+", "removed": "-", "changed": "~"}[change["change"]]
        known = [str(size) for size in change["size"] if size is not None]
        sizes = f" {' -> '.join(dict.fromkeys(known))} bytes" if known else ""
        named = f" ({', '.join(change['fields'])})" if change["fields"] else ""
        print(f"{sign} {change['path']}{sizes}{named}")
