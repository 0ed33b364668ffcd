"""`dockerc ps`: the runs of all executables made by dockerc."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def ps(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the runs of executables made by dockerc: yours, for root everybody's.

    dockerc ps
    """
    import json
    from dataclasses import asdict

    from toolkit.files.printable import printable
    from toolkit.services.instances import find_runs

    runs = find_runs()
    for file in runs.old:
        print(
            f"dockerc: {printable(file)} runs with an older runtime: "
            "replace it first (dockerc replace) to see its runs",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps([asdict(run) for run in runs.found], indent=2))
        return
    from tabulate import tabulate

    rows = [
        (run.name, run.pid, run.app, run.user, run.uptime, run.command, run.file)
        for run in runs.found
    ]
    headers = ("name", "pid", "app", "user", "uptime", "command", "file")
    printed = [tuple(printable(str(cell)) for cell in row) for row in rows]
    print(tabulate(printed, headers=headers, disable_numparse=True))
