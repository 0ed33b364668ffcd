"""Programs in machines of their own, beside QEMU that boots the same kernel and nothing more, and
beside the start that Debian's initramfs-tools make.

Wants a kernel, a package of Debian, in $DOCKERC_KERNEL, and is skipped without one.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, note
from initramfs_tools import InitramfsTools, is_possible

from toolkit.machine.channels import Channels
from toolkit.machine.kernel import find
from toolkit.machine.qemu import Board, command, find_qemu
from toolkit.machine.tail import Tail

ROUNDS = 5
_BARS = {"tiny": 3.0, "python": 6.0}
"""Seconds to the first output, emulated."""
_PROGRAMS = {"tiny": ["--help"], "python": ["python3", "-c", "print('hi')"]}
_END_BAR = 0.5
_PROCESSORS = 2


@dataclass(frozen=True)
class Run:
    """Seconds to the first byte of output, and from there to the end."""

    first: float
    end: float


def bench_vm(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print the seconds to a program's first output and to the machine's end."""
    kernel = os.environ.get("DOCKERC_KERNEL")
    if kernel is None:
        print("vm: no $DOCKERC_KERNEL, skipped")
        return
    floor = statistics.median(_boot(kernel, work) for _ in range(ROUNDS))
    for name in _PROGRAMS:
        app = work / f"{name}.app"
        subprocess.run([dockerc, "build", "-q", f"oci:{images[name]}", "-o", app], check=True)
    _bench_debian(Path(kernel), work, dockerc)
    for name, words in _PROGRAMS.items():
        app = work / f"{name}.app"
        runs = [_run(dockerc, app, words) for _ in range(ROUNDS)]
        first = statistics.median(run.first for run in runs)
        end = statistics.median(run.end for run in runs)
        print(note(Figure(f"{name}, first output", "vm", "kernel alone", "s", first, floor)))
        for subject, value, bar in (
            (f"{name}, first output", first, _BARS[name]),
            (f"{name}, then to its end", end, _END_BAR),
        ):
            print(note(Figure(subject, "vm", "bar", "s", value, bar, 1.0)))


def _bench_debian(kernel: Path, work: Path, dockerc: str) -> None:
    """In turns, for both depend on what else the computer does."""
    if not is_possible() or kernel.suffix != ".deb":
        print("vm: no root, mmdebstrap or package of a kernel: no start by initramfs-tools")
        return
    app, tree = work / "tiny.app", work / "tiny.tree"
    subprocess.run([dockerc, "extract", app, "--rootfs", tree], check=True)
    rival = InitramfsTools.prepare(kernel, tree, work)
    runs = [
        (
            _run(dockerc, app, _PROGRAMS["tiny"], "--cpus", str(_PROCESSORS)).first,
            rival.first_output(_PROCESSORS),
        )
        for _ in range(ROUNDS)
    ]
    ours, theirs = (statistics.median(each) for each in zip(*runs, strict=True))
    print(note(Figure("tiny, first output", "vm", "initramfs-tools", "s", ours, theirs)))


def _run(dockerc: str, app: Path, words: list[str], *options: str) -> Run:
    began = time.perf_counter()
    process = subprocess.Popen(
        [dockerc, "vm", app, *options, "--", *words],
        # Python's compiled modules are kept, as where it was installed.
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    process.stdout.read(1)
    first = time.perf_counter()
    process.stdout.read()
    process.wait()
    return Run(first - began, time.perf_counter() - first)


def _boot(kernel: str, work: Path) -> float:
    """Until the kernel finds no first process in an empty initramfs, and ends the machine."""
    machine = platform.machine()
    found = find(kernel, machine)
    archive = work / "initramfs"
    archive.write_bytes(bytes(512))
    channels = Channels()
    channels.prepare()
    board = Board(machine, 1 << 30, _PROCESSORS, found.image, str(archive), archive, network=False)
    words = command(find_qemu(machine), board, channels)
    began = time.perf_counter()
    process = subprocess.Popen(
        words, pass_fds=channels.descriptors(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    channels.started()
    Tail(channels.connection("console").recv)
    process.wait(60)
    seconds = time.perf_counter() - began
    channels.close()
    return seconds
