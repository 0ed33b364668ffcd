"""Kernels for tests: Debian's own packages, and small files that look like kernels and modules."""

from __future__ import annotations

import getpass
import io
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from support import need

from toolkit.files.lock import lock

MACHINES = {"x86_64": 62, "aarch64": 183}
DRIVERS = [
    "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "squashfs", "overlay", "fuse",
    "virtio_net", "9pnet_virtio", "9p", "ext4",
]  # fmt: skip
CONFIG = """CONFIG_BLK_DEV_INITRD=y
CONFIG_BINFMT_ELF=y
CONFIG_DEVTMPFS=y
CONFIG_TMPFS=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_NAMESPACES=y
CONFIG_SQUASHFS_ZSTD=y
"""
"""What every kernel must have, drivers apart."""


def debian_kernel(suite: str, architecture: str, name: str) -> Path:
    """The package of the kernel that Debian's package `name` depends on.

    Any user can fetch it, for any architecture: apt gets directories and lists of its own. It is
    kept for other tests, in $DOCKERC_TEST_KERNELS or a directory of this user's in /var/tmp.
    """
    need("apt-get")
    place = (
        os.environ.get("DOCKERC_TEST_KERNELS") or f"/var/tmp/dockerc-kernels-{getpass.getuser()}"
    )
    kept = Path(place) / f"{suite}-{architecture}-{name}"
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as file:
        lock(file.fileno(), wait=True)
        if not (found := list(kept.glob("*.deb"))):
            with tempfile.TemporaryDirectory(dir=kept) as directory:
                made = _download(Path(directory), suite, architecture, name)
                found = [made.rename(kept / made.name)]
    return found[0]


def _repository() -> str:
    """Where this machine has Debian's packages from."""
    shown = ["--format", "$(REPO_URI) $(CODENAME) $(ORIGIN)", "Created-By: Packages"]
    lines = subprocess.run(
        ["apt-get", "indextargets", *shown], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    found = [
        line.split()[0] for line in lines if line.endswith(" Debian") and "-" not in line.split()[1]
    ]
    assert found, "apt knows no packages of Debian: apt-get update"
    return found[0]


def _download(directory: Path, suite: str, architecture: str, name: str) -> Path:
    for each in ("lists/partial", "cache/archives/partial"):
        (directory / each).mkdir(parents=True)
    (directory / "status").touch()
    (directory / "sources.list").write_text(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
        f" {_repository()} {suite} main\n"
    )
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State::Lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "-",
    }
    options = [f"-o{key}={value}" for key, value in settings.items()]
    subprocess.run(["apt-get", "-qq", *options, "update"], check=True)
    shown = subprocess.run(
        ["apt-cache", *options, "depends", name], check=True, capture_output=True, text=True
    ).stdout
    (depended,) = [line.split()[1] for line in shown.splitlines() if "Depends: linux-im" in line]
    subprocess.run(["apt-get", "-qq", *options, "download", depended], check=True, cwd=directory)
    (made,) = directory.glob("*.deb")
    return made


def unpacked_package(package: Path, directory: Path) -> Path:
    """Its files below `directory`, lib/modules without usr, and modules.dep as depmod makes it."""
    need("dpkg-deb", "depmod")
    subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    if (directory / "usr/lib/modules").is_dir():
        (directory / "lib").mkdir(exist_ok=True)
        (directory / "usr/lib/modules").rename(directory / "lib/modules")
    (release,) = (directory / "lib/modules").iterdir()
    subprocess.run(["depmod", "-b", directory, release.name], check=True)
    return directory


def bzimage(release: str = "6.1.0-test", payload: bytes = b"", *, bits: int = 64) -> bytes:
    """What says of itself that it is a kernel for x86; nothing could boot it."""
    image = bytearray(1024)
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, 0x20F)
    struct.pack_into("<H", image, 0x20E, 0x100)
    struct.pack_into("<H", image, 0x236, 1 if bits == 64 else 0)
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    text = f"{release} (somebody@somewhere) #1 SMP\0".encode()
    image[0x300 : 0x300 + len(text)] = text
    return bytes(image) + payload


XEN = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x1000)
"""The note of a kernel that QEMU enters without its own code."""


def vmlinux(
    notes: bytes = XEN, machine: int = 62, segments: int = 2, text: bytes = b"text" + bytes(4092)
) -> bytes:
    """An ELF file with a segment of code and one of notes; nothing could boot it."""
    start = 64 + 56 * segments
    table = struct.pack("<IIQQQQQQ", 1, 5, start, 1 << 40, 1 << 24, len(text), 1 << 20, 4096)
    after = start + len(text)
    note = struct.pack("<IIQQQQQQ", 4, 4, after, 0, 0, len(notes), len(notes), 4)
    table += note * (segments - 1)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, machine, 1, 1 << 24, 64, 0, 0, 64, 56,
        segments, 0, 0, 0,
    )  # fmt: skip
    return header + table + text + notes + b"relocations"


def lz4_frame(*blocks: bytes) -> bytes:
    """Of the legacy format, with these blocks as they are."""
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(b)) + b for b in blocks)


def arm64_image(release: str = "6.1.0-test", rest: bytes = b"") -> bytes:
    """The same for arm64."""
    image = bytearray(64)
    image[:2], image[56:60] = b"MZ", b"ARM\x64"
    return bytes(image) + f"Linux version {release} (somebody@somewhere) #1\n".encode() + rest


def zboot(payload: bytes, kind: bytes, size: int | None = None) -> bytes:
    """An EFI program that unpacks itself: only its header, which is all that is read."""
    size = len(payload) if size is None else size
    header = struct.pack("<4s4sII8s32s", b"MZ\0\0", b"zimg", 64, size, b"", kind)
    return header.ljust(64, b"\0") + payload


def module(
    *depends: str,
    release: str = "6.1.0-test",
    architecture: str = "x86_64",
    softdep: str = "",
    content: bytes = b"",
) -> bytes:
    """An ELF file with the section .modinfo of a module; `content` follows it."""
    words = [f"depends={','.join(depends)}", f"vermagic={release} SMP mod_unload"]
    words += [f"softdep={softdep}"] if softdep else []
    modinfo = "\0".join([*words, ""]).encode()
    names = b"\0.modinfo\0.shstrtab\0"
    start = 64 + len(modinfo) + len(names) + len(content)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, MACHINES[architecture], 1,
        0, 0, start, 0, 64, 0, 0, 64, 3, 2,
    )  # fmt: skip
    section = struct.Struct("<IIQQQQIIQQ")
    table = section.pack(*[0] * 10)
    table += section.pack(1, 1, 0, 0, 64, len(modinfo), 0, 0, 1, 0)
    table += section.pack(10, 3, 0, 0, 64 + len(modinfo), len(names), 0, 0, 1, 0)
    return header + modinfo + names + content + table


def modules(
    drivers: Sequence[str] = DRIVERS, builtin: Sequence[str] = (), release: str = "6.1.0-test"
) -> dict[str, bytes]:
    """The files of lib/modules/RELEASE: each driver a module, or built in."""
    found = {f"kernel/drivers/{each}.ko": module(release=release) for each in drivers}
    if "squashfs" in drivers:
        zstd = module(release=release, content=b"\0zstd_decompress_stream\0")
        found["kernel/drivers/squashfs.ko"] = zstd
    lines = "".join(f"kernel/drivers/{each}.ko\n" for each in builtin)
    return found | {"modules.builtin": lines.encode()}


def write_tree(top: Path, files: Mapping[str, bytes], release: str = "6.1.0-test") -> Path:
    """These files in lib/modules/RELEASE of `top`; returns that directory."""
    directory = top / "lib/modules" / release
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return directory


def tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def package(data: bytes, name: str = "data.tar") -> bytes:
    """A package of Debian (deb(5)) with this tar of files."""
    made = b"!<arch>\n"
    for member, content in (("debian-binary", b"2.0\n"), ("control.tar", b"odd"), (name, data)):
        made += f"{member:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return made


def kernel_package(files: Mapping[str, bytes], image: bytes, release: str = "6.1.0-test") -> bytes:
    """One with a kernel, its configuration and these modules."""
    inside = {f"./usr/lib/modules/{release}/{name}": data for name, data in files.items()}
    boot = {f"./boot/vmlinuz-{release}": image, f"./boot/config-{release}": CONFIG.encode()}
    return package(tar(boot | inside, "w:xz"), "data.tar.xz")


def copied(path: Path, to: Path) -> Path:
    """A copy with times of its own."""
    shutil.copyfile(path, to)
    return to
