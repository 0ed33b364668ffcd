"""QEMU as a child that does not outlive this process, whatever ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

INHERITS = hasattr(os, "fork")
"""Whether a child can inherit descriptors by their numbers: on Windows it cannot."""


def start(words: Sequence[str], descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start QEMU, with these descriptors; its messages are to be read from `stderr`.

    It has a session of its own: keys of the terminal are the program's. The machine switches
    itself off when its control port is closed; on Linux the kernel ends QEMU at once.
    """
    if not INHERITS:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
        preexec_fn=_end_with_parent(),
    )


def _end_with_parent() -> Callable[[], None] | None:
    """prctl(PR_SET_PDEATHSIG), which only Linux has."""
    if sys.platform != "linux":
        return None
    import ctypes

    set_parent_death_signal, kill = 1, 9
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(set_parent_death_signal, kill, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
