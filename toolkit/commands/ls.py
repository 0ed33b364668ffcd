"""`dockerc ls`: what is in a payload, without mounting it."""

from __future__ import annotations

import json
import stat
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.commands import image_or_app
from toolkit.commands import registry_options as options
from toolkit.errors import AbsentError

if TYPE_CHECKING:
    from toolkit.images.source import Image
    from toolkit.squashfs.read.inodes import Node


SETTINGS = {"context_settings": {"help_option_names": ["--help"]}}
"""As with ls(1), -h is for sizes."""


def ls(
    name: image_or_app.Name,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A path in the image; by default its root.")
    ] = "/",
    long: Annotated[
        bool, typer.Option("--long", "-l", help="Show mode, links, owner, size and time.")
    ] = False,
    human: Annotated[
        bool,
        typer.Option("-h", "--human-readable", help="With -l: show sizes such as 4.1K and 79M."),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "-a",
            "--all",
            help="Accepted and ignored: names that begin with a dot are always listed.",
        ),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="List subdirectories recursively.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array (docs/inspect.md).")
    ] = False,
    platform: image_or_app.PlatformName = None,
    creds: options.Creds = None,
    authfile: options.Authfile = None,
    tls_verify: options.TlsVerify = None,
    cert_dir: options.CertDir = None,
) -> None:
    """List the files of an executable's image, or of an image.

    The layers of an image are read, and kept in the cache for a later build.

    dockerc ls -l py /usr/bin

    dockerc ls docker://python:3.12 /usr/local
    """
    from toolkit.files.printable import show

    if image_or_app.is_image(name):
        image = image_or_app.open_named(name, platform, creds, authfile, tls_verify, cert_dir)
        listing = _of_image(image, path, recursive)
    else:
        image_or_app.refuse_image_options(
            platform=platform, creds=creds, authfile=authfile, tls_verify=tls_verify,
            cert_dir=cert_dir,
        )  # fmt: skip
        listing = _of_executable(Path(name), path, recursive)
    if as_json:
        _print_array(_object(each or path.encode(), node) for each, node in listing)
        return
    for each, node in listing:
        text = show(each) if each else path
        print(_line(text, node, human) if long else text)


def _of_executable(app: Path, path: str, recursive: bool) -> Iterator[tuple[bytes, Node]]:
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import find_in_image
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        filesystem, top = find_in_image(executable, path)
        if top is None:
            raise AbsentError(f"its image has no {path}")
        for name, node in filesystem.list(top, recursive=recursive):
            if name or not top.is_directory:
                yield name, node


def _of_image(
    opened: AbstractContextManager[Image], path: str, recursive: bool
) -> Iterator[tuple[bytes, Node]]:
    from toolkit.commands.progress_display import showing
    from toolkit.services.cache import Cache
    from toolkit.services.list_image import image_tree

    with opened as image, showing(quiet=not sys.stderr.isatty()) as progress:
        tree = image_tree(image, Cache(), progress)
    top = tree.find(path.encode("utf-8", "surrogateescape"))
    if top is None:
        raise AbsentError(f"{image.reference} has no {path}")
    for name, node in tree.list(top, recursive=recursive):
        if name or top.children is None:
            yield name, node


def _print_array(objects: Iterable[dict[str, Any]]) -> None:
    """As json.dumps would, but one by one: there may be millions."""
    empty = True
    for each in objects:
        lines = textwrap.indent(json.dumps(each, indent=2), "  ")
        print(f"{'[' if empty else ','}\n{lines}", end="")
        empty = False
    print("[]" if empty else "\n]")


def _object(name: bytes, node: Node) -> dict[str, Any]:
    return {
        "path": name.decode("utf-8", "backslashreplace"),
        "type": node.kind.name.lower(),
        "mode": f"{node.mode:04o}",
        "uid": node.uid,
        "gid": node.gid,
        "size": node.size if node.is_file else None,
        "mtime": node.mtime,
        "links": node.nlink,
        "target": node.target.decode("utf-8", "backslashreplace") if node.target else None,
        "device": list(node.device) if "DEVICE" in node.kind.name else None,
    }


def _line(name: str, node: Node, human: bool) -> str:
    """As `ls -l` has it, times in UTC."""
    from toolkit.commands.quantity import short_size
    from toolkit.files.printable import show

    kind = {"DIRECTORY": stat.S_IFDIR, "FILE": stat.S_IFREG, "SYMLINK": stat.S_IFLNK,
            "BLOCK_DEVICE": stat.S_IFBLK, "CHAR_DEVICE": stat.S_IFCHR, "FIFO": stat.S_IFIFO,
            "SOCKET": stat.S_IFSOCK}[node.kind.name]  # fmt: skip
    size = short_size(node.size) if human else str(node.size)
    if "DEVICE" in node.kind.name:
        size = "{}, {}".format(*node.device)
    when = time.strftime("%F %R", time.gmtime(node.mtime))
    target = f" -> {show(node.target)}" if node.target else ""
    return (
        f"{stat.filemode(kind | node.mode)} {node.nlink:3} {node.uid:5} {node.gid:5}"
        f" {size:>10} {when} {name}{target}"
    )
