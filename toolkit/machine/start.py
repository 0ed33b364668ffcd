"""From an executable and the words of a command line to a machine that runs it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import UnsupportedError
from toolkit.executable.executable import open_executable
from toolkit.executable.payload import config_of
from toolkit.executable.stub import read_stub
from toolkit.files.json_document import Document
from toolkit.images.auth.access import DEFAULT_ACCESS, Access
from toolkit.machine.child import INHERITS
from toolkit.machine.ext4 import overlay_disk
from toolkit.machine.guest import Guest
from toolkit.machine.initramfs import initramfs
from toolkit.machine.kernel import Kernel, Module, find
from toolkit.machine.options import Wanted, wanted
from toolkit.machine.qemu import Board, find_qemu
from toolkit.machine.run import run
from toolkit.machine.terminal import window
from toolkit.squashfs.read.lookup import reading

_DRIVERS = frozenset(("virtio_pci", "virtio_blk", "virtio_console", "overlay", "fuse"))
_MOST_PROCESSORS = 4
"""That a machine has if nobody says how many; it starts the slower the more it has."""
_NOTE = "port {0.inside}/{0.protocol} of the program is port {0.outside} of this machine"


def run_in_machine(
    app: Path,
    words: Sequence[str],
    kernel_name: str | None,
    note: Callable[[str], None],
    access: Access = DEFAULT_ACCESS,
) -> int:
    """Run an executable with options of docker run; returns the program's exit status.

    `note` gets what the user has to know. Raises DockercError.
    """
    with open_executable(app) as executable, reading(str(app)):
        architecture, size = executable.machine, executable.size
        annotations = Document(config_of(executable), "its config.json").text_map("annotations")
    if architecture is None:
        raise UnsupportedError(f"{app}: its runtime is of no architecture that a machine has")
    given = wanted(str(app), words, annotations)
    qemu = find_qemu(architecture)
    kernel = find(kernel_name, architecture, access)
    modules = _modules(kernel, given)
    guest = _guest(app, size, given)
    guest.processors = given.processors or min(os.cpu_count() or 1, _MOST_PROCESSORS)
    guest.modules = [each.name for each in modules]
    for forward in given.forwards:
        if forward.was_chosen:
            note(_NOTE.format(forward))
    overlay = Path(given.overlay).resolve() if given.overlay else None
    if overlay:
        overlay_disk(overlay)
    archive = initramfs(read_stub(architecture), modules, guest.encode(), given.shares.files)
    with _file(archive) as (path, descriptors):
        board = Board(
            architecture=architecture,
            memory=given.memory,
            processors=guest.processors,
            kernel=kernel.image,
            initramfs=path,
            payload=app,
            shares=given.shares.directories,
            network=given.network,
            overlay=overlay,
            forwards=[each.rule() for each in given.forwards],
            descriptors=descriptors,
            debug=_is_debug(),
        )
        return run(qemu, board, guest)


def _modules(kernel: Kernel, given: Wanted) -> Sequence[Module]:
    """Of the drivers that this run needs; raises UnsupportedError where the kernel lacks one."""
    drivers = set(_DRIVERS)
    if given.network:
        drivers.add("virtio_net")
    if given.shares.directories:
        drivers |= {"9p", "9pnet_virtio"}
    if given.overlay:
        drivers.add("ext4")
    if missing := sorted(drivers & kernel.lacks):
        what = {"9p": "-v", "ext4": "--overlay"}.get(missing[0], "this run")
        raise UnsupportedError(
            f"the kernel {kernel.release} lacks {', '.join(missing)}, which {what} needs; give"
            " another by --kernel"
        )
    return kernel.modules_for(drivers)


def _guest(app: Path, size: int, given: Wanted) -> Guest:
    size_of_window = window()
    variables = list(given.variables)
    if level := os.environ.get("DOCKERC_LOG"):
        variables.append(f"DOCKERC_LOG={level}")
    return Guest(
        token=secrets.token_hex(16),
        size=size,
        arguments=[app.name, *given.first, *given.words, "--", *given.arguments],
        variables=variables,
        shares=given.shares.directories,
        files=bool(given.shares.files),
        network=given.network,
        overlay=bool(given.overlay),
        window=size_of_window,
        errors_are_terminal=size_of_window is not None and os.isatty(2),
    )


def _is_debug() -> bool:
    return os.environ.get("DOCKERC_LOG") == "debug"


@contextmanager
def _file(content: bytes) -> Iterator[tuple[str, list[int]]]:
    """A file for QEMU to read, and what it inherits for that: no name of it is left behind."""
    if not INHERITS:
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
