"""An OCI bundle that runc and crun start as whoever took it out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from toolkit.bundle.config import config_bytes
from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.files.atomic_directory import atomic_directory
from toolkit.files.user import group_id, user_id, user_name
from toolkit.services.export.directory import write_tree

_PRIVATE = 0o700


def write_rootfs(executable: Executable, path: Path, *, privileged: bool = False) -> Counter[str]:
    """The payload's rootfs as the directory `path`; returns what could not be kept, by kind.

    The directory is whoever's takes it out, and nobody else can enter it. `privileged` is
    `write_tree`'s.
    """
    with atomic_directory(path) as directory:
        filesystem = filesystem_of(executable)
        top = rootfs_of(filesystem)
        return write_tree(filesystem, top, directory, privileged=privileged, mode=_PRIVATE)


def write_bundle(executable: Executable, path: Path, *, privileged: bool = False) -> Counter[str]:
    """config.json and rootfs as the directory `path`; returns what could not be kept, by kind.

    Nobody else can enter it, as above. In it, rootfs has the image's owner and mode, which the
    container needs.
    """
    with atomic_directory(path) as directory:
        config = _for_this_user(config_of(executable), executable.footer.require_mapped_uids)
        directory.write("config.json", config_bytes(config))
        filesystem = filesystem_of(executable)
        rootfs = directory.make("rootfs")
        try:
            return write_tree(filesystem, rootfs_of(filesystem), rootfs, privileged=privileged)
        finally:
            rootfs.close()


def _for_this_user(config: dict[str, Any], wants_range: bool) -> dict[str, Any]:
    """The id maps are those of whoever runs it: our payloads have none, those of dockerc 0.3 do.

    Root needs no user namespace. Anyone else is root in one, with the sub-ids that they have when
    the payload wants more than one id.
    """
    linux = config.get("linux")
    linux = dict(linux) if isinstance(linux, dict) else {}
    listed = linux.get("namespaces")
    listed = listed if isinstance(listed, list) else []
    namespaces = [n for n in listed if isinstance(n, dict) and n.get("type") != "user"]
    for maps in ("uidMappings", "gidMappings"):
        linux.pop(maps, None)
    if user := user_id():
        namespaces.append({"type": "user"})
        ids = (("uidMappings", user, "/etc/subuid"), ("gidMappings", group_id(), "/etc/subgid"))
        for maps, own, ranges in ids:
            linux[maps] = [{"containerID": 0, "hostID": own, "size": 1}]
            if wants_range and (found := _sub_ids(Path(ranges), user)):
                linux[maps].append({"containerID": 1, "hostID": found[0], "size": found[1]})
    linux["namespaces"] = namespaces
    changed: dict[str, Any] = {"root": {"path": "rootfs"}, "linux": linux}
    if isinstance(process := config.get("process"), dict):
        # umoci asks for a terminal, without which runtimes then refuse to start.
        changed["process"] = {**process, "terminal": False}
    return {**config, **changed}


def _sub_ids(path: Path, user: int) -> tuple[int, int] | None:
    """The user's first range in subuid(5) or subgid(5): start and count."""
    try:
        names = {str(user), user_name(user)}
        for line in path.read_text().splitlines():
            name, start, count = line.split(":")
            if name in names:
                return int(start), int(count)
    except (OSError, ValueError, KeyError):
        pass  # no such file, or none that we understand: one id it is
    return None
