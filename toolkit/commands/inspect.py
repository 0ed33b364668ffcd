"""`dockerc inspect`: what an executable is made of."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.commands import image_or_app
from toolkit.commands import registry_options as options
from toolkit.commands.quantity import size_text
from toolkit.errors import UsageError
from toolkit.files.printable import printable, printable_lines

_SIZES = ("size", "bytes_used", "block_size")
"""Fields that are bytes."""


def inspect(
    name: image_or_app.Name,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object (docs/inspect.md)."),
    ] = False,
    config: Annotated[
        bool,
        typer.Option(
            "--config",
            help="Print config.json as it is in the payload, or the image's configuration.",
        ),
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--format", "-f", metavar="TEMPLATE", help="Print a Go template: '{{.Footer.Offset}}'."
        ),
    ] = None,
    platform: image_or_app.PlatformName = None,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """Show the parts of an executable and what takes its space, or an image's configuration.

    The layers of an image are not read, unless it comes from an engine.

    dockerc inspect py

    dockerc inspect --format '{{.Image.Digest}}' py

    dockerc inspect docker://python:3.12
    """
    if as_json + config + (template is not None) > 1:
        raise UsageError("choose one of --json, --config and --format")
    if image_or_app.is_image(name):
        from toolkit.services.inspect_image import image_inspection

        opened = image_or_app.open_named(name, platform, creds, authfile, tls_verify, cert_dir)
        with opened as image:
            found = image_inspection(image)
        if config:
            print(json.dumps(found["config"], indent=2))
            return
    else:
        image_or_app.refuse_image_options(
            platform=platform, creds=creds, authfile=authfile, tls_verify=tls_verify,
            cert_dir=cert_dir,
        )  # fmt: skip
        read = _read_executable(Path(name), config)
        if read is None:
            return
        found = read
    if template is not None:
        from toolkit.commands.template import render

        text = render(template, found)
        print(printable_lines(text) if sys.stdout.isatty() else text)
    elif as_json:
        print(json.dumps(found, indent=2))
    elif "layers" in found:
        _print_image(found)
    else:
        _print_tables(found)


def _read_executable(app: Path, config: bool) -> dict[str, Any] | None:
    """What there is to tell; None where config.json was printed, as `config` asks for."""
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import config_text
    from toolkit.services.inspect import inspection
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        if config:
            _print_as_it_stands(config_text(executable))
            return None
        found = inspection(executable)
    _note_what_is_unknown(found)
    return found


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
    _print_facts({part: facts[part] for part in ("footer", "stub", "squashfs", "image")})
    for title, shares in (("layer", _layers(space)), ("directory", space["directories"][:12]),
                          ("largest files", space["largest"])):  # fmt: skip
        if not shares:
            continue
        table = [
            (share["path"], share["files"], _size(share["size"]), _size(share["stored"]))
            for share in shares
        ]
        headers = (title, "files", "size", "stored")
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


def _print_image(found: dict[str, Any]) -> None:
    from tabulate import tabulate

    _print_facts({"image": found["image"]})
    rows = [
        (layer["diff_id"][7:19], _size(layer["size"]), printable(layer["created_by"][:80]))
        for layer in found["layers"]
    ]
    headers, align = ("layer", "stored", "made by"), ("left", "right", "left")
    print("\n" + tabulate(rows, headers=headers, colalign=align, disable_numparse=True))


def _print_facts(parts: dict[str, dict[str, Any]]) -> None:
    from tabulate import tabulate

    rows = [
        (part if number == 0 else "", name, _shown(name, value))
        for part, fields in parts.items()
        for number, (name, value) in enumerate(fields.items())
        if value not in (None, [], {})
    ]
    print(tabulate(rows, headers=("part", "field", "value"), disable_numparse=True))


def _size(size: object) -> str:
    return size_text(size) if isinstance(size, int) else "?"


def _shown(name: str, value: object) -> str:
    if name in _SIZES and isinstance(value, int) and value >= 1000:
        return f"{value} ({size_text(value)})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = printable(text)
    return text if len(text) <= 120 else text[:117] + "..."
