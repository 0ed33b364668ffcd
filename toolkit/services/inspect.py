"""Everything that `inspect` knows of an executable, as one object (docs/inspect.md)."""

from __future__ import annotations

import json
from typing import Any

from toolkit.bundle.annotations import LAYERS, PROFILE, STORED
from toolkit.executable.elf import ElfProbe
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of
from toolkit.executable.stub import is_installed_stub
from toolkit.files.printable import show
from toolkit.limits import MAX_STUB
from toolkit.services.start_lists import start_facts
from toolkit.services.verify_signatures import signed_facts
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.space_usage import Share, space_of
from toolkit.squashfs.structs import COMPRESSION_NAMES
from toolkit.version import __version__

_OWN = "dev.dockerc."
_STANDARD = "org.opencontainers.image."


def inspection(executable: Executable) -> dict[str, Any]:
    """The object; raises DockercError, or the library's errors, on a damaged payload."""
    # A part of one that is larger than any would be no ELF file, and is not looked at.
    stub = executable.stub(MAX_STUB) if executable.footer.offset <= MAX_STUB else b""
    current = is_installed_stub(stub)
    # Our own stub is known; only another's needs a look, which takes a third of a second.
    probe = ElfProbe(b"" if current else stub)
    try:
        config = config_of(executable)
        filesystem = filesystem_of(executable)
        space = _space(filesystem, config)
        starts = start_facts(filesystem)
    finally:
        elf = probe.result()
    footer, superblock = executable.footer, executable.superblock
    linkage = "static" if current or (elf and elf.is_static) else "dynamic" if elf else None
    return {
        "footer": {
            "generation": footer.generation,
            "size": footer.size,
            "offset": footer.offset,
            "require_mapped_uids": footer.require_mapped_uids,
            "padding": executable.padding,
        },
        "stub": {
            "architecture": executable.machine or (elf.machine if elf else None),
            "size": footer.offset,
            "linkage": linkage,
            "current": current,
            "version": __version__ if current else None,
        },
        "squashfs": {
            "compression": COMPRESSION_NAMES.get(superblock.compression),
            "block_size": superblock.block_size,
            "inodes": superblock.inodes,
            "fragments": superblock.fragments,
            "bytes_used": superblock.bytes_used,
            "created": superblock.mkfs_time,
            "sha256": executable.digest.hex() if executable.digest else None,
        },
        "signed": signed_facts(executable),
        "image": _image(config),
        "profile": _profile(starts, config),
        "space": space,
        "config": config,
    }


def _profile(starts: list[dict[str, Any]] | None, config: dict[str, Any]) -> dict[str, Any] | None:
    if starts is None:
        return None
    return {"digest": _object(config.get("annotations")).get(PROFILE), "starts": starts}


def _image(config: dict[str, Any]) -> dict[str, Any]:
    annotations = _object(config.get("annotations"))
    process = _object(config.get("process"))
    user = _object(process.get("user"))
    return {
        "reference": annotations.get(f"{_OWN}reference"),
        "digest": annotations.get(f"{_OWN}digest"),
        "os": annotations.get(f"{_STANDARD}os"),
        "architecture": annotations.get(f"{_STANDARD}architecture"),
        "variant": annotations.get(f"{_STANDARD}variant"),
        "created": annotations.get(f"{_STANDARD}created"),
        "author": annotations.get(f"{_STANDARD}author"),
        "labels": {
            name: value
            for name, value in annotations.items()
            if not name.startswith(_OWN) and name[len(_STANDARD) :] not in _CONVERTED
        },
        "entrypoint": _array(annotations.get(f"{_OWN}entrypoint")),
        "cmd": _array(annotations.get(f"{_OWN}cmd")),
        "args": process.get("args"),
        "args_rule": annotations.get(f"{_OWN}args"),
        "env": process.get("env"),
        "workdir": process.get("cwd"),
        "user": {
            "uid": user.get("uid"),
            "gid": user.get("gid"),
            "additional_gids": user.get("additionalGids"),
        },
        "volumes": _array(annotations.get(f"{_OWN}volumes")),
        "baked_volumes": _array(annotations.get(f"{_OWN}run.volumes")),
        "baked_options": _array(annotations.get(f"{_OWN}run.options")),
        "rootfull": annotations.get(f"{_OWN}rootfull") == "true",
        "built_by": annotations.get(f"{_OWN}version"),
    }


_CONVERTED = ("os", "architecture", "variant", "author", "created", "stopSignal", "exposedPorts")
"""What conversion.md makes annotations of, besides labels."""


_SMALLEST_PART = 100
"""A directory with less than one of so many parts of all is not in the tree."""


def _space(filesystem: Filesystem, config: dict[str, Any]) -> dict[str, Any]:
    space = space_of(filesystem)
    least = space.total.stored // _SMALLEST_PART
    annotations = _object(config.get("annotations"))
    return {
        **_share(space.total),
        "layers": _layers(annotations),
        "directories": [_share(share, named=True) for share in space.directories],
        "tree": [_share(share, named=True) for share in space.tree if share.stored > least],
        "largest": [_share(share, named=True) for share in space.largest],
    }


def _layers(annotations: dict[str, Any]) -> list[Any] | None:
    layers, stored = _array(annotations.get(LAYERS)), _array(annotations.get(STORED)) or []
    return layers and [
        {**each, "stored": stored[number] if number < len(stored) else None}
        if isinstance(each, dict)
        else each
        for number, each in enumerate(layers)
    ]


def _share(share: Share, *, named: bool = False) -> dict[str, Any]:
    path = {"path": show(_in_image(share.path))} if named else {}
    return {**path, "files": share.files, "size": share.size, "stored": share.stored}


def _in_image(path: bytes) -> bytes:
    """A path of the payload as one of the image; what is beside the image has no slash."""
    if path == b"/":
        return path
    top, slash, rest = path[1:].partition(b"/")
    return b"/" + rest if top == b"rootfs" and slash else path[1:]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(text: Any) -> list[Any] | None:
    """An annotation that holds a JSON array; None when it is not there, or something else."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None
