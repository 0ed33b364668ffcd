"""Random trees, written by us and read by the kernel and by unsquashfs: what was meant, exactly."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout import entry, file, hard_link, noise, tar_of
from support import describe_tree, differences, need
from tree_support import as_root, kernel_mount, write_image

TYPES = {
    "file": (tarfile.REGTYPE, stat.S_IFREG), "directory": (tarfile.DIRTYPE, stat.S_IFDIR),
    "symlink": (tarfile.SYMTYPE, stat.S_IFLNK), "fifo": (tarfile.FIFOTYPE, stat.S_IFIFO),
    "device": (tarfile.CHRTYPE, stat.S_IFCHR), "link": (tarfile.LNKTYPE, 0),
}  # fmt: skip


@dataclass
class Node:
    """A file of any type; `place` chooses its directory, or what a hard link leads to."""

    kind: str
    name: bytes
    place: int
    mode: int
    uid: int
    gid: int
    mtime: int
    data: bytes
    device: tuple[int, int]
    xattrs: dict[str, bytes]
    path: bytes = b""
    links: int = 1
    children: list[Node] = field(default_factory=list)


NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..") and name[:4] != b".wh."
)
SIZES = st.one_of(
    st.integers(0, 100),
    st.builds(lambda blocks, more: max(0, 4096 * blocks + more), st.integers(1, 5),
              st.integers(-2, 2)),
)  # fmt: skip
CONTENTS = st.builds(
    lambda size, kind, seed: {
        "noise": noise(size, seed),
        "text": (b"%d words " % seed * (size // 8 + 1))[:size],
        "zeros": bytes(size),
        "holes": (noise(50, seed) + bytes(9000))[:size].ljust(size, b"\0"),
    }[kind],
    SIZES, st.sampled_from(["noise", "text", "zeros", "holes"]), st.integers(0, 3),
)  # fmt: skip
IDS = st.sampled_from([0, 1, 1000, 65_536, 0xFFFFFFFE])
XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "user.ab", "trusted.t", "security.s"]),
    st.binary(max_size=300).filter(bool),
    max_size=3,
)
NODES = st.builds(
    Node,
    kind=st.sampled_from(["file", "file", "file", "directory", "directory", *sorted(TYPES)]),
    name=st.one_of(NAMES, st.binary(min_size=1, max_size=1).map(bytes.hex).map(str.encode)),
    place=st.integers(0, 1000),
    mode=st.integers(0, 0o7777),
    uid=IDS,
    gid=IDS,
    mtime=st.sampled_from([0, 1, 1_600_000_000, 0xFFFFFFFF]),
    data=CONTENTS,
    device=st.tuples(st.integers(0, 4095), st.integers(0, (1 << 20) - 1)),
    xattrs=XATTRS,
)


def placed(nodes: list[Node]) -> tuple[Node, list[tuple[Node, Node]]]:
    """The root of a tree of these, and every name with the node that it leads to."""
    root = Node("directory", b"", 0, 0o755, 0, 0, 0, b"", (0, 0), {})
    directories, files, named = [root], [], []
    for node in nodes:
        parent = directories[node.place % len(directories)]
        if any(child.name == node.name for child in parent.children):
            continue
        target = node
        if node.kind == "link":
            if not files:
                continue
            target = files[node.place % len(files)]
            target.links += 1
        elif node.kind == "directory":
            directories.append(node)
        else:
            files.append(node)
        node.path = parent.path + b"/" + node.name if parent.path else node.name
        parent.children.append(node)
        named.append((node, target))
    return root, named


def tar_entry(node: Node, target: Node) -> Any:
    name = os.fsdecode(node.path)
    if node.kind == "link":
        return hard_link(name, os.fsdecode(target.path))
    fields: dict[str, Any] = {
        "mode": node.mode, "uid": node.uid, "gid": node.gid, "mtime": node.mtime,
        "pax_headers": {f"SCHILY.xattr.{k}": os.fsdecode(v) for k, v in attributes(node)},
    }  # fmt: skip
    if node.kind == "file":
        return file(name, node.data, **fields)
    if node.kind == "symlink":
        fields["linkname"] = os.fsdecode(node.name)
    if node.kind == "device":
        fields["devmajor"], fields["devminor"] = node.device
    return entry(name, TYPES[node.kind][0], **fields)


def attributes(node: Node) -> list[tuple[str, bytes]]:
    """Its extended attributes; those of what is neither file nor directory could not be set."""
    return sorted(node.xattrs.items()) if node.kind in ("file", "directory") else []


def described(node: Node) -> tuple[Any, ...]:
    """As `describe_tree` has it."""
    size: int | None = 0
    links, content, device = node.links, b"", 0
    if node.kind == "directory":
        size, links = None, 2 + sum(child.kind == "directory" for child in node.children)
    elif node.kind == "file":
        size = len(node.data)
        content = hashlib.sha256(node.data).hexdigest()  # type: ignore[assignment]
    elif node.kind == "symlink":
        size, content = len(node.name), node.name
    elif node.kind == "device":
        device = os.makedev(*node.device)
    mode = TYPES[node.kind][1] | (0o777 if node.kind == "symlink" else node.mode)
    return (
        oct(mode), node.uid, node.gid, size, links, node.mtime, device, content,
        tuple(attributes(node)),
    )  # fmt: skip


@pytest.mark.slow
@as_root
@settings(
    max_examples=int(os.environ.get("DOCKERC_TEST_TREES", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(NODES, max_size=40), st.sampled_from([4096, 8192, 1 << 20]))
def test_random_trees_are_read_as_they_were_meant(nodes: list[Node], block_size: int) -> None:
    need("unsquashfs")
    root, named = placed(nodes)
    for node, _ in named:
        if node.kind == "symlink":
            node.mode = 0o777
    expected = {os.fsdecode(node.path): described(target) for node, target in named}
    expected["."] = described(root)
    with tempfile.TemporaryDirectory() as place:
        image = Path(place, "image")
        write_image([tar_of(*(tar_entry(*pair) for pair in named))], image, block_size)
        with kernel_mount(image, Path(place, "mount")) as mount:
            assert differences(expected, describe_tree(mount / "rootfs")) == []
        command = ["unsquashfs", "-no-progress", "-d", f"{place}/out", image]
        subprocess.run(command, check=True, capture_output=True)
        assert differences(expected, describe_tree(Path(place, "out", "rootfs"))) == []
