"""Replacing the runtime stub: the same payload, to the byte, under another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from toolkit.errors import DockercError, RefusedError, UnsupportedError, about
from toolkit.executable.elf import HEADER_SIZE, LIEF_IS_MISSING, ElfProbe, elf_machine, has_lief
from toolkit.executable.executable import (
    Executable,
    FooterFields,
    copy_payload,
    open_executable,
    write_executable,
)
from toolkit.executable.integrity import Integrity
from toolkit.executable.payload import config_of, config_text, filesystem_of, rootfs_of
from toolkit.executable.stub import (
    ARCHITECTURES,
    pinned_key,
    read_stub,
    stub_machine,
    with_pinned_key,
)
from toolkit.files.regular import read_regular
from toolkit.limits import MAX_STUB
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.lookup import reading

_ARCHITECTURE = "org.opencontainers.image.architecture"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_USUAL = ("/bin/sh", "/usr/bin/env", "/bin/busybox")


def replace_stub(
    path: Path, new: Path, *, architecture: str | None = None, runtime: Path | None = None
) -> list[str]:
    """Write `new`: the payload of `path` and its footer's demands under another stub.

    That is ours of the payload's architecture, of `architecture` (amd64, arm64) when given, or the
    file `runtime`. `new` may be `path` itself, whose mode, owner and times then stay. Returns what
    the user should be told. Raises DockercError when the parts of the
    executable are for different architectures and none was given.
    """
    if runtime and new.exists() and runtime.exists() and new.samefile(runtime):
        raise RefusedError(f"{new} is the runtime itself; give another name")
    with open_executable(path) as executable:
        witnesses = dict(_witnesses(executable))
        warnings = []
        kept = executable.kept()
        if kept.block is None and executable.is_signed:
            warnings.append(
                f"{path}: its signed block is malformed; there is a new one, without signatures"
            )
        if architecture:
            machine = stub_machine(architecture)
            for witness, other in witnesses.items():
                if other != machine:
                    warnings.append(f"{path}: {witness} is for {other}, its new runtime {machine}")
        else:
            machine = _agreed(path, witnesses)
        stub = _foreign_stub(runtime, machine) if runtime else read_stub(machine)
        key = pinned_key(executable.stub(MAX_STUB))
        if key is not None:
            with about(f"{path}: its runtime is pinned to a key"):
                stub = with_pinned_key(stub, key)

        def write_payload(file: BinaryIO) -> FooterFields:
            copy_payload(executable, file)
            integrity = Integrity(config_text(executable), kept=kept)
            return FooterFields(executable.footer.require_mapped_uids, integrity)

        in_place = new.exists() and new.samefile(path)
        status = os.fstat(executable.file.fileno())
        # One that nobody may execute, as a download is, gets its mode from us.
        like = status if in_place and status.st_mode & 0o111 else None
        # It can be made again.
        file = executable.file
        write_executable(new, stub, write_payload, sync=False, like=like, source=file)
    return warnings


def _agreed(path: Path, witnesses: dict[str, str]) -> str:
    machines = set(witnesses.values())
    choices = " or ".join(ARCHITECTURES)
    if not machines:
        raise DockercError(f"{path}: nothing in it tells its architecture; say --arch {choices}")
    if len(machines) > 1:
        told = ", ".join(f"{witness} is for {machine}" for witness, machine in witnesses.items())
        raise DockercError(f"{path}: {told}; say --arch {choices}")
    return machines.pop()


def _witnesses(executable: Executable) -> Iterator[tuple[str, str]]:
    """What in the file is for which machine."""
    if executable.machine:
        yield "its runtime", executable.machine
    with reading(str(executable.path)):
        config = config_of(executable)
        annotations = config.get("annotations")
        named = annotations.get(_ARCHITECTURE) if isinstance(annotations, dict) else None
        if named in ARCHITECTURES:
            yield "its config.json", stub_machine(named)
        if machine := _program_machine(filesystem_of(executable), config):
            yield "its program", machine


def _program_machine(filesystem: Filesystem, config: dict[str, Any]) -> str | None:
    """The machine of the first program of the payload that is an ELF file."""
    top = rootfs_of(filesystem)
    for name in _programs(config):
        node = filesystem.find(name.encode("utf-8", "surrogateescape"), top)
        if node is not None and node.is_file:
            first = next((c.data for c in filesystem.content(node) if c.data), b"")
            if machine := elf_machine(first[:HEADER_SIZE]):
                return machine
    return None


def _programs(config: dict[str, Any]) -> Iterator[str]:
    """Where the container's program may be, then where others usually are."""
    process = config.get("process")
    process = process if isinstance(process, dict) else {}
    words = process.get("args")
    if isinstance(words, list) and words and isinstance(words[0], str):
        if "/" in words[0]:
            yield words[0]
        else:
            env = process.get("env")
            paths = [e[5:] for e in env if str(e).startswith("PATH=")] if env else []
            for directory in (paths[0] if paths else _PATH).split(":")[:50]:
                yield f"{directory}/{words[0]}"
    yield from _USUAL


def _foreign_stub(path: Path, machine: str) -> bytes:
    """The file's bytes; raises DockercError unless it is a static program for that machine."""
    with about(str(path)):
        data = read_regular(path, MAX_STUB, "runtime")
    if not has_lief():
        raise DockercError(f"{path}: cannot check that it is a runtime: {LIEF_IS_MISSING}")
    facts = ElfProbe(data).result()
    if facts is None or not facts.is_executable:
        raise UnsupportedError(f"{path}: no runtime: it is not an ELF program")
    if not facts.is_static:
        raise UnsupportedError(f"{path}: no runtime: it is linked dynamically; link it statically")
    if facts.machine != machine:
        raise DockercError(f"{path}: it is for {facts.machine}, the payload for {machine}")
    return data
