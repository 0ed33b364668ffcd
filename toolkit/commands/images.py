"""`dockerc images`: which images the cache is of."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from toolkit.commands.quantity import size_text
from toolkit.files.printable import printable


def images(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array (docs/inspect.md).")
    ] = False,
) -> None:
    """List the images in the cache, by name.

    `dockerc run` starts an image with an executable without asking a registry. The size of a layer
    that images share is counted for each of them.

    dockerc images --json
    """
    from toolkit.services.cache import Cache
    from toolkit.services.image_names import kept_images

    found = kept_images(Cache())
    if as_json:
        rows = [
            {
                "reference": each.named.reference,
                "platform": each.named.platform,
                "digest": each.named.digest,
                "size": each.size,
                "layers": each.layers,
                "runs": each.runs,
                "used": int(each.used),
            }
            for each in found
        ]
        print(json.dumps(rows, indent=2))
        return

    from tabulate import tabulate

    table = [
        (
            printable(each.named.reference),
            printable(each.named.platform),
            each.named.digest.partition(":")[2][:12],
            size_text(each.size),
            f"{each.layers} of {len(each.named.layers)}",
            "yes" if each.runs else "no",
            time.strftime("%F %T", time.localtime(each.used)),
        )
        for each in found
    ]
    headers = ("image", "platform", "digest", "size", "layers", "executable", "last used")
    align = ("left", "left", "left", "right", "right", "left", "left")
    print(tabulate(table, headers=headers, colalign=align, disable_numparse=True))
