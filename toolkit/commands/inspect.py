"""`dockerc inspect`: what an executable is made of."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.errors import UsageError
from toolkit.files.printable import printable, printable_lines


def inspect(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object (docs/inspect.md)."),
    ] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Print config.json as it stands in the payload.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", metavar="TEMPLATE", help="Print by a template: '{{.Footer.Offset}}'."
        ),
    ] = None,
) -> None:
    """Show an executable's footer, runtime, squashfs and image, and where its space goes.

    dockerc inspect py

    dockerc inspect --format '{{.Image.Digest}}' py
    """
    if as_json + config + (template is not None) > 1:
        raise UsageError("choose one of --json, --config and --format")

    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import config_text
    from toolkit.services.inspect import inspection
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        if config:
            _print_as_it_stands(config_text(executable))
            return
        found = inspection(executable)
    _note_what_is_unknown(found)
    if template is not None:
        from toolkit.commands.template import render

        text = render(template, found)
        print(printable_lines(text) if sys.stdout.isatty() else text)
    elif as_json:
        print(json.dumps(found, indent=2))
    else:
        _print_tables(found)


def _note_what_is_unknown(found: dict[str, Any]) -> None:
    from toolkit.executable.elf import LIEF_IS_MISSING, has_lief

    if found["stub"]["linkage"] is None and not has_lief():
        print(
            f"dockerc: note: how its runtime is linked is unknown: {LIEF_IS_MISSING}",
            file=sys.stderr,
        )


def _print_as_it_stands(config: bytes) -> None:
    """To the byte, but for a terminal, which a payload must not steer."""
    if sys.stdout.isatty():
        print(printable_lines(config.decode("utf-8", "backslashreplace")), end="")
    else:
        sys.stdout.buffer.write(config)


def _print_tables(found: dict[str, Any]) -> None:
    from tabulate import tabulate

    space, image = found["space"], found["image"]
    created = time.strftime("%F %T UTC", time.gmtime(found["squashfs"]["created"]))
    facts = {**found, "squashfs": {**found["squashfs"], "created": created}}
    rows = [
        (part if number == 0 else "", name, _shown(value))
        for part in ("footer", "stub", "squashfs", "image")
        for number, (name, value) in enumerate(facts[part].items())
        if value not in (None, [], {})
    ]
    print(tabulate(rows, headers=("part", "field", "value"), disable_numparse=True))
    for title, shares in (("layer", _layers(space)), ("directory", space["directories"][:12]),
                          ("largest files", space["largest"])):  # fmt: skip
        if not shares:
            continue
        table = [
            (share["path"], share["files"], _megabytes(share["size"]), _megabytes(share["stored"]))
            for share in shares
        ]
        headers = (title, "files", "MB", "MB stored")
        align = ("left", "right", "right", "right")
        print("\n" + tabulate(table, headers=headers, colalign=align, disable_numparse=True))
    if image["built_by"] is None:
        print("\nThe payload was not made by this dockerc: entrypoint, cmd and layers are unknown.")


def _layers(space: dict[str, Any]) -> list[dict[str, Any]]:
    """Their annotation is the payload's word, so nothing is expected of it."""
    shares = []
    for layer in space["layers"] or []:
        if isinstance(layer, dict):
            digest, made = str(layer.get("diff_id"))[7:19], str(layer.get("created_by", ""))
            path = printable(f"{digest} {made[:48]}".strip())
            size, stored = layer.get("bytes"), layer.get("size")
            files = printable(str(layer.get("files")))
            shares.append({"path": path, "files": files, "size": size, "stored": stored})
    return shares


def _megabytes(size: object) -> str:
    return f"{size / 1e6:.2f}" if isinstance(size, int) else "?"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= 120 else text[:117] + "..."
