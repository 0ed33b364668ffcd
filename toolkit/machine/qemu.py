"""QEMU's command line for a machine (qemu(1))."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.errors import AbsentError
from toolkit.machine.channels import Channels
from toolkit.machine.guest import Share

_PLACES = {
    "darwin": ("/opt/homebrew/bin", "/usr/local/bin"),
    "win32": (r"C:\Program Files\qemu",),
}
"""Where installers put it without telling PATH."""
_PACKAGES = {
    "darwin": "`brew install qemu`",
    "win32": "`winget install SoftwareFreedomConservancy.QEMU`",
}
_ACCELERATORS = {"linux": "kvm", "darwin": "hvf", "win32": "whpx"}
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
_BOARDS = {
    "x86_64": "q35,smm=off,vmport=off,hpet=off,sata=off,smbus=off,usb=off,graphics=off",
    "aarch64": "virt",
}
"""Without what the machine does not need. microvm starts no faster with a kernel as distributions
build it, and not with every one."""
_QUICK_FIRMWARE = "qboot.rom"
"""Does nothing but what a kernel needs; QEMU brings it since 5.1 for boards of its own."""
_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""QEMU's filter of its own system calls: a program that breaks out of its machine into QEMU starts
no other."""
_KERNEL_WORDS = (
    # Ends at once if it cannot go on.
    "panic=-1",
    # The runtime has the others started, once the kernel changes less of its own code, of which
    # each is to be told (runtimes/src/machine/processors.zig).
    "maxcpus=1",
    # In the machine there is nobody whom these would protect from anybody else in it.
    "mitigations=off nokaslr lsm=landlock audit=0 arm64.nopauth",
    # Looks for nothing, and tests nothing, that QEMU's hardware has not.
    "no_timer_check tsc=reliable cryptomgr.notests edd=off 8250.nr_uarts=1 i8042.noaux"
    " i8042.nokbd rcupdate.rcu_expedited=1 raid=noautodetect",
)
"""Emulated, a kernel takes half of the time with these."""
_OWN_WORDS = {
    # Changes no code when the second processor comes, and does not measure how long 10 ms are of
    # each: QEMU's hardware needs no exact delays.
    "x86_64": "noreplace-smp lpj=10000000",
    "aarch64": "",
}
"""Of a kernel for one architecture."""


@dataclass(frozen=True)
class Board:
    """The hardware of a machine."""

    architecture: str
    memory: int
    """Bytes."""
    processors: int
    kernel: Path
    initramfs: str
    """A path, as QEMU is to open it."""
    payload: Path
    shares: Sequence[Share] = ()
    forwards: Sequence[str] = field(default_factory=tuple)
    """QEMU's `hostfwd` rules."""
    network: bool = True
    overlay: Path | None = None
    descriptors: Sequence[int] = ()
    """What QEMU inherits beside its channels."""
    debug: bool = False
    sandbox: bool = True
    """Whether QEMU is to filter its own system calls, which not every one can."""


def find_qemu(architecture: str) -> str:
    """The program; raises AbsentError with what to install."""
    name = f"qemu-system-{architecture}"
    places = [os.environ.get("PATH", os.defpath), *_PLACES.get(sys.platform, ())]
    if found := shutil.which(name, path=os.pathsep.join(places)):
        return found
    debian = "x86" if architecture == "x86_64" else "arm"
    how = _PACKAGES.get(sys.platform, f"package qemu-system-{debian} in Debian and Ubuntu")
    raise AbsentError(f"{name} is not installed ({how})")


def command(qemu: str, board: Board, channels: Channels) -> list[str]:
    """The words that start it."""
    words = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-machine", _BOARDS[board.architecture], "-cpu", "max"]
    if board.architecture == "x86_64" and _has_quick_firmware(qemu):
        words += ["-bios", _QUICK_FIRMWARE]
    if board.sandbox and sys.platform == "linux":
        words += ["-sandbox", _SANDBOX]
    # The first that works is taken.
    for accelerator in _accelerators(board.architecture):
        words += ["-accel", accelerator]
    words += ["-m", f"{-(-board.memory >> 20)}M", "-smp", str(board.processors)]
    words += ["-kernel", str(board.kernel), "-initrd", board.initramfs]
    console = _CONSOLES[board.architecture]
    quiet = [] if board.debug else ["quiet"]
    own = _OWN_WORDS[board.architecture]
    words += ["-append", " ".join([f"console={console}", *quiet, *_KERNEL_WORDS, own])]
    words += [*channels.arguments(), "-serial", "chardev:console"]
    words += ["-device", "virtio-serial-pci"]
    for number, name in enumerate(("control", "stdin", "stdout", "stderr"), 1):
        words += ["-device", f"virtserialport,chardev={name},nr={number},name=dockerc.{name}"]
    words += _disk("payload", board.payload, read_only=True)
    if board.overlay:
        words += _disk("overlay", board.overlay, read_only=False)
    if board.network:
        forwards = "".join(f",hostfwd={rule}" for rule in board.forwards)
        words += ["-netdev", f"user,id=net{forwards}"]
        words += ["-device", "virtio-net-pci,netdev=net,romfile="]
    for share in board.shares:
        words += _share(share)
    return words


def _has_quick_firmware(qemu: str) -> bool:
    """Whether it is where this QEMU looks for its files: as seen from the program."""
    own = Path(os.path.realpath(qemu)).parent
    places = [own, own / "share", own.parent / "share/qemu"]
    return any((place / _QUICK_FIRMWARE).is_file() for place in places)


def _accelerators(architecture: str) -> list[str]:
    import platform

    own = {"AMD64": "x86_64", "arm64": "aarch64", "ARM64": "aarch64"}
    machine = platform.machine()
    if own.get(machine, machine) != architecture or not _has_virtualization(machine):
        return ["tcg"]
    return [_ACCELERATORS[sys.platform], "tcg"] if sys.platform in _ACCELERATORS else ["tcg"]


def _has_virtualization(machine: str) -> bool:
    """On Linux: whether the processor has what KVM is made for. A KVM without it, as inside of some
    virtual machines, takes any kernel and boots only few."""
    if sys.platform != "linux" or machine != "x86_64":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return re.search(r"^flags\s*:.*\b(vmx|svm)\b", flags, re.MULTILINE) is not None


def _disk(name: str, path: Path, *, read_only: bool) -> list[str]:
    node = {
        "driver": "raw",
        "node-name": name,
        "read-only": read_only,
        "file": {"driver": "file", "filename": str(path)},
    }
    # Without werror, a disk of this computer that is full would stop the machine.
    device = f"virtio-blk-pci,drive={name},serial={name},werror=report"
    return ["-blockdev", json.dumps(node), "-device", device]


def _share(share: Share) -> list[str]:
    path = share.path.replace(",", ",,")
    mode = ",readonly=on" if share.read_only else ""
    return [
        *("-fsdev", f"local,id={share.tag},path={path},security_model=none{mode}"),
        *("-device", f"virtio-9p-pci,fsdev={share.tag},mount_tag={share.tag}"),
    ]
