"""Which drivers the machine needs, and which modules of a kernel they are.

A driver is built in, or is a module with others that it depends on, or the kernel lacks it.
Dependencies are what each module says itself: packages come without modules.dep, which depmod(8)
makes when they are installed.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.errors import DamagedError, RefusedError
from toolkit.limits import MAX_CONFIG
from toolkit.machine.kernel_files import ModuleFiles
from toolkit.machine.kernel_module import (
    MAX_MODULE,
    decompressed,
    module_name,
    read_module,
)

MAX_MODULES = 64
"""Modules that are loaded; Debian's kernels need twenty."""
MAX_LOADED = 64 << 20
"""Bytes of all of them."""
DRIVERS = {
    "virtio_pci": "VIRTIO_PCI",
    "virtio_mmio": "VIRTIO_MMIO",
    "virtio_blk": "VIRTIO_BLK",
    "virtio_console": "VIRTIO_CONSOLE",
    "squashfs": "SQUASHFS",
    "overlay": "OVERLAY_FS",
    "fuse": "FUSE_FS",
    "virtio_net": "VIRTIO_NET",
    "9pnet_virtio": "NET_9P_VIRTIO",
    "9p": "9P_FS",
    "ext4": "EXT4_FS",
}
"""The kernel's option for each, in the order of loading."""
REQUIRED = frozenset({"virtio_pci", "virtio_blk", "virtio_console", "squashfs"})
"""Without these there is no machine; the others are for some options of a run."""
OPTIONS = (
    "BLK_DEV_INITRD",
    "BINFMT_ELF",
    "DEVTMPFS",
    "TMPFS",
    "PROC_FS",
    "SYSFS",
    "NAMESPACES",
    "SQUASHFS_ZSTD",
)
"""Options that cannot be modules, and that every machine needs."""
_ZSTD = re.compile(rb"zstd_?decompress_?stream", re.IGNORECASE)


@dataclass(frozen=True)
class Module:
    """A module, decompressed, as finit_module(2) takes it."""

    name: str
    content: bytes
    needs: tuple[str, ...] = ()
    """The modules that must be loaded before it, theirs included."""


class Drivers(NamedTuple):
    """Modules in the order to load them, and what the kernel lacks of DRIVERS and OPTIONS."""

    modules: tuple[Module, ...]
    lacks: frozenset[str]


def drivers_of(
    files: ModuleFiles | None, config: bytes | None, release: str, architecture: str
) -> Drivers:
    """What is to be loaded of these files; raises DockercError for modules that are none.

    `config` is the kernel's configuration. Where neither that nor modules.builtin tells, a driver
    counts as built in: the start itself will tell.
    """
    search = _Search(files, _options(config) if config else None, release, architecture)
    lacks = {driver for driver in DRIVERS if not search.load(driver)}
    lacks |= {option for option in OPTIONS if search.is_unset(option)}
    squashfs = next((m for m in search.loaded.values() if m.name == "squashfs"), None)
    if squashfs and not config and not _ZSTD.search(squashfs.content):
        lacks.add("SQUASHFS_ZSTD")
    return Drivers(tuple(search.loaded.values()), frozenset(lacks))


class _Search:
    def __init__(
        self,
        files: ModuleFiles | None,
        config: dict[str, str] | None,
        release: str,
        architecture: str,
    ) -> None:
        self._files, self._config = files, config
        self._release, self._architecture = release, architecture
        self._paths: dict[str, str] = {}
        self._built_in: Collection[str] | None = None
        self.loaded: dict[str, Module] = {}
        self._waiting: set[str] = set()
        self._size = 0
        if files:
            names = set(files.names())
            for path in sorted(names):
                if name := module_name(path):
                    self._paths.setdefault(name, path)
            if "modules.builtin" in names:
                lines = files.read("modules.builtin", MAX_CONFIG).decode("utf-8", "replace")
                self._built_in = {module_name(line.strip()) or "" for line in lines.splitlines()}

    def load(self, name: str) -> bool:
        """Put a module and what it needs on the list; False where something of it is missing."""
        if name in self.loaded:
            return True
        if name not in self._paths or self._files is None:
            return self._is_built_in(name)
        before = dict(self.loaded)
        if self._put(name, self._files, self._paths[name]):
            return True
        self.loaded = before
        return False

    def _put(self, name: str, files: ModuleFiles, path: str) -> bool:
        if name in self._waiting or len(self._waiting) + len(self.loaded) >= MAX_MODULES:
            raise RefusedError(f"{path} depends on itself, or on more than {MAX_MODULES} modules")
        content = decompressed(files.read(path, MAX_MODULE), path)
        self._size += len(content)
        if self._size > MAX_LOADED:
            raise RefusedError(f"the modules of its drivers have more than {MAX_LOADED >> 20} MiB")
        facts = read_module(content, self._architecture, path)
        if facts.release != self._release:
            raise DamagedError(
                f"{path} is a module of the kernel {facts.release!r}, and the kernel is"
                f" {self._release}"
            )
        self._waiting.add(name)
        wishes = [self._real_name(each) for each in facts.wishes]
        for each in wishes:
            if each in self._paths and each not in self._waiting:
                self.load(each)
        if not all(self.load(each) for each in facts.depends):
            self._waiting.discard(name)
            return False
        self._waiting.discard(name)
        needs: dict[str, None] = {}
        for each in (*wishes, *facts.depends):
            if each in self.loaded:
                needs |= dict.fromkeys((*self.loaded[each].needs, each))
        self.loaded[name] = Module(name, content, tuple(needs))
        return True

    def _real_name(self, wish: str) -> str:
        """Of the modules that are also called `crypto-crc32c`, the one for every processor."""
        return wish if wish in self._paths else f"{wish.removeprefix('crypto_')}_generic"

    def _is_built_in(self, name: str) -> bool:
        if self._built_in is not None:
            return name in self._built_in
        option = DRIVERS.get(name)
        return self._config is None or option is None or self._config.get(option) == "y"

    def is_unset(self, option: str) -> bool:
        """Whether the configuration is known and has it not."""
        return self._config is not None and self._config.get(option) != "y"


def _options(config: bytes) -> dict[str, str]:
    """`CONFIG_NAME=value` by name, strings left out."""
    found = re.findall(rb"^CONFIG_(\w{1,80})=([ym])\s*$", config, re.MULTILINE)
    return {name.decode(): value.decode() for name, value in found}
