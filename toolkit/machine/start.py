"""From an executable and the words of a command line to a machine that runs it."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import UnsupportedError
from toolkit.executable.executable import open_executable
from toolkit.executable.stub import read_stub
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.machine.guest import Guest
from toolkit.machine.initramfs import initramfs
from toolkit.machine.kernel import Kernel, find
from toolkit.machine.options import Wanted
from toolkit.machine.qemu import Board, find_qemu
from toolkit.machine.run import run
from toolkit.machine.terminal import window

_DRIVERS = {"virtio_pci", "virtio_blk", "virtio_console", "overlay", "fuse"}


def run_in_machine(
    app: Path, wanted: Wanted, kernel_name: str | None, access: Access = DEFAULT_ACCESS
) -> int:
    """Run an executable; returns the program's exit status. Raises DockercError."""
    with open_executable(app) as executable:
        architecture, size = executable.machine, executable.size
    if architecture is None:
        raise UnsupportedError(f"{app}: its runtime is of no architecture that a machine has")
    qemu = find_qemu(architecture)
    kernel = find(kernel_name, architecture, access)
    modules = kernel.modules_for(_DRIVERS | ({"virtio_net"} if wanted.network else set()))
    size_of_window = window()
    guest = Guest(
        token=secrets.token_hex(16),
        size=size,
        arguments=[app.name, *wanted.words, "--", *wanted.arguments],
        variables=wanted.variables,
        modules=[each.name for each in modules],
        network=wanted.network,
        window=size_of_window,
        errors_are_terminal=size_of_window is not None and os.isatty(2),
    )
    archive = initramfs(read_stub(architecture), modules, guest.encode())
    with _file(archive) as (path, descriptors):
        board = Board(
            architecture=architecture,
            memory=wanted.memory,
            processors=wanted.processors,
            kernel=kernel.image,
            initramfs=path,
            payload=app,
            network=wanted.network,
            forwards=wanted.forwards,
            descriptors=descriptors,
            debug=os.environ.get("DOCKERC_LOG") == "debug",
        )
        return run(qemu, board, guest)


@contextmanager
def _file(content: bytes) -> Iterator[tuple[str, list[int]]]:
    """A file for QEMU to read, and what it inherits for that: no name of it is left behind."""
    if sys.platform == "win32":
        with tempfile.TemporaryDirectory(prefix="dockerc-") as directory:
            path = Path(directory) / "initramfs"
            path.write_bytes(content)
            yield str(path), []
        return
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        file.seek(0)
        yield f"/dev/fd/{file.fileno()}", [file.fileno()]
