"""What a stub is: told by its first bytes, or by lief, in a process that cannot stay."""

from __future__ import annotations

import os
import signal
import struct
import sys
from pathlib import Path

import pytest

from toolkit.executable import elf
from toolkit.executable.elf import HEADER_SIZE, ElfFacts, ElfProbe, elf_machine
from toolkit.executable.stub import read_stub

HEADER = b"\x7fELF\x02\x01".ljust(18, b"\0")


@pytest.mark.parametrize(
    ("header", "machine"),
    [
        (HEADER + struct.pack("<H", 62), "x86_64"), (HEADER + struct.pack("<H", 183), "aarch64"),
        (HEADER + struct.pack("<H", 62) + b"more", "x86_64"), (HEADER + b"\x3e", None),
        (HEADER + struct.pack("<H", 61), None), (HEADER + struct.pack("<H", 182), None),
        (HEADER + struct.pack(">H", 62), None), (b"x" + HEADER[1:] + struct.pack("<H", 62), None),
        (HEADER.replace(b"\x02\x01", b"\x01\x01") + struct.pack("<H", 62), None),
        (HEADER.replace(b"\x02\x01", b"\x02\x02") + struct.pack("<H", 62), None), (b"", None),
    ],
)  # fmt: skip
def test_machines(header: bytes, machine: str | None) -> None:
    assert elf_machine(header) == machine
    assert len(HEADER) + 2 == HEADER_SIZE


def test_what_lief_says() -> None:
    """Of a machine that has no stub, too."""
    stub = bytearray(read_stub("x86_64"))
    for number, name in ((62, "x86_64"), (8, "mips"), (243, "riscv")):
        stub[18:20] = struct.pack("<H", number)
        assert ElfProbe(bytes(stub)).result() == ElfFacts(name, True, True)
    for at, value in ((16, b"\1\0"), (24, bytes(8))):  # a relocatable object; no entry point
        other = stub[:at] + value + stub[at + len(value) :]
        facts = ElfProbe(bytes(other)).result()
        assert facts and not facts.is_executable
    facts = ElfProbe(Path(sys.executable).resolve().read_bytes()).result()
    assert facts and not facts.is_static


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n", b"\x7fELX" + bytes(60)])
def test_what_is_no_elf_file(data: bytes) -> None:
    assert ElfProbe(data).result() is None


def test_who_does_not_answer_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "_TIMEOUT", 0.1)
    probe = ElfProbe(read_stub("x86_64"))
    assert probe._process
    os.kill(probe._process.pid, signal.SIGSTOP)
    assert probe.result() is None
    assert probe._process.returncode == -signal.SIGKILL
