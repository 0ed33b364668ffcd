"""What a file with a Linux kernel says of itself: architecture, release, configuration.

Sources: the kernel's Documentation/arch/x86/boot.rst, Documentation/arch/arm64/booting.rst,
drivers/firmware/efi/libstub/zboot-header.S and kernel/configs.c.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import DamagedError, DockercError, RefusedError, UnsupportedError
from toolkit.images.transports.tarball import is_packed, unpacked
from toolkit.limits import MAX_CONFIG
from toolkit.machine.kernel_elf import bootable
from toolkit.machine.kernel_lz4 import MAGIC as LZ4_MAGIC
from toolkit.machine.kernel_lz4 import unpack_frames

MAX_IMAGE = 128 << 20
"""Bytes of a kernel, compressed or not; Debian's are 14 to 40 MB."""
ARCHITECTURES = ("x86_64", "aarch64")
_RELEASE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,127}")
"""A release (uname -r); it becomes part of a path."""
_BANNER = re.compile(rb"Linux version (" + _RELEASE.pattern + rb") \(")
_PIECE = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class KernelImage:
    """A kernel as QEMU boots it, and what it says of itself."""

    architecture: str
    release: str
    data: bytes
    """For x86_64 the kernel proper, an ELF file; or a bzImage, where QEMU can boot only that. For
    aarch64 an Image that is not compressed."""
    proper: bytes
    """Decompressed; empty where we cannot."""

    def config(self) -> bytes | None:
        """The configuration that it was built with, if it keeps one (CONFIG_IKCONFIG)."""
        return _kept_config(self.proper)


def read_kernel(data: bytes, where: str) -> KernelImage:
    """Reads a bzImage, or an Image for arm64, which may be compressed or an EFI program that
    unpacks itself. Raises DockercError for anything else; `where` is for its sentence."""
    if is_packed(data[:8]):
        data = _unpack(data, where)
    elif data[:2] == b"MZ" and data[4:8] == b"zimg":
        data = _unpack_zboot(data, where)
    if data[0x202:0x206] == b"HdrS":
        release = _release_of_bzimage(data, where)
        proper = _payload_of_bzimage(data)
        # Emulated, decompressing takes a fifth of a kernel's start.
        return KernelImage("x86_64", release, bootable(proper) or data, proper)
    if data[56:60] == b"ARM\x64":
        found = _BANNER.search(data)
        if not found:
            raise DamagedError(f"{where}: a kernel for arm64 that does not tell its version")
        return KernelImage("aarch64", found[1].decode(), data, data)
    if data[:4] == b"\x7fELF":
        raise UnsupportedError(
            f"{where} is an ELF file, a kernel before it is made bootable (vmlinux); give its"
            " bzImage, or its Image for arm64"
        )
    raise UnsupportedError(f"{where} is no Linux kernel for x86_64 or arm64 (bzImage or Image)")


def _release_of_bzimage(data: bytes, where: str) -> str:
    """From its setup header (boot.rst, "The Real-Mode Kernel Header")."""
    if len(data) < 0x250:
        raise DamagedError(f"{where}: a kernel that is cut short")
    version, address = struct.unpack_from("<H", data, 0x206)[0], 0x20E
    xloadflags = struct.unpack_from("<H", data, 0x236)[0]
    if version < 0x20C or not xloadflags & 1:
        raise UnsupportedError(f"{where}: a kernel for 32-bit processors, or older than Linux 3.8")
    start = struct.unpack_from("<H", data, address)[0] + 0x200
    found = _RELEASE.match(data, start)
    if not found or start == 0x200:
        raise DamagedError(f"{where}: a kernel that does not tell its version")
    return found[0].decode()


def _payload_of_bzimage(data: bytes) -> bytes:
    """The kernel proper, decompressed; nothing where we cannot."""
    sectors = data[0x1F1] or 4
    offset, size = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = data[start : start + size]
    if payload[:2] != _GZIP_MAGIC:
        payload = payload[:-4]  # the size, which gzip has in its own trailer (Makefile.lib)
    found = bytearray()
    try:
        for piece in _pieces(payload):
            found += piece
            if len(found) > MAX_IMAGE:
                break
    except DockercError:
        return b""  # the machine will tell what is wrong with it
    return bytes(found) if len(found) <= MAX_IMAGE else b""


def _pieces(payload: bytes) -> Iterator[bytes]:
    if payload.startswith(LZ4_MAGIC):
        yield from unpack_frames(payload)
    elif is_packed(payload[:8]):
        file = unpacked(io.BufferedReader(io.BytesIO(payload)), "a kernel")
        while piece := file.read1(_PIECE):
            yield piece


def _kept_config(kernel: bytes) -> bytes | None:
    """What is between IKCFG_ST and IKCFG_ED (kernel/configs.c), decompressed."""
    start = kernel.find(b"IKCFG_ST")
    end = kernel.find(b"IKCFG_ED", start)
    if start < 0 or end < 0:
        return None
    return _inflate(kernel[start + 8 : min(end, start + 8 + MAX_CONFIG)])


def _inflate(data: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(wbits=31).decompress(data, MAX_CONFIG)
    except zlib.error:
        return None


def _unpack(data: bytes, where: str) -> bytes:
    file = unpacked(io.BufferedReader(io.BytesIO(data)), where)
    found = bytearray()
    while piece := file.read(_PIECE):
        found += piece
        if len(found) > MAX_IMAGE:
            raise RefusedError(f"{where}: no kernel has more than {MAX_IMAGE >> 20} MiB")
    return bytes(found)


def _unpack_zboot(data: bytes, where: str) -> bytes:
    """The Image in an EFI program that unpacks itself: not every QEMU unpacks it."""
    if len(data) < 64:
        raise DamagedError(f"{where}: a kernel that is cut short")
    offset, size = struct.unpack_from("<II", data, 8)
    kind = data[24:56].partition(b"\0")[0]
    payload = data[offset : offset + size]
    if len(payload) != size:
        raise DamagedError(f"{where}: a kernel that is cut short")
    if not is_packed(payload[:8]):
        name = kind.decode("ascii", "replace")
        raise UnsupportedError(
            f"{where}: a kernel that is compressed with {name!r}; gzip, xz and zstd can be unpacked"
        )
    return _unpack(payload, where)
