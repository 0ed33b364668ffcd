"""A payload's tree with a shell in it, mounted by us or by the kernel."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import ORDINARY

_LOOP = 'while read -r line; do eval "$line"; echo done; done'


class Tree:
    """A shell whose root is the tree; /mnt in it is a directory of the benchmark's."""

    def __init__(self, process: subprocess.Popen[bytes], wait: float) -> None:
        self._process = process
        self.run(":", wait)

    def run(self, command: str, wait: float = 0) -> float:
        """Seconds that a command of the shell takes, after `wait` of them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        start = time.perf_counter()
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said == b"done\n", said
        took = time.perf_counter() - start
        time.sleep(wait)
        return took


def drop_caches() -> None:
    """All that the kernel has cached of files and directories."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def ours(app: Path, lists: Path) -> Iterator[Tree]:
    """Our executable, started by an ordinary user."""
    command: list[str | Path] = [
        app,
        "-v",
        f"{lists}:/mnt",
        "--entrypoint",
        "sh",
        "--",
        "-c",
        _LOOP,
    ]
    with _shell(command, ORDINARY.identity()) as tree:
        yield tree


@contextmanager
def kernel(squashfs: Path, lists: Path) -> Iterator[Tree]:
    """The kernel's squashfs on a loop device and overlayfs, which only root can have."""
    script = f"""set -e
    mount -t tmpfs tmpfs /mnt; cd /mnt; mkdir lower upper work root
    mount -t squashfs -o ro,loop {squashfs} lower
    mount -t overlay -o lowerdir=lower/rootfs,upperdir=upper,workdir=work overlay root
    mount --bind {lists} root/mnt; mount --bind /dev root/dev
    exec chroot root sh -c '{_LOOP}'"""
    with _shell(["unshare", "-m", "sh", "-c", script], {}) as tree:
        yield tree


@contextmanager
def _shell(command: list[str | Path], identity: dict[str, object]) -> Iterator[Tree]:
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **identity,  # type: ignore[call-overload]
    ) as process:
        # What a start leaves to be done in the background is not the reader's.
        yield Tree(process, wait=0.3)
        process.stdin.close()
        process.wait()
