"""`dockerc cache`: what is kept between builds and runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Annotated

import typer

from toolkit.commands.quantity import parse_size, size_text
from toolkit.errors import UsageError
from toolkit.files.printable import printable

cache = typer.Typer(help="Show or shrink the cache of builds and runs.", no_args_is_help=True)


@cache.command()
def ls(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List packed layers and the executables of `dockerc run`, the most recently used first.

    The names of their images are shown if they are known.
    """
    from toolkit.services.cache import Cache
    from toolkit.services.image_names import remembered

    kept = Cache()
    files, known = kept.files(), remembered(kept)
    names = [sorted({each.reference for each in known if each.owns(file)}) for file in files]
    if as_json:
        rows = [
            {
                "kind": file.kind,
                "name": file.name,
                "size": file.size,
                "used": int(file.used),
                "images": images,
            }
            for file, images in zip(files, names, strict=True)
        ]
        print(json.dumps(rows, indent=2))
        return

    from tabulate import tabulate

    table = [
        (
            file.kind,
            file.name,
            size_text(file.size),
            time.strftime("%F %T", time.localtime(file.used)),
            printable(", ".join(images)),
        )
        for file, images in zip(files, names, strict=True)
    ]
    headers = ("kind", "name", "size", "last used", "images")
    print(tabulate(table, headers=headers, colalign=("left", "left", "right", "left", "left")))


@cache.command()
def prune(
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", metavar="SIZE", help="Keep up to this much: 500MB, 5GB; MB by default."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", "-a", help="Remove all files (default).")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be removed; remove nothing.")
    ] = False,
) -> None:
    """Remove cached files, the least recently used first; all of them without --keep.

    Running programs are not affected.

    dockerc cache prune --keep 5GB
    """
    from toolkit.services.cache import Cache
    from toolkit.services.image_names import prune as prune_named

    if everything and keep is not None:
        raise UsageError("name one of --all and --keep")
    kept = Cache()
    limit = parse_size(keep or "0")
    if dry_run:
        gone = kept.beyond(limit)
        for file in gone:
            print(f"{file.kind} {file.name} {size_text(file.size)}")
    else:
        gone = prune_named(kept, limit)
    counts = Counter(file.kind for file in gone)
    told = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(counts.items())]
    size = f", {size_text(sum(file.size for file in gone))}" if gone else ""
    print(f"{'would remove' if dry_run else 'removed'} {' and '.join(told) or 'nothing'}{size}")
