"""`dockerc ls`: what is in a payload, without mounting it."""

from __future__ import annotations

import json
import stat
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toolkit.errors import DockercError

if TYPE_CHECKING:
    from toolkit.squashfs.read.inodes import Node


def ls(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A path of the image; its root when not given.")
    ] = "/",
    long: Annotated[
        bool, typer.Option("--long", "-l", help="Tell mode, links, owner, size and time.")
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="List directories within directories.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array (docs/inspect.md).")
    ] = False,
) -> None:
    """List the files of an executable's image.

    dockerc ls -l py /usr/bin
    """
    from toolkit.executable.executable import open_executable
    from toolkit.executable.payload import find_in_image
    from toolkit.files.printable import show
    from toolkit.squashfs.read.lookup import reading

    with open_executable(app) as executable, reading(str(app)):
        filesystem, node = find_in_image(executable, path)
        if node is None:
            raise DockercError(f"its image has no {path}")
        rows = (
            (name, child)
            for name, child in filesystem.list(node, recursive=recursive)
            if name or not node.is_directory
        )
        if as_json:
            _print_array(_object(name or path.encode(), child) for name, child in rows)
            return
        for name, child in rows:
            text = show(name) if name else path
            print(_line(text, child) if long else text)


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


def _line(name: str, node: Node) -> str:
    """As `ls -l` has it, times in UTC."""
    from toolkit.files.printable import show

    kind = {"DIRECTORY": stat.S_IFDIR, "FILE": stat.S_IFREG, "SYMLINK": stat.S_IFLNK,
            "BLOCK_DEVICE": stat.S_IFBLK, "CHAR_DEVICE": stat.S_IFCHR, "FIFO": stat.S_IFIFO,
            "SOCKET": stat.S_IFSOCK}[node.kind.name]  # fmt: skip
    size = "{}, {}".format(*node.device) if "DEVICE" in node.kind.name else str(node.size)
    when = time.strftime("%F %R", time.gmtime(node.mtime))
    target = f" -> {show(node.target)}" if node.target else ""
    return (
        f"{stat.filemode(kind | node.mode)} {node.nlink:3} {node.uid:5} {node.gid:5}"
        f" {size:>10} {when} {name}{target}"
    )
