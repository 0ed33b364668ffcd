"""What takes the space of an image, file by file, for `inspect --html`."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from toolkit.errors import DockercError, RefusedError
from toolkit.files.printable import printable
from toolkit.layers.entry import EntryKind
from toolkit.layers.pack import Pack
from toolkit.packages.owners import owned_files
from toolkit.services.image_files import ImageFiles
from toolkit.services.sbom.bill import Bill
from toolkit.squashfs.structs import InodeType
from toolkit.squashfs.tree import Inode, look_up

_MAX_LISTED = 1000
"""Wasted files, and groups of equal files, that are named; the others are counted."""
MAX_FILES = 300_000
"""Files, directories and all else that a page is made of: a browser has all in memory."""
_MAX_NAMED = 20
"""Paths of one group of equal files."""


@dataclass(frozen=True)
class Waste:
    """A file of a layer that a later layer removed or replaced."""

    path: bytes
    size: int
    layer: int
    by: int | None
    """The later layer, where it can be told."""


def anatomy(files: ImageFiles, bill: Bill) -> dict[str, Any]:
    """Everything for the page but what `inspect` knows; columns, for they are many (page.js).

    Raises DockercError when there are too many files.
    """
    names: list[str] = []
    depths, sizes, stored, layers, packages = ([] for _ in range(5))
    seen: set[Inode] = set()
    owners = _Owners(files)
    for path, inode in files.inodes():
        if len(names) >= MAX_FILES:
            raise RefusedError(f"it has more than {MAX_FILES} files: too many for a page")
        above, _, name = path.rpartition(b"/")
        names.append(_text(name))
        depths.append(above.count(b"/") + 1 if above else 0)
        is_new = inode.kind is InodeType.FILE and inode not in seen
        seen.add(inode)
        content = inode.content
        # A directory has no size; what is a file's second name takes nothing.
        sizes.append(-1 if inode.children is not None else content.size if is_new else 0)
        has_data = is_new and content.size > 0
        stored.append(files.stored(content) if has_data else 0)
        layer = files.layer_of(content) if has_data else None
        layers.append(-1 if layer is None else layer)
        packages.append(owners.of(path, inode))
    return {
        "names": "\n".join(names),
        "depths": depths,
        "sizes": sizes,
        "stored": stored,
        "layers": layers,
        "owners": packages,
        "ownerNames": owners.names,
        "duplicates": _duplicates(files),
        "waste": _waste(files),
        "packages": _packages(bill),
        "notes": bill.inventory.notes,
        "distribution": bill.inventory.distribution.name,
        "layerNames": [
            [layer.diff_id[7:19], printable(layer.created_by)] for layer in files.layers
        ],
    }


def _text(name: bytes) -> str:
    """The whole name; `show` cuts it."""
    return printable(name.decode("utf-8", "backslashreplace"))


class _Owners:
    """Packages by number, and the number for each file that one of them has."""

    def __init__(self, files: ImageFiles) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._inodes: dict[Inode, int] = {}
        self._below: dict[bytes, int] = {}
        for name, path in owned_files(files.walk()):
            number = self._numbers.setdefault(name, len(self.names))
            if number == len(self.names):
                self.names.append(printable(name))
            if path.endswith(b"/"):
                self._below[path[:-1]] = number
                continue
            try:
                inode = look_up(files.root, path, last=False)
            except DockercError:  # a loop of symlinks
                continue
            if inode is not None and inode.children is None:
                self._inodes.setdefault(inode, number)

    def of(self, path: bytes, inode: Inode) -> int:
        """The number of a file's package, -1 for none."""
        if inode.children is not None:
            return -1
        if (number := self._inodes.get(inode)) is not None:
            return number
        while self._below and path:
            path = path.rpartition(b"/")[0]
            if (number := self._below.get(path)) is not None:
                return number
        return -1


def _duplicates(files: ImageFiles) -> dict[str, Any]:
    """Equal files that are no hard links of one another, those that waste the most first."""
    met: dict[bytes, Inode] = {}
    equal: dict[bytes, set[Inode]] = {}
    for _, inode in files.inodes():
        if inode.kind is InodeType.FILE and inode.content.size:
            digest = inode.content.digest
            if met.setdefault(digest, inode) is not inode:
                equal.setdefault(digest, {met[digest]}).add(inode)
    paths: dict[bytes, dict[Inode, bytes]] = {digest: {} for digest in equal}
    for path, inode in files.inodes():
        if inode.kind is InodeType.FILE and inode.content.digest in paths:
            paths[inode.content.digest].setdefault(inode, path)
    several = [
        (inode.content.size * (len(named) - 1), inode.content.size, list(named.values()))
        for named in paths.values()
        for inode in list(named)[:1]
    ]
    several.sort(key=lambda each: (-each[0], each[2]))
    return {
        "bytes": sum(wasted for wasted, _, _ in several),
        "groups": len(several),
        "listed": [
            [size, len(paths), [f"/{_text(path)}" for path in paths[:_MAX_NAMED]]]
            for _, size, paths in several[:_MAX_LISTED]
        ],
    }


def _waste(files: ImageFiles) -> dict[str, Any] | None:
    """Files that a layer brought in vain; None for an executable, which does not have them."""
    if len(files.packs) != len(files.layers) or not files.keeps_layers:
        return None
    found = list(find_waste(files.root, files.packs))
    found.sort(key=lambda each: (-each.size, each.path))
    by_layer: Counter[int] = Counter()
    for each in found:
        by_layer[each.layer] += each.size
    return {
        "bytes": sum(by_layer.values()),
        "files": len(found),
        "byLayer": [by_layer[number] for number in range(len(files.packs))],
        "listed": [
            [f"/{_text(each.path)}", each.size, each.layer, -1 if each.by is None else each.by]
            for each in found[:_MAX_LISTED]
        ],
    }


def find_waste(root: Inode, packs: Any) -> list[Waste]:
    """Regular files of layers that are not in the merged tree."""
    removed = _removals(packs)
    found = []
    for number, pack in enumerate(packs):
        for entry in pack.entries:
            if entry.kind is not EntryKind.FILE or not entry.content.size:
                continue
            now = _now(root, entry.path)
            if now is not None and now.content is entry.content:
                continue
            by = now.content.pack if now is not None and now.content.size else None
            if now is None:
                by = _removed_by(removed, entry.path, number)
            if by is None or by > number:  # else it is replaced in its own layer, as tar allows
                found.append(Waste(entry.path, entry.content.size, number, by))
    return found


def _now(root: Inode, path: bytes) -> Inode | None:
    try:
        return look_up(root, path, last=False)
    except DockercError:  # a loop of symlinks, made by a later layer
        return None


def _removals(packs: list[Pack]) -> dict[bytes, list[int]]:
    """The layers that remove a path, or replace it by something else than a directory."""
    removed: dict[bytes, list[int]] = defaultdict(list)
    for number, pack in enumerate(packs):
        for entry in pack.entries:
            if entry.kind is not EntryKind.DIRECTORY:
                removed[entry.path].append(number)
    return removed


def _removed_by(removed: dict[bytes, list[int]], path: bytes, layer: int) -> int | None:
    """The first layer above that removed it or a directory that it was in."""
    found: int | None = None
    while path:
        for number in removed.get(path, ()):
            if number > layer and (found is None or number < found):
                found = number
        path = path.rpartition(b"/")[0]
    return found


def _packages(bill: Bill) -> list[list[Any]]:
    return [
        [package.kind, printable(package.name), package.version, package.purl,
         ", ".join(package.licenses), -1 if package.layer is None else package.layer,
         package.paths[0]]
        for package in bill.inventory.packages
    ]  # fmt: skip
