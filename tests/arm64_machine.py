"""An arm64 machine with Debian's own kernel, emulated by qemu-system.

It boots from an initramfs of busybox and the kernel's modules, with an ext4 disk on /disk.
On it are the executables and the commands to run; what they print comes back over the console.
"""

from __future__ import annotations

import re
import shlex
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


def debian(directory: Path) -> Path:
    """A few of Debian's packages for arm64, unpacked into a tar; nothing of them is run."""
    tar = directory / "arm64.tar"
    packages = "linux-image-cloud-arm64,busybox-static,base-files,bash,coreutils,grep"
    options = ["--quiet", "--arch=arm64", "--variant=extract", f"--include={packages}"]
    subprocess.run(["mmdebstrap", *options, "bookworm", tar], check=True)
    return tar


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
    console = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    parts = re.split(r"\n### (\d+)\n", console)
    return [Answer(*pair) for pair in zip(parts[0::2], map(int, parts[1::2]), strict=False)]


def _initramfs(system: Path, work: Path) -> Path:
    """Writes `initrd`; returns the kernel."""
    root = work / "root"
    for directory in _DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    with tarfile.open(system) as archive:
        for member in archive:
            if member.name.startswith("./boot/vmlinuz-"):
                release = member.name.removeprefix("./boot/vmlinuz-")
                archive.extract(member, work, filter="data")
            elif member.name == "./bin/busybox" or member.name.startswith("./lib/modules/"):
                archive.extract(member, root, filter="data")
    subprocess.run(["depmod", "-b", root, release], check=True)
    (root / "etc" / "passwd").write_text(
        "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/disk/home:/bin/sh\n"
    )
    (root / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\n")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    pack = f"find . | cpio -o -H newc --quiet | gzip -1 >{work}/initrd"
    subprocess.run(["sh", "-c", pack], cwd=root, check=True)
    return work / "boot" / f"vmlinuz-{release}"
