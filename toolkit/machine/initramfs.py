"""The first root file system of a machine: an archive of cpio's format "newc", as the kernel's
documentation describes it (Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from toolkit.machine.kernel import Module


@dataclass(frozen=True)
class Entry:
    """A directory, a file or a device of the archive."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def initramfs(
    stub: bytes, modules: Iterable[Module], settings: bytes, files: Iterable[Entry] = ()
) -> bytes:
    """Our runtime as /init, modules, and what the runtime reads to know what to do."""
    entries = [
        Entry("dev", stat.S_IFDIR | 0o755),
        # What the first process writes to until devtmpfs is mounted.
        Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        Entry("init", stat.S_IFREG | 0o755, stub),
        Entry("dockerc-vm", stat.S_IFREG | 0o600, settings),
        Entry("modules", stat.S_IFDIR | 0o755),
        *(Entry(f"modules/{each.name}", stat.S_IFREG | 0o644, each.content) for each in modules),
        Entry("files", stat.S_IFDIR | 0o755),
        *files,
        Entry("TRAILER!!!", 0),
    ]
    return b"".join(_encode(number, entry) for number, entry in enumerate(entries, 1))


def _encode(number: int, entry: Entry) -> bytes:
    name = entry.path.encode("utf-8", "surrogateescape") + b"\0"
    fields = (
        number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return head + bytes(-len(head) % 4) + entry.content + bytes(-len(entry.content) % 4)
