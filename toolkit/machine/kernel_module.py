"""One module of a kernel: what its ELF file says of itself (.modinfo, include/linux/module.h)."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass

from toolkit.errors import DamagedError, RefusedError, UnsupportedError
from toolkit.images.transports.tarball import is_packed, unpacked

MAX_MODULE = 32 << 20
"""Bytes of a module, decompressed; Debian's largest of those that are loaded has 1 MB."""
_MAX_SECTIONS = 4096
_MAX_MODINFO = 1 << 20
_MACHINES = {"x86_64": 62, "aarch64": 183}
_HEADER = struct.Struct("<16xHHI3QI6H")
_SECTION = struct.Struct("<II4QIIQQ")
_LZ4_MAGIC = b"\x04\x22\x4d\x18"


@dataclass(frozen=True)
class ModuleFacts:
    """What must be loaded before it, and for which kernel it is."""

    depends: tuple[str, ...]
    wishes: tuple[str, ...]
    """What is loaded before it where there is such a module (`softdep: pre:`)."""
    release: str


def module_name(path: str) -> str | None:
    """`virtio_blk` for `kernel/drivers/block/virtio-blk.ko.xz`; None for what is no module."""
    found = re.fullmatch(r"([\w.+-]{1,64}?)\.ko(\.(xz|zst|gz))?", path.rpartition("/")[2])
    return plain_name(found[1]) if found else None


def plain_name(name: str) -> str:
    """Dashes and underscores mean the same in the names of modules (modprobe(8))."""
    return name.replace("-", "_")


def decompressed(data: bytes, where: str) -> bytes:
    """A module's ELF file; raises DockercError where it is damaged or too large."""
    if data[:4] == _LZ4_MAGIC:
        raise UnsupportedError(f"{where} is compressed with lz4; xz, zstd and gzip can be unpacked")
    if not is_packed(data[:8]):
        return data
    with unpacked(io.BufferedReader(io.BytesIO(data)), where) as file:
        found = file.read(MAX_MODULE + 1)
    if len(found) > MAX_MODULE:
        raise RefusedError(f"{where}: no module has more than {MAX_MODULE >> 20} MiB")
    return found


def read_module(data: bytes, architecture: str, where: str) -> ModuleFacts:
    """Raises DockercError for what is no module of this architecture."""
    section = _modinfo(data, architecture, where)
    depends: list[str] = []
    wishes: list[str] = []
    release = ""
    for text in section.split(b"\0"):
        key, _, value = text.partition(b"=")
        words = value.decode("ascii", "replace")
        if key == b"depends":
            depends += filter(None, words.split(","))
        elif key == b"softdep":
            wishes += _before(words)
        elif key == b"vermagic":
            release = words.partition(" ")[0]
    return ModuleFacts(tuple(map(plain_name, depends)), tuple(map(plain_name, wishes)), release)


def _before(softdep: str) -> list[str]:
    """The modules behind `pre:`, up to `post:` (modprobe.d(5))."""
    found, is_before = [], False
    for word in softdep.split():
        if word.endswith(":"):
            is_before = word == "pre:"
        elif is_before:
            found.append(word)
    return found


def _modinfo(data: bytes, architecture: str, where: str) -> bytes:
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        raise DamagedError(f"{where} is no module: it is no 64-bit ELF file")
    kind, machine, _, _, _, start, _, _, _, _, size, count, names = _HEADER.unpack_from(data)
    if kind != 1 or machine != _MACHINES[architecture]:
        raise DamagedError(f"{where} is no module for {architecture}")
    if size != _SECTION.size or not names < count <= _MAX_SECTIONS:
        raise DamagedError(f"{where} is no module: its table of sections is malformed")
    if start + count * size > len(data):
        raise DamagedError(f"{where}: a module that is cut short")
    sections = [_SECTION.unpack_from(data, start + each * size) for each in range(count)]
    table = sections[names]
    for each in sections:
        at = table[4] + each[0]
        if each[0] < table[5] and data[at : at + 9] == b".modinfo\0":
            if each[5] > _MAX_MODINFO or each[4] + each[5] > len(data):
                break
            return data[each[4] : each[4] + each[5]]
    raise DamagedError(f"{where} is no module: it has no section .modinfo")
