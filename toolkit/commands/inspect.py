"""`dockerc inspect`: what an executable is made of."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.commands import image_or_app
from toolkit.commands import registry_options as options
from toolkit.errors import PushedExecutableError, UsageError
from toolkit.files.printable import printable, printable_lines

if TYPE_CHECKING:
    from toolkit.images.auth.access import Access
    from toolkit.images.source import Image


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
            "--format",
            "-f",
            metavar="TEMPLATE",
            help="Print a Go template such as '{{.Footer.Offset}}' (docs/inspect.md), "
            "or json: as --json.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write a page for a browser: a map of the space, layers, waste, files, packages.",
        ),
    ] = None,
    platform: image_or_app.PlatformName = None,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """Show the parts of an executable and what takes its space, or an image's configuration.

    Of an executable in a registry it shows what is attached to it, such as an SBOM. The layers of
    an image are read with --html only, or if it comes from an engine.

    dockerc inspect py

    dockerc inspect --format '{{.Image.Digest}}' py

    dockerc inspect --html py.html docker://python:3.12
    """
    if template == "json":
        as_json, template = True, None
    if as_json + config + (template is not None) + (html is not None) > 1:
        raise UsageError("choose one of --json, --config, --format and --html")
    opened = None
    if image_or_app.is_image(name):
        opened = image_or_app.open_named(name, platform, creds, authfile, tls_verify, cert_dir)
    else:
        image_or_app.refuse_image_options(
            platform=platform, creds=creds, authfile=authfile, tls_verify=tls_verify,
            cert_dir=cert_dir,
        )  # fmt: skip
    if html:
        _write_html(name, opened, html)
        return
    if opened:
        access = options.access(creds, tls_verify, cert_dir, authfile)
        found = _read_image(opened, config, name, access)
    else:
        found = _read_executable(Path(name), config)
    if found is not None:
        _show(found, name, as_json, template)


def _show(found: dict[str, Any], name: str, as_json: bool, template: str | None) -> None:
    if template is not None:
        from toolkit.commands.docker_names import with_docker_names
        from toolkit.commands.template import render

        is_pushed = "referrers" in found  # of which docker has no names
        text = render(template, found if is_pushed else with_docker_names(found))
        print(printable_lines(text) if sys.stdout.isatty() else text)
    elif as_json:
        print(json.dumps(found, indent=2))
    else:
        _print_report(found, name)


def _write_html(name: str, opened: AbstractContextManager[Image] | None, output: Path) -> None:
    from toolkit.commands.html.write import write_of_executable, write_of_image

    notes = write_of_image(opened, output) if opened else write_of_executable(Path(name), output)
    for note in notes:
        print(f"dockerc: note: {printable(note)}", file=sys.stderr)


def _read_image(
    opened: AbstractContextManager[Image], config: bool, name: str, access: Access
) -> dict[str, Any] | None:
    """What there is to tell of it, or of an executable that was pushed under this name; None where
    its configuration was printed, as `config` asks for."""
    from toolkit.services.inspect_image import image_inspection

    try:
        with opened as image:
            found = image_inspection(image)
    except PushedExecutableError:
        if config:
            raise
        from toolkit.services.inspect_pushed import pushed_inspection

        return pushed_inspection(options.registry_name(name), access)
    if config:
        print(json.dumps(found["config"], indent=2))
        return None
    return found


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


def _print_report(found: dict[str, Any], name: str) -> None:
    from toolkit.commands.report import Page, executable_report, image_report, pushed_report

    page = Page.of(shutil.get_terminal_size().columns, sys.stdout.encoding)
    if "referrers" in found:
        lines = pushed_report(found, page)
    elif "layers" in found:
        lines = image_report(found, page)
    else:
        lines = executable_report(found, Path(name).stat().st_size, page)
    for line in lines:
        print(line)
