"""How Debian starts a machine: its initramfs-tools find a disk with a squashfs, mount it, and start
the first program on it. QEMU is given the kernel as the package has it, a bzImage."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from toolkit.machine.channels import Channels
from toolkit.machine.qemu import Board, command, find_qemu

_WORD = b"hello from the disk"
_WORDS = "console=ttyS0 quiet panic=-1 root=/dev/vda rootfstype=squashfs ro init=/hello"
_INIT = f"#!/bin/sh\necho {_WORD.decode()}\nexec /bin/busybox poweroff -f\n"


@dataclass(frozen=True)
class InitramfsTools:
    """A kernel, an initramfs with the modules for any computer, and a disk."""

    kernel: Path
    initramfs: Path
    disk: Path

    @classmethod
    def prepare(cls, package: Path, tree: Path, work: Path) -> InitramfsTools:
        """By mkinitramfs in a Debian of its own; `tree` is what is to be on the disk."""
        top = work / "debian"
        packages = "--include=initramfs-tools,kmod,zstd,busybox"
        options = ["--quiet", "--mode=root", "--variant=minbase", packages]
        subprocess.run(["mmdebstrap", *options, "bookworm", top], check=True)
        files = work / "kernel"
        subprocess.run(["dpkg-deb", "-x", package, files], check=True)
        modules = next(files.glob("**/lib/modules"))
        (release,) = (each.name for each in modules.iterdir())
        shutil.move(modules, top / "usr/lib/modules")
        shutil.copytree(files / "boot", top / "boot", dirs_exist_ok=True)
        with (top / "etc/initramfs-tools/modules").open("a") as file:
            file.write("squashfs\n")
        for words in (["depmod", release], ["mkinitramfs", "-o", "/initramfs", release]):
            env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
            subprocess.run(["chroot", top, *words], check=True, env=env)
        kept = cls(work / "bzimage", work / "initramfs-tools", work / "disk.squashfs")
        shutil.copy(top / f"boot/vmlinuz-{release}", kept.kernel)
        shutil.copy(top / "initramfs", kept.initramfs)
        shutil.rmtree(top)
        shutil.rmtree(files)
        (tree / "hello").write_text(_INIT)
        (tree / "hello").chmod(0o755)
        for name in ("dev", "proc", "sys", "run", "root"):
            (tree / name).mkdir(exist_ok=True)
        quiet = ["-quiet", "-no-progress", "-noappend", "-comp", "zstd"]
        subprocess.run(["mksquashfs", tree, kept.disk, *quiet], check=True)
        return kept

    def first_output(self, processors: int) -> float:
        """Seconds until the program on the disk says its word; the machine as `dockerc vm` has it,
        but for what the kernel is told."""
        machine = os.uname().machine
        channels = Channels()
        channels.prepare()
        board = Board(
            machine, 1 << 30, processors, self.kernel, str(self.initramfs), self.disk, network=False
        )
        words = command(find_qemu(machine), board, channels)
        words[words.index("-append") + 1] = _WORDS
        began = time.perf_counter()
        with subprocess.Popen(
            words, pass_fds=channels.descriptors(), stdin=subprocess.DEVNULL
        ) as process:
            channels.started()
            said = b""
            while _WORD not in said:
                part = channels.connection("console").recv(4096)
                assert part, said
                said += part
            seconds = time.perf_counter() - began
            process.kill()
        channels.close()
        return seconds


def is_possible() -> bool:
    """Whether what makes it is there."""
    wanted = ("mmdebstrap", "mksquashfs", "dpkg-deb", "chroot")
    return os.geteuid() == 0 and all(shutil.which(each) for each in wanted)
