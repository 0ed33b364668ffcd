"""`dockerc sbom`: the packages in an image, its software bill of materials."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toolkit.commands import image_or_app
from toolkit.commands import registry_options as options
from toolkit.files.printable import printable

if TYPE_CHECKING:
    from toolkit.services.sbom.bill import Bill


class Format(str, Enum):
    """What --format takes."""

    TABLE, JSON, CYCLONEDX, SPDX = "table", "json", "cyclonedx", "spdx"


def sbom(
    name: image_or_app.Name,
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="cyclonedx is CycloneDX 1.6 and spdx is SPDX 2.3, both in JSON; json has the "
            "fields of docs/sbom.md.",
        ),
    ] = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE instead of printing."),
    ] = None,
    platform: image_or_app.PlatformName = None,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """List the packages in an executable's image, or in an image: its bill of materials (SBOM).

    Found are packages of dpkg, apk, RPM, Python, npm, Java, and those in programs of Go and Rust,
    with package URLs, licenses, and the layer that each is from.

    dockerc sbom py

    dockerc sbom --format cyclonedx -o py.cdx.json py

    dockerc sbom --format spdx docker://python:3.12
    """
    from toolkit.files.atomic import atomic_file

    if image_or_app.is_image(name):
        bill = _of_image(name, platform, creds, authfile, tls_verify, cert_dir)
    else:
        image_or_app.refuse_image_options(
            platform=platform, creds=creds, authfile=authfile, tls_verify=tls_verify,
            cert_dir=cert_dir,
        )  # fmt: skip
        bill = _of_executable(Path(name))
    text = _text(bill, form)
    if output:
        with atomic_file(output, 0o644) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
    else:
        sys.stdout.write(text)
    for note in bill.inventory.notes:
        print(f"dockerc: note: {printable(note)}", file=sys.stderr)


def _of_executable(app: Path) -> Bill:
    from toolkit.executable.executable import open_executable
    from toolkit.services.image_files import executable_files
    from toolkit.services.sbom.bill import bill_of_executable
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        return bill_of_executable(executable, executable_files(executable), app.name)


def _of_image(
    name: str,
    platform: str | None,
    creds: options.Creds,
    authfile: options.Authfile,
    tls_verify: options.TlsVerify,
    cert_dir: options.CertDir,
) -> Bill:
    from toolkit.commands.progress_display import showing
    from toolkit.services.cache import Cache
    from toolkit.services.image_files import image_files
    from toolkit.services.sbom.bill import bill_of_image

    opened = image_or_app.open_named(name, platform, creds, authfile, tls_verify, cert_dir)
    with (
        opened as image,
        showing(quiet=not sys.stderr.isatty()) as progress,
        image_files(image, Cache(), progress) as files,
    ):
        return bill_of_image(image, files)


def _text(bill: Bill, form: Format) -> str:
    if form is Format.CYCLONEDX:
        from toolkit.services.sbom.cyclonedx import cyclonedx_text

        return f"{cyclonedx_text(bill)}\n"
    if form is Format.SPDX:
        from toolkit.services.sbom.spdx import spdx_text

        return f"{spdx_text(bill)}\n"
    if form is Format.JSON:
        return f"{json.dumps(bill.as_json(), indent=2)}\n"
    return _table(bill)


def _table(bill: Bill) -> str:
    """As wide as the terminal; whole where nobody sees it."""
    from tabulate import tabulate

    packages = bill.inventory.packages
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    rows = []
    for package in packages:
        layer = (bill.layer_of(package) or "").rpartition(":")[2][:12]
        row = [package.kind, package.name, package.version, layer, ", ".join(package.licenses)]
        rows.append([printable(cell) for cell in row])
    headers = ("type", "name", "version", "layer", "licenses")
    lines = tabulate(rows, headers=headers, disable_numparse=True).splitlines() if rows else []
    counts = Counter(package.kind for package in packages)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    word = "package" if len(packages) == 1 else "packages"
    lines.append(f"{len(packages)} {word}{f': {told}' if told else ''}")
    return "".join(f"{line[: width or None].rstrip()}\n" for line in lines)
