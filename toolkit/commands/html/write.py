"""What goes on the page of `inspect --html`, of an executable or an image."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.commands.html.page import page
from toolkit.commands.quantity import size_text
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.images.source import Image
    from toolkit.services.image_files import ImageFiles
    from toolkit.services.sbom.bill import Bill


def write_of_executable(app: Path, output: Path) -> list[str]:
    """Write the page; returns notes on what could not be read."""
    from toolkit.executable.executable import open_executable
    from toolkit.services.image_files import executable_files
    from toolkit.services.inspect import inspection
    from toolkit.services.inspect_image import executable_history
    from toolkit.services.sbom.bill import bill_of_executable
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        found = inspection(executable)
        files = executable_files(executable)
        bill = bill_of_executable(executable, files, app.name)
        steps = executable_history(found["space"]["layers"])
        data = _data(found, steps, files, bill)
    _write(output, app.name, app.stat().st_size, data)
    return bill.inventory.notes


def write_of_image(opened: AbstractContextManager[Image], output: Path) -> list[str]:
    """The same of an image, whose layers are read and kept in the cache."""
    from toolkit.commands.progress_display import showing
    from toolkit.services.cache import Cache
    from toolkit.services.image_files import image_files
    from toolkit.services.inspect_image import image_history, image_inspection
    from toolkit.services.sbom.bill import bill_of_image

    with (
        opened as image,
        showing(quiet=not sys.stderr.isatty()) as progress,
        image_files(image, Cache(), progress) as files,
    ):
        found, bill = image_inspection(image), bill_of_image(image, files)
        data = _data(found, image_history(image), files, bill)
    _write(output, image.reference, found["image"]["size"], data)
    return bill.inventory.notes


def _data(
    found: dict[str, Any], steps: list[dict[str, Any]], files: ImageFiles, bill: Bill
) -> dict[str, Any]:
    from toolkit.services.anatomy import anatomy

    return {
        "inspection": {"image": found["image"], "signatures": _signatures(found.get("signed"))},
        "history": steps,
        "anatomy": anatomy(files, bill),
    }


def _signatures(signed: dict[str, Any] | None) -> list[dict[str, str]] | None:
    """A table for each, or None where nothing is signed: an image, a file of an older version."""
    if signed is None:
        return None
    return [
        {
            "key": each["key"],
            "of": "payload and runtime" if each["runtime"] else "payload",
            "is the key's": "yes" if each["valid"] else "NO",
        }
        for each in signed["signatures"]
    ]


def _write(output: Path, name: str, size: int | None, data: dict[str, Any]) -> None:
    from toolkit.files.atomic import atomic_file

    image = data["inspection"]["image"]
    platform = [image["os"], image["architecture"], image["variant"]]
    told = [
        image["digest"],
        "/".join(str(part) for part in platform if part),
        None if size is None else size_text(size),
    ]
    summary = " · ".join(printable(str(text)) for text in told if text)
    with atomic_file(output, 0o644) as file:
        file.write(page(printable(name), summary, _clean(data)))


def _clean(value: Any) -> Any:
    """The same without characters that would turn or hide what stands beside them."""
    if isinstance(value, str):
        # The names of files are one text, a name a line.
        return "\n".join(printable(line) for line in value.split("\n"))
    if isinstance(value, dict):
        return {printable(str(key)): _clean(member) for key, member in value.items()}
    if isinstance(value, list) and not (value and isinstance(value[0], int)):
        return [_clean(member) for member in value]
    return value
