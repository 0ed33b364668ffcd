"""`dockerc cache`: what is kept between builds and runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Annotated

import typer

cache = typer.Typer(help="Show or shrink what builds and runs keep.", no_args_is_help=True)


@cache.command()
def ls(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List packed layers and the executables of `dockerc run`, the most recently used first."""
    from toolkit.services.cache import Cache

    files = Cache().files()
    if as_json:
        rows = [
            {"kind": file.kind, "name": file.name, "size": file.size, "used": int(file.used)}
            for file in files
        ]
        print(json.dumps(rows, indent=2))
        return

    from tabulate import tabulate

    table = [
        (
            file.kind,
            file.name,
            f"{file.size / 1e6:.1f} MB",
            time.strftime("%F %T", time.localtime(file.used)),
        )
        for file in files
    ]
    headers = ("kind", "name", "size", "last used")
    print(tabulate(table, headers=headers, colalign=("left", "left", "right", "left")))


@cache.command()
def prune(
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="MB", help="How many megabytes may stay.")
    ] = 0,
) -> None:
    """Remove files, the least recently used first; all of them unless told to keep some.

    Programs that run go on.
    """
    from toolkit.services.cache import Cache

    gone = Cache().prune(keep * 1_000_000)
    counts = Counter(file.kind for file in gone)
    told = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(counts.items())]
    size = f", {sum(file.size for file in gone) / 1e6:.1f} MB" if gone else ""
    print(f"removed {' and '.join(told) or 'nothing'}{size}")
