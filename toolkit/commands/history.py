"""`dockerc history`: the steps that made an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from toolkit.commands import image_or_app
from toolkit.commands import registry_options as options
from toolkit.commands.quantity import size_text
from toolkit.errors import AbsentError
from toolkit.files.printable import printable


def history(
    name: image_or_app.Name,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array (docs/inspect.md).")
    ] = False,
    platform: image_or_app.PlatformName = None,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """List the steps that made an image, the last one first, and the sizes of their layers.

    Sizes are those of the compressed layers. An executable has only the steps that have a layer.

    dockerc history docker://python:3.12

    dockerc history py
    """
    from tabulate import tabulate

    if image_or_app.is_image(name):
        from toolkit.services.inspect_image import image_history

        opened = image_or_app.open_named(name, platform, creds, authfile, tls_verify, cert_dir)
        with opened as image:
            steps = image_history(image)
    else:
        image_or_app.refuse_image_options(
            platform=platform, creds=creds, authfile=authfile, tls_verify=tls_verify,
            cert_dir=cert_dir,
        )  # fmt: skip
        steps = _of_executable(Path(name))
    if as_json:
        print(json.dumps(steps, indent=2))
        return
    rows = [
        (printable((step["created"] or "")[:19]), _size(step), printable(step["created_by"]))
        for step in steps
    ]
    headers, align = ("created", "size", "created by"), ("left", "right", "left")
    print(tabulate(rows, headers=headers, colalign=align, disable_numparse=True))


def _size(step: dict[str, Any]) -> str:
    return size_text(step["size"]) if step["diff_id"] else "0 B"


def _of_executable(app: Path) -> list[dict[str, Any]]:
    from toolkit.bundle.annotations import LAYERS
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import config_of
    from toolkit.files.json_document import Document, parse_json
    from toolkit.services.inspect_image import executable_history
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        annotations = Document(config_of(executable), "its config.json").text_map("annotations")
        if LAYERS not in annotations:
            raise AbsentError("it keeps no history: it was not made by this dockerc")
        return executable_history(parse_json(annotations[LAYERS].encode(), "its history"))
