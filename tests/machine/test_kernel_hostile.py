"""Kernels, modules, packages and images that want too much, or are damaged anywhere."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_support import (
    DRIVERS,
    arm64_image,
    bzimage,
    kernel_package,
    lz4_frame,
    module,
    modules,
    package,
    tar,
    vmlinux,
    write_tree,
    zboot,
)
from layout import entry, tar_of, write_layout

from toolkit.errors import DockercError
from toolkit.images.transports import tarball
from toolkit.machine import kernel_drivers, kernel_files, kernel_image, kernel_layers, kernel_module
from toolkit.machine.kernel import find
from toolkit.machine.kernel_cache import _decode
from toolkit.machine.kernel_drivers import drivers_of
from toolkit.machine.kernel_files import DirectoryFiles
from toolkit.machine.kernel_image import read_kernel
from toolkit.machine.kernel_module import decompressed, read_module
from toolkit.machine.kernel_package import package_source


def test_a_kernel_that_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "kernel").open("wb") as file:
        file.truncate(kernel_image.MAX_IMAGE + 1)
    with pytest.raises(DockercError, match="no kernel has more than 128 MiB"):
        find(str(tmp_path / "kernel"), "x86_64")
    with (tmp_path / "kernel").open("r+b") as file:
        file.truncate(kernel_image.MAX_IMAGE)
        file.write(bzimage())
    assert find(str(tmp_path / "kernel"), "x86_64").release == "6.1.0-test"


def test_a_kernel_that_expands_without_end() -> None:
    largest = gzip.compress(arm64_image().ljust(kernel_image.MAX_IMAGE, b"\0"), 1)
    assert len(read_kernel(largest, "it").data) == kernel_image.MAX_IMAGE
    more = gzip.compress(bytes(1 << 20), 1)
    for packed in (largest + more, zboot(largest + more, b"gzip")):
        with pytest.raises(DockercError, match="no kernel has more than 128 MiB"):
            read_kernel(packed, "it")


def test_a_configuration_that_expands_without_end() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    found = read_kernel(arm64_image(rest=b"IKCFG_ST" + bomb + b"IKCFG_ED"), "it").config()
    assert found is not None and len(found) == 4 << 20


def test_modules_that_are_too_large() -> None:
    largest = lzma.compress(bytes(kernel_module.MAX_MODULE), preset=0)
    assert len(decompressed(largest, "it")) == kernel_module.MAX_MODULE
    with pytest.raises(DockercError, match="no module has more than 32 MiB"):
        decompressed(lzma.compress(bytes(kernel_module.MAX_MODULE + 1), preset=0), "it")
    with pytest.raises(DockercError, match="compressed with lz4"):
        decompressed(b"\x04\x22\x4d\x18" + bytes(99), "it")


def loaded(tmp_path: Path, files: dict[str, bytes]) -> list[str]:
    directory = write_tree(tmp_path, files)
    found = drivers_of(DirectoryFiles(directory), None, "6.1.0-test", "x86_64")
    return [each.name for each in found.modules]


def chain(length: int) -> dict[str, bytes]:
    """`fuse`, and as many modules as are needed to load it."""
    files = {f"kernel/m{each}.ko": module(f"m{each + 1}") for each in range(1, length - 1)}
    last = {f"kernel/m{length - 1}.ko": module()}
    return {"kernel/fuse.ko": module("m1"), "modules.builtin": b""} | files | last


def test_modules_without_end(tmp_path: Path) -> None:
    assert len(loaded(tmp_path / "most", chain(kernel_drivers.MAX_MODULES))) == 64
    with pytest.raises(DockercError, match="depends on itself, or on more than 64 modules"):
        loaded(tmp_path / "more", chain(kernel_drivers.MAX_MODULES + 1))
    ring = {"kernel/fuse.ko": module("m"), "kernel/m.ko": module("fuse")}
    with pytest.raises(DockercError, match="depends on itself"):
        loaded(tmp_path / "ring", ring)
    wishes = {"kernel/fuse.ko": module("m"), "kernel/m.ko": module(softdep="pre: fuse")}
    assert loaded(tmp_path / "wishes", wishes) == ["m", "fuse"]


def test_modules_that_are_too_large_together(tmp_path: Path) -> None:
    half = module(content=bytes(kernel_drivers.MAX_LOADED // 2 - 1024))
    files = {f"kernel/{name}.ko.xz": lzma.compress(half, preset=0) for name in DRIVERS[:2]}
    assert len(loaded(tmp_path / "most", files)) == 2
    files["kernel/fuse.ko"] = module(content=bytes(4096))
    with pytest.raises(DockercError, match="the modules of its drivers have more than 64 MiB"):
        loaded(tmp_path / "more", files)


def test_directories_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_files.MAX_FILES == 50_000
    monkeypatch.setattr(kernel_files, "MAX_FILES", 12)
    directory = write_tree(tmp_path, {f"{each}.ko": b"" for each in range(12)})
    assert len(list(DirectoryFiles(directory).names())) == 12
    (directory / "more").touch()
    with pytest.raises(DockercError, match="has more than 12 files"):
        list(DirectoryFiles(directory).names())


def test_directories_in_one_another(tmp_path: Path) -> None:
    deepest = "/".join("d" for _ in range(20))
    directory = write_tree(tmp_path, {f"{deepest}/fuse.ko": b"", f"{deepest}/d/loop.ko": b""})
    (directory / "build").symlink_to(directory)
    assert list(DirectoryFiles(directory).names()) == [f"{deepest}/fuse.ko"]


def test_packages_that_expand_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of other archives hold for them, too."""
    monkeypatch.setattr(tarball, "_FREE_SIZE", 1 << 20)
    bomb = lzma.compress(tar({"./boot/vmlinuz-6": bytes(200 << 20)}), preset=0)
    (tmp_path / "bomb.deb").write_bytes(package(bomb, "data.tar.xz"))
    with pytest.raises(DockercError, match="taken for an attack"):
        find(str(tmp_path / "bomb.deb"), "x86_64")


def test_packages_of_large_files(tmp_path: Path) -> None:
    claim = entry("boot/vmlinuz-6", size=kernel_image.MAX_IMAGE + 1)
    sparse = claim.tobuf() + bytes(1024)
    (tmp_path / "claim.deb").write_bytes(package(sparse))
    with pytest.raises(DockercError, match="truncated"):
        find(str(tmp_path / "claim.deb"), "x86_64")


def test_images_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_layers.MAX_MODULES_TAR == 2 << 30
    for name, most in (("kernel", kernel_image.MAX_IMAGE), ("config", 4 << 20)):
        layer = tar_of((entry(name, size=most + 1), bytes(most + 1)))
        with pytest.raises(DockercError, match=f"/{name} of .* has {most + 1} bytes; it may have"):
            find(f"oci:{write_layout(tmp_path / name, [layer])}", "x86_64")
    monkeypatch.setitem(kernel_layers._FILES, "kernel.tar", 512)
    layer = tar_of((entry("kernel.tar", size=513), bytes(513)))
    with pytest.raises(DockercError, match="has 513 bytes; it may have 512"):
        find(f"oci:{write_layout(tmp_path / 'tar', [layer])}", "x86_64")


_fuzz = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
WHOLE = [
    bzimage(payload=gzip.compress(b"IKCFG_ST" + gzip.compress(b"CONFIG_A=y\n") + b"IKCFG_ED")),
    bzimage(payload=gzip.compress(vmlinux())),
    bzimage(payload=lz4_frame(b"\x8fIKCFG_ST\x01\x00\x20\x80IKCFG_ED") + b"size"),
    arm64_image(rest=b"IKCFG_ST" + gzip.compress(b"CONFIG_A=y\n") + b"IKCFG_ED"),
    zboot(gzip.compress(arm64_image()), b"gzip"),
    gzip.compress(arm64_image()),
]
MODULE = module("a", "b", softdep="pre: c post: d")
PACKAGE = kernel_package(modules(), bzimage())


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """A few bytes changed, or some cut off."""
    made = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(made) - 1))
        width = data.draw(st.sampled_from([1, 2, 4, 8]))
        value = data.draw(st.sampled_from([0, 1, 0xFF, 0x7F, 0x80, 0x40]))
        made[position : position + width] = bytes([value]) * width
    return (
        bytes(made[: data.draw(st.integers(0, len(made)))])
        if data.draw(st.booleans())
        else bytes(made)
    )


@_fuzz
@given(st.data())
def test_damaged_kernels(data: st.DataObject) -> None:
    with contextlib.suppress(DockercError):
        read_kernel(damaged(data, data.draw(st.sampled_from(WHOLE))), "it").config()


@_fuzz
@given(st.data())
def test_damaged_modules(data: st.DataObject) -> None:
    assert read_module(MODULE, "x86_64", "it").wishes == ("c",)
    with contextlib.suppress(DockercError):
        read_module(damaged(data, MODULE), "x86_64", "it")


@_fuzz
@given(data=st.data())
def test_damaged_packages(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "kernel.deb"
    path.write_bytes(damaged(data, PACKAGE))
    with contextlib.suppress(DockercError), package_source(path) as source:
        source.modules("6.1.0-test")


@_fuzz
@given(st.binary(max_size=200), st.integers(0, 300))
def test_damaged_records(rest: bytes, length: int) -> None:
    """Even with the digest of what is there: whoever can write the cache is the user."""
    import hashlib

    whole = struct.pack("<I", length) + rest
    with contextlib.suppress(DockercError):
        _decode(hashlib.sha256(whole).digest() + whole)
