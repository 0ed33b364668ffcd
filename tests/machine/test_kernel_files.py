"""Kernels in files: what is found beside them, what is missing, and what is no kernel at all."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import platform
import subprocess
from pathlib import Path

import pytest
import zstandard
from kernel_support import (
    CONFIG,
    DRIVERS,
    arm64_image,
    bzimage,
    kernel_package,
    module,
    modules,
    package,
    tar,
    write_tree,
    zboot,
)
from support import dockerc, need

from toolkit.errors import DockercError
from toolkit.machine import kernel as kernel_room
from toolkit.machine.kernel import Kernel, find

PACK = {"xz": lzma.compress, "zst": zstandard.compress, "gz": gzip.compress}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/dockerc/kernels"


def refused(reference: Path | str | None, architecture: str = "x86_64") -> str:
    with pytest.raises(DockercError) as caught:
        find(None if reference is None else str(reference), architecture)
    return str(caught.value)


def installed(top: Path, files: dict[str, bytes] | None = None, image: bytes = bzimage()) -> Path:
    """A kernel as distributions install it."""
    (top / "boot").mkdir(parents=True)
    write_tree(top, modules() if files is None else files)
    (top / "boot/vmlinuz-6.1.0-test").write_bytes(image)
    return top / "boot/vmlinuz-6.1.0-test"


def names(kernel: Kernel) -> list[str]:
    return [each.name for each in kernel.modules]


def test_modules_beside_the_kernel_and_around_it(tmp_path: Path) -> None:
    image = installed(tmp_path / "one")
    found = find(str(image), "x86_64")
    assert (found.release, found.architecture) == ("6.1.0-test", "x86_64")
    assert names(found) == DRIVERS and found.lacks == frozenset()
    assert found.image.read_bytes() == bzimage()
    directory = write_tree(tmp_path / "two", modules())
    (directory / "vmlinuz").write_bytes(bzimage())
    assert names(find(str(directory / "vmlinuz"), "x86_64")) == DRIVERS
    (tmp_path / "link").symlink_to(image)
    assert names(find(str(tmp_path / "link"), "x86_64")) == DRIVERS


def test_a_kernel_alone_is_believed(tmp_path: Path) -> None:
    """It may have everything built in: nobody can tell before it starts."""
    (tmp_path / "kernel").write_bytes(bzimage())
    found = find(str(tmp_path / "kernel"), "x86_64")
    assert found.modules == () and found.lacks == frozenset()


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_modules(tmp_path: Path, suffix: str) -> None:
    files = {
        f"{name}.{suffix}" if name.endswith(".ko") else name: (
            PACK[suffix](data) if name.endswith(".ko") else data
        )
        for name, data in modules().items()
    }
    found = find(str(installed(tmp_path, files)), "x86_64")
    plain = modules()
    assert [each.content for each in found.modules] == [
        plain[f"kernel/drivers/{name}.ko"] for name in DRIVERS
    ]


def test_the_order_is_by_dependencies(tmp_path: Path) -> None:
    files = modules([d for d in DRIVERS if d not in ("virtio_blk", "9p", "9pnet_virtio")])
    files["kernel/a/virtio_blk.ko"] = module("virtio-ring", softdep="pre: wished absent post: no")
    files["kernel/z/virtio-ring.ko"] = module("virtio")
    files["kernel/z/virtio.ko"] = module()
    files["kernel/z/wished.ko"] = module("virtio")
    files["kernel/z/no.ko"] = module()
    files["kernel/net/9pnet_virtio.ko"] = module("9pnet", "absent")
    files["kernel/net/9pnet.ko"] = module()
    found = find(str(installed(tmp_path, files)), "x86_64")
    block = ["virtio", "wished", "virtio_ring", "virtio_blk"]
    assert names(found)[:6] == ["virtio_pci", "virtio_mmio", *block]
    assert found.lacks == {"9p", "9pnet_virtio"}  # what it depends on is not there
    assert [each.name for each in found.modules_for({"virtio_blk"})] == block
    assert [each.name for each in found.modules_for({"overlay", "fuse"})] == ["overlay", "fuse"]


def test_what_is_built_in(tmp_path: Path) -> None:
    built_in = [each for each in DRIVERS if each != "squashfs"]
    found = find(str(installed(tmp_path, modules(["squashfs"], built_in))), "x86_64")
    assert names(found) == ["squashfs"] and found.lacks == frozenset()


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_is_missing(tmp_path: Path, driver: str) -> None:
    image = installed(tmp_path, modules([each for each in DRIVERS if each != driver]))
    if driver in ("virtio_pci", "virtio_blk", "virtio_console", "squashfs"):
        told = f"{image}: the kernel 6.1.0-test lacks {driver}, which every machine needs"
        assert told in refused(image)
    else:
        assert find(str(image), "x86_64").lacks == {driver}


def test_a_squashfs_without_zstd(tmp_path: Path) -> None:
    files = modules() | {"kernel/drivers/squashfs.ko": module()}
    image = installed(tmp_path, files)
    assert "lacks SQUASHFS_ZSTD, which" in refused(image)
    (tmp_path / "boot/config-6.1.0-test").write_text(CONFIG)
    assert find(str(image), "x86_64").lacks == frozenset()
    (tmp_path / "boot/config-6.1.0-test").write_text(CONFIG.replace("ZSTD=y", "ZSTD=n"))
    assert "lacks SQUASHFS_ZSTD, which" in refused(image)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstandard.compress])
def test_the_configuration_that_a_kernel_keeps(tmp_path: Path, pack: type[bytes]) -> None:
    """CONFIG_IKCONFIG: of a kernel without modules it tells what is built in."""
    options = "".join(f"CONFIG_{name}=y\n" for name in ("VIRTIO_PCI", "VIRTIO_BLK", "SQUASHFS"))
    config = CONFIG + options + "CONFIG_VIRTIO_CONSOLE=y\nCONFIG_FUSE_FS=m\n"
    kept = b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED"
    if pack is bytes:
        (tmp_path / "kernel").write_bytes(arm64_image(rest=bytes(3 << 20) + kept + bytes(99)))
    else:
        payload = pack(bytes(3 << 20) + kept + bytes(99))
        payload += b"" if payload[:2] == b"\x1f\x8b" else b"size"
        (tmp_path / "kernel").write_bytes(bzimage(payload=payload))
    found = find(str(tmp_path / "kernel"), "aarch64" if pack is bytes else "x86_64")
    optional = set(DRIVERS) - {"virtio_pci", "virtio_blk", "virtio_console", "squashfs"}
    assert found.lacks == optional


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.compress])
def test_compressed_kernels_for_arm64(tmp_path: Path, pack: type[bytes]) -> None:
    """QEMU boots an Image; whether it unpacks one depends on its version, so we do."""
    for wrapped in (pack(arm64_image()), zboot(pack(arm64_image()), b"some")):
        (tmp_path / "kernel").write_bytes(wrapped)
        found = find(str(tmp_path / "kernel"), "aarch64")
        assert found.image.read_bytes() == arm64_image() and found.release == "6.1.0-test"


def test_the_architecture_is_the_file_s(tmp_path: Path) -> None:
    (tmp_path / "arm").write_bytes(arm64_image())
    (tmp_path / "intel").write_bytes(bzimage())
    told = refused(tmp_path / "arm")
    assert told == f"{tmp_path}/arm is a kernel for aarch64, and the machine is for x86_64"
    assert "is a kernel for x86_64" in refused(tmp_path / "intel", "aarch64")
    assert "there is no machine for riscv64" in refused(tmp_path / "intel", "riscv64")
    image = installed(tmp_path / "mixed", modules() | {"a/fuse.ko": module(architecture="aarch64")})
    assert "fuse.ko is no module for x86_64" in refused(image)
    image = installed(tmp_path / "other", modules() | {"a/fuse.ko": module(release="5.4")})
    assert "a module of the kernel '5.4', and the kernel is 6.1.0-test" in refused(image)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no Linux kernel"),
        (b"x" * 4096, "is no Linux kernel"),
        (b"\x7fELF" + bytes(4096), "a kernel before it is made bootable (vmlinux)"),
        (bzimage(bits=32), "for 32-bit processors"),
        (bzimage()[:0x206], "cut short"),
        (bzimage("/../x"), "does not tell its version"),
        (arm64_image("../x"), "does not tell its version"),
        (zboot(b"\x04\x22\x4d\x18", b"lz4"), "compressed with 'lz4'"),
        (zboot(b"short", b"gzip", 99), "cut short"),
        (gzip.compress(arm64_image(), mtime=0)[:40], "cannot read"),
        (b"!<arch>\nxxx", "is no package of Debian"),
        (package(b"", "other.tar"), "is no package of Debian"),
        (package(tar({"./usr/share/doc/x": b""})), "has no kernel (boot/vmlinuz-…)"),
        (
            package(tar({"./boot/vmlinuz-6": b""})),
            "without its modules, which Ubuntu has in linux-",
        ),
        (kernel_package({"x.ko": b""}, b""), "is no Linux kernel"),
        (package(tar({"./boot/vmlinuz-6": b""}))[:-600], "cut short"),
    ],
)
def test_what_is_no_kernel(tmp_path: Path, data: bytes, told: str, cache: Path) -> None:
    (tmp_path / "kernel").write_bytes(data)
    for architecture in ("x86_64", "aarch64"):
        sentence = refused(tmp_path / "kernel", architecture)
        assert str(tmp_path / "kernel") in sentence and told in sentence
    assert list(cache.iterdir()) == []


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert "an image is named with its transport: docker://linuxkit/x" in refused("linuxkit/x")
    assert "cannot read the kernel" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "it is no regular file" in refused(tmp_path / "pipe")


def test_this_machine_s_own_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where it can be read, and only for its architecture; else a sentence says how to get
    one. Nothing is fetched."""
    release = platform.release()
    mine = platform.machine()
    other = "aarch64" if mine == "x86_64" else "x86_64"
    monkeypatch.setattr(kernel_room, "_TOP", tmp_path)
    told = refused(None, mine)
    assert "apt-get download" in told and "--kernel FILE.deb" in told and "docker://" in told
    (tmp_path / "boot").mkdir()
    image = bzimage(release) if mine == "x86_64" else arm64_image(release)
    (tmp_path / f"boot/vmlinuz-{release}").write_bytes(image)
    assert find(None, mine).release == release
    assert "apt-get download linux-image-cloud-" in refused(None, other)


def test_a_package(tmp_path: Path) -> None:
    (tmp_path / "kernel.deb").write_bytes(kernel_package(modules(), bzimage()))
    found = find(str(tmp_path / "kernel.deb"), "x86_64")
    assert names(found) == DRIVERS and found.image.read_bytes() == bzimage()


def test_the_second_time_little_is_read(tmp_path: Path, cache: Path) -> None:
    """Not even the package: as long as the file is the same one, its name in the cache will do."""
    need("strace")
    path = tmp_path / "kernel.deb"
    path.write_bytes(kernel_package(modules(), bzimage()))
    first = find(str(path), "x86_64")
    code = f"from toolkit.machine.kernel import find; print(find({str(path)!r}, 'x86_64').release)"
    command = ["strace", "-f", "-e", "trace=openat", "-o", tmp_path / "calls", "python3"]
    python = [*command[:-1], os.sys.executable, "-c", code]  # type: ignore[attr-defined]
    done = subprocess.run(python, check=True, capture_output=True, text=True)
    assert done.stdout == "6.1.0-test\n"
    calls = (tmp_path / "calls").read_text()
    assert str(first.image) in calls and str(path) not in calls


def test_a_changed_file_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "kernel.deb"
    path.write_bytes(kernel_package(modules(), bzimage()))
    find(str(path), "x86_64")
    status = path.stat()
    path.write_bytes(kernel_package(modules(DRIVERS[:-1]), bzimage()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert find(str(path), "x86_64").lacks == {"ext4"}


def test_changed_modules_are_found_out(tmp_path: Path) -> None:
    image = installed(tmp_path, modules(DRIVERS[:-1]))
    assert find(str(image), "x86_64").lacks == {"ext4"}
    write_tree(tmp_path, modules())
    os.utime(tmp_path / "lib/modules/6.1.0-test/modules.builtin", (9, 9))
    assert find(str(image), "x86_64").lacks == frozenset()


def test_the_same_file_elsewhere_is_known(tmp_path: Path, cache: Path) -> None:
    data = kernel_package(modules(), bzimage())
    for name in ("one.deb", "two.deb", "one.deb"):
        (tmp_path / name).write_bytes(data)
        assert names(find(str(tmp_path / name), "x86_64")) == DRIVERS
        assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".kernel", ".record"])
def test_a_damaged_cache_is_mended(tmp_path: Path, cache: Path, suffix: str) -> None:
    path = tmp_path / "kernel.deb"
    path.write_bytes(kernel_package(modules(), bzimage()))
    first = find(str(path), "x86_64")
    (kept,) = cache.glob(f"*{suffix}")
    whole = kept.read_bytes()
    for damaged in (whole[:-1], whole[:40], b"", whole[:50] + b"\xff" + whole[51:]):
        kept.write_bytes(damaged)
        assert find(str(path), "x86_64") == first
        assert kept.read_bytes() == whole
    kept.unlink()
    assert find(str(path), "x86_64") == first and kept.read_bytes() == whole


def test_the_cache_is_listed_and_pruned(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "kernel.deb").write_bytes(kernel_package(modules(), bzimage()))
    find(str(tmp_path / "kernel.deb"), "x86_64")
    rows = json.loads(dockerc("cache", "ls", "--json").stdout)
    assert [row["kind"] for row in rows] == ["kernel", "kernel"]
    assert sum(row["size"] for row in rows) == sum(f.stat().st_size for f in cache.iterdir())
    assert dockerc("cache", "prune").stdout.startswith("removed 2 kernels")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kernel").write_bytes(bzimage())
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "cannot use the cache" in refused(tmp_path / "kernel")
