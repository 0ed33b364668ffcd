"""`dockerc diff`: in what two executables differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.commands.quantity import size_text
from toolkit.errors import DockercError
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.services.compare import Change


class TroubleError(DockercError):
    """They could not be compared."""

    exit_status = 2


def diff(
    left: Annotated[Path, typer.Argument(metavar="A", help="An executable made by dockerc.")],
    right: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (docs/inspect.md).")
    ] = False,
) -> None:
    """Compare two executables: footer, runtime, configuration and files.

    A summary comes first, then a line for each difference. The exit status is that of diff(1): 0
    for the same, 1 for different, 2 for trouble.

    dockerc diff py new_py
    """
    facts, changes = _compare(left, right)
    equal = not changes and not any(facts.values())
    if as_json:
        print(json.dumps({"equal": equal, **facts, "files": changes}, indent=2))
    elif not equal:
        print(_summary(facts, changes))
        _print(facts, changes)
    if not equal:
        raise typer.Exit(1)


def _compare(
    left: Path, right: Path
) -> tuple[dict[str, dict[str, list[Any]]], list[dict[str, Any]]]:
    """What differs, of the facts and of the files; raises TroubleError."""
    from toolkit.executable.executable import open_executable
    from toolkit.services.compare import compare_facts, compare_trees
    from toolkit.squashfs.read.lookup import reading

    try:
        with (
            open_executable(left) as a,
            open_executable(right) as b,
            reading(f"{left} and {right}"),
        ):
            return compare_facts(a, b), [_change(change) for change in compare_trees(a, b)]
    except DockercError as error:
        raise TroubleError(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise TroubleError(f"{where}{error.strerror or error}") from None


def _summary(facts: dict[str, dict[str, list[Any]]], changes: list[dict[str, Any]]) -> str:
    """One line: how many files, how many bytes, and what else differs."""
    counts = Counter(change["change"] for change in changes)
    told = []
    if files := [f"{counts[kind]} {kind}" for kind in ("added", "removed", "changed")
                 if counts[kind]]:  # fmt: skip
        before, after = (sum(change["size"][side] or 0 for change in changes) for side in (0, 1))
        grown = after - before
        size = f" ({'+' if grown > 0 else '-'}{size_text(abs(grown))})" if grown else ""
        told.append(f"files: {', '.join(files)}{size}")
    if settings := len(facts["config"]):
        told.append(f"configuration: {settings} {'field' if settings == 1 else 'fields'}")
    if facts["stub"]:
        told.append("another runtime")
    if set(facts["footer"]) - {"offset"}:
        told.append("another footer")
    return "; ".join(told) or "the payload begins at another offset"


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
