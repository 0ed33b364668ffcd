"""`dockerc inspect`: what an executable is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

_MAX_CONFIG = 16 << 20


def inspect(
    app: Annotated[Path, typer.Argument(metavar="APP", help="An executable made by dockerc.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show an executable's footer, architecture, squashfs and config.json.

    dockerc inspect py
    """
    from toolkit.executable import Executable, open_executable
    from toolkit.squashfs.reader import SquashfsReader, reading
    from toolkit.squashfs.structs import COMPRESSION_NAMES

    def facts(executable: Executable) -> dict[str, Any]:
        footer, superblock = executable.footer, executable.superblock
        with reading(str(app)):
            reader = SquashfsReader(executable.file, footer.offset, superblock)
            config = json.loads(reader.read("config.json", _MAX_CONFIG))
        return {
            "footer": {
                "generation": footer.generation,
                "offset": footer.offset,
                "require_mapped_uids": footer.require_mapped_uids,
            },
            "stub": {"architecture": executable.machine, "size": footer.offset},
            "squashfs": {
                "compression": COMPRESSION_NAMES.get(superblock.compression),
                "block_size": superblock.block_size,
                "inodes": superblock.inodes,
                "bytes_used": superblock.bytes_used,
                "created": superblock.mkfs_time,
            },
            "config": config,
        }

    with open_executable(app) as executable:
        found = facts(executable)
    if as_json:
        print(json.dumps(found, indent=2))
        return

    from tabulate import tabulate

    rows = [
        (part, name, value)
        for part in ("footer", "stub", "squashfs")
        for name, value in found[part].items()
    ]
    print(tabulate(rows, headers=("part", "field", "value"), disable_numparse=True))
    print(f"\nconfig.json:\n{json.dumps(found['config'], indent=2, ensure_ascii=False)}")
