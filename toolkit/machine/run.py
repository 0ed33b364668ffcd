"""A run of an executable in a machine of its own: QEMU, started and waited for."""

from __future__ import annotations

import re
import socket
import subprocess
from contextlib import ExitStack, nullcontext
from dataclasses import replace

from toolkit.errors import DockercError
from toolkit.machine.channels import Channels
from toolkit.machine.child import start
from toolkit.machine.guest import Guest
from toolkit.machine.qemu import Board, command
from toolkit.machine.relay import Control, Exit, Output, make_binary, send_input
from toolkit.machine.signals import passing_signals
from toolkit.machine.tail import Tail
from toolkit.machine.terminal import raw_terminal

_OLDEST = (6, 0)
"""The first QEMU that takes all words of a machine's command line."""
_SANDBOX = re.compile(r"-sandbox|seccomp")
_PATIENCE = 5
"""Seconds."""


class _NoSandboxError(Exception):
    """This QEMU was built without it, or the kernel refuses it."""


class MachineError(DockercError):
    """The machine failed, and not the program in it: docker's exit status for that."""

    exit_status = 125


def run(qemu: str, board: Board, guest: Guest) -> int:
    """Boot the machine, connect the caller's streams with the program's, and return its status.

    Raises MachineError where the machine ends before the program has.
    """
    try:
        return _run(qemu, board, guest)
    except _NoSandboxError:
        return _run(qemu, replace(board, sandbox=False), guest)


def _run(qemu: str, board: Board, guest: Guest) -> int:
    with ExitStack() as stack:
        channels = Channels()
        stack.callback(channels.close)
        channels.prepare()
        words = command(qemu, board, channels)
        descriptors = [*channels.descriptors(), *board.descriptors]
        process = stack.enter_context(_started(words, descriptors))
        channels.started()
        assert process.stderr
        errors = Tail(process.stderr.read1)  # type: ignore[attr-defined]
        console = Tail(channels.connection("console").recv, board.debug)
        # Only the machine's first process knows the token.
        is_up = _has_token(channels.connection("control"), guest.token)
        ended = _relay(stack, channels, guest) if is_up else None
        if ended is None:
            status = _status_of(process)
            # Later the program has had its say, and must not get rid of the sandbox.
            if not is_up and board.sandbox and any(map(_SANDBOX.search, errors.lines())):
                raise _NoSandboxError
            raise MachineError(_why(qemu, status, errors, console))
        process.kill()
        return ended.status


class _started:
    """QEMU, which is ended with the block."""

    def __init__(self, words: list[str], descriptors: list[int]) -> None:
        self._process = start(words, descriptors)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def _status_of(process: subprocess.Popen[bytes]) -> int:
    """QEMU's own, if it is about to end: its ports are closed a moment before."""
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _relay(stack: ExitStack, channels: Channels, guest: Guest) -> Exit | None:
    """Until the program has ended and all that it wrote is the caller's."""
    streams = [channels.connection(name) for name in ("stdin", "stdout", "stderr")]
    if not all(_has_token(each, guest.token) for each in streams):
        return None
    lines = Control(channels.connection("control"))
    outputs = [Output(streams[number], number, lines) for number in (1, 2)]
    signals = passing_signals(lambda number: lines.tell(f"signal {number}"), lines.tell_window)
    with signals, raw_terminal() if guest.window else nullcontext():
        make_binary()
        for output in outputs:
            output.start()
        send_input(streams[0], lines)
        ended = lines.wait_for_exit()
        if ended:
            for output, count in zip(outputs, ended.written, strict=True):
                output.wait_for(count)
    return ended


def _has_token(connection: socket.socket, token: str) -> bool:
    wanted = token.encode()
    data = b""
    while len(data) < len(wanted):
        try:
            part = connection.recv(len(wanted) - len(data))
        except OSError:
            return False
        if not part:
            return False
        data += part
    return data == wanted


def _why(qemu: str, status: int, errors: Tail, console: Tail) -> str:
    """A sentence for the end of a machine."""
    if told := console.sentence():
        return told
    if any("virtio-9p" in line or "fsdev" in line for line in errors.lines()):
        return "this QEMU has no virtio-9p, by which -v shares directories with a machine"
    if any('"write" lock' in line for line in errors.lines()):
        return "the disk of --overlay is in use by another machine"
    if found := _too_old(qemu):
        return (
            f"QEMU {found} is too old for a machine; {_OLDEST[0]}.{_OLDEST[1]} or newer is needed"
        )
    lines = errors.lines() or [line for line in console.lines() if "panic" in line]
    how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return f"the machine ended before the program did (QEMU: {how})" + (
        f": {lines[0]}" if lines else ""
    )


def _too_old(qemu: str) -> str:
    """QEMU's version, if that can be why it failed; else empty."""
    try:
        done = subprocess.run([qemu, "--version"], capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    match = re.search(rb"version (([0-9]{1,4})\.([0-9]{1,4})[0-9.]*)", done.stdout)
    if match is None or (int(match[2]), int(match[3])) >= _OLDEST:
        return ""
    return match[1].decode()
