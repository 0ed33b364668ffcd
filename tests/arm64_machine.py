"""An arm64 machine with one of Debian's own kernels, emulated by qemu-system.

It boots from an initramfs of busybox and the kernel's modules, with an ext4 disk on /disk.
On it are the executables and the commands to run; what they print comes back over the console.
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

MODULES = ("virtio_pci", "virtio_blk", "ext4", "fuse", "overlay")
_INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {" ".join(MODULES)}; do modprobe $module; done
mount -t ext4 /dev/vda /disk; mount -t tmpfs tmp /tmp
mkdir -p /disk/home /disk/tmp; chown 1000:1000 /disk/home
chmod 1777 /tmp /disk/tmp; chmod 666 /dev/fuse
ln -s /disk/tmp /var/tmp
sh /disk/jobs
poweroff -f
"""
_DIRECTORIES = (
    "proc",
    "sys",
    "dev",
    "tmp",
    "disk",
    "etc",
    "root",
    "sbin",
    "usr/bin",
    "usr/sbin",
    "var",
)


@dataclass(frozen=True)
class Answer:
    """What a command printed, standard error included, and its exit status."""

    output: str
    status: int


def debian(directory: Path, suite: str, *packages: str) -> Path:
    """A kernel and a few more of Debian's packages, unpacked into a tar; nothing of them is run."""
    tar = directory / "arm64.tar"
    wanted = ",".join(["busybox-static", "base-files", "bash", "coreutils", "grep", *packages])
    options = ["--quiet", "--arch=arm64", "--variant=extract", f"--include={wanted}"]
    subprocess.run(["mmdebstrap", *options, suite, tar], check=True)
    return tar


def layer(system: Path) -> bytes:
    """What `debian` made, without the kernel, as an image's layer."""
    made = io.BytesIO()
    with tarfile.open(system) as archive, tarfile.open(fileobj=made, mode="w") as small:
        for member in archive:
            if not re.match(r"\./(boot|(usr/)?lib/modules|var/cache)", member.name):
                small.addfile(member, archive.extractfile(member) if member.isreg() else None)
    return made.getvalue()


def run(system: Path, apps: Path, commands: list[tuple[str, str]], timeout: float) -> list[Answer]:
    """Boot with the files of `apps` on /disk, and run commands, each as the user it is told with.

    `system` is the tar that `debian` made. Raises CalledProcessError or TimeoutExpired.
    """
    work = apps.parent / "machine"
    work.mkdir()
    kernel = _initramfs(system, work)
    jobs = []
    for user, command in commands:
        started = command if user == "root" else f"su {user} -c {shlex.quote(command)}"
        jobs.append(f"{started} </dev/null; status=$?; echo; echo '###' $status\n")
    (apps / "jobs").write_text("".join(jobs))
    disk = work / "disk"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", apps, disk, "512M"], check=True)
    machine = ["qemu-system-aarch64", "-M", "virt", "-cpu", "max", "-smp", "2", "-m", "1024"]
    boot = [
        "-kernel",
        kernel,
        "-initrd",
        work / "initrd",
        "-append",
        "console=ttyAMA0 quiet panic=-1",
    ]
    devices = ["-drive", f"file={disk},if=virtio,format=raw", "-nic", "none", "-nographic"]
    done = subprocess.run(
        [*machine, *boot, *devices, "-no-reboot"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=True,
    )
    # A console that a program has written to directly may add one more.
    console = re.sub(r"\r+\n", "\n", done.stdout.decode(errors="replace"))
    parts = re.split(r"\n### (\d+)\n", console)
    return [Answer(*pair) for pair in zip(parts[0::2], map(int, parts[1::2]), strict=False)]


def _initramfs(system: Path, work: Path) -> Path:
    """Writes `initrd`; returns the kernel."""
    root, whole = work / "root", work / "whole"
    for directory in _DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    whole.mkdir()
    with tarfile.open(system) as archive:
        for member in archive:
            if re.match(r"\./(boot/vmlinuz-|(usr/)?lib/modules/)", member.name):
                member.name = member.name.replace("./usr/lib", "./lib")
                archive.extract(member, whole, filter="data")
            elif re.fullmatch(r"\./(usr/)?bin/busybox", member.name):
                (root / "bin").mkdir()
                content = archive.extractfile(member)
                assert content
                (root / "bin" / "busybox").write_bytes(content.read())
                (root / "bin" / "busybox").chmod(0o755)
    (kernel,) = (whole / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    subprocess.run(["depmod", "-b", whole, release], check=True)
    _modules(whole, root, release)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/disk/home:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    pack = f"find . | cpio -o -H newc --quiet | gzip -1 >{work}/initrd"
    subprocess.run(["sh", "-c", pack], cwd=root, check=True)
    return kernel


def _modules(whole: Path, root: Path, release: str) -> None:
    """Copies those that are loaded, and what they need: all of them are hundreds of megabytes."""
    shown = subprocess.run(
        ["modprobe", "-a", "-d", whole, "-S", release, "--show-depends", *MODULES],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for known in (whole / "lib/modules" / release).glob("modules.[bo]*"):
        (root / "lib/modules" / release).mkdir(parents=True, exist_ok=True)
        shutil.copy(known, root / known.relative_to(whole))
    for line in shown.stdout.splitlines():
        word, _, path = line.strip().partition(" ")
        if word == "insmod":
            source = Path(path.strip())
            target = root / source.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    subprocess.run(["depmod", "-b", root, release], check=True)
