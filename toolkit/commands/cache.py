"""`dockerc cache`: the packed layers that are kept between builds."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

cache = typer.Typer(help="Show or shrink the cache of packed layers.", no_args_is_help=True)


@cache.command()
def ls(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the packs, the most recently used first."""
    from toolkit.cache import PackCache

    packs = PackCache().packs()
    if as_json:
        rows = [{"name": pack.name, "size": pack.size, "used": int(pack.used)} for pack in packs]
        print(json.dumps(rows, indent=2))
        return

    from tabulate import tabulate

    table = [
        (pack.name, f"{pack.size / 1e6:.1f} MB", time.strftime("%F %T", time.localtime(pack.used)))
        for pack in packs
    ]
    print(
        tabulate(table, headers=("pack", "size", "last used"), colalign=("left", "right", "left"))
    )


@cache.command()
def prune(
    keep: Annotated[
        int, typer.Option("--keep", min=0, metavar="MB", help="How many megabytes may stay.")
    ] = 0,
) -> None:
    """Remove packs, the least recently used first; all of them unless told to keep some."""
    from toolkit.cache import PackCache

    gone = PackCache().prune(keep * 1_000_000)
    print(f"removed {len(gone)} packs, {sum(pack.size for pack in gone) / 1e6:.1f} MB")
