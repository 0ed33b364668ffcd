"""Machines of executables, as `dockerc vm` starts them, with kernels of Debian."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernel_support import debian_kernel
from support import TOOL, need

CLOUD = ("bookworm", "amd64", "linux-image-cloud-amd64")
"""The smallest; it lacks 9p."""
GENERIC = ("bookworm", "amd64", "linux-image-amd64")
ARM64 = ("bookworm", "arm64", "linux-image-cloud-arm64")


def kernel(which: tuple[str, str, str] = CLOUD) -> Path:
    """The package of a kernel; skips where QEMU is missing."""
    need("qemu-system-aarch64" if which[1] == "arm64" else "qemu-system-x86_64")
    return debian_kernel(*which)


def command(app: Path, *words: str | Path, which: tuple[str, str, str] = CLOUD) -> list[str]:
    """The command line of a machine for `app`."""
    return [*TOOL, "vm", "--kernel", str(kernel(which)), str(app), *map(str, words)]


def run(
    app: Path,
    *words: str | Path,
    which: tuple[str, str, str] = CLOUD,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """Run it to its end; output is text unless `text` says otherwise."""
    options = {"text": True, "timeout": 240, "capture_output": True} | options
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    env = {**os.environ, **(environment or {})}
    return subprocess.run(command(app, *words, which=which), env=env, **options)


def machines(parent: int) -> list[int]:
    """Processes of QEMU that are children of a process, and no zombies."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (directory / "stat").read_text().rpartition(") ")
        except OSError:
            continue
        state, mother = rest.split()[:2]
        if "(qemu-system" in name and state != "Z" and int(mother) == parent:
            found.append(int(directory.name))
    return found
