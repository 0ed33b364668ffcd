"""What a runtime stub is, as lief sees it.

lief is a large C++ library, and a stub is somebody else's bytes: it looks at them in a process of
its own, which may take its time or crash while this one goes on, and whose memory is not ours.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

LIEF_IS_MISSING = "lief is not installed (pip install lief)"

_MACHINES = {62: "x86_64", 183: "aarch64"}
"""e_machine of elf(5), in uname(2)'s words, which also name the stubs."""
HEADER_SIZE = 20
_TIMEOUT = 20
"""Seconds; lief takes a third of one to be loaded."""
_MAX_MEMORY = 2 << 30


@dataclass(frozen=True)
class ElfFacts:
    """`machine` as uname(2) names it, or lief's word; `is_static`: asks for no interpreter."""

    machine: str
    is_static: bool
    is_executable: bool


def elf_machine(header: bytes) -> str | None:
    """The machine of a 64-bit little-endian ELF's first 20 bytes (elf(5)), or None."""
    if len(header) < HEADER_SIZE or header[:6] != b"\x7fELF\x02\x01":
        return None
    return _MACHINES.get(int.from_bytes(header[18:20], "little"))


def has_lief() -> bool:
    """Whether a stub that is not ours can be looked into; asked without importing it."""
    import importlib.util

    return importlib.util.find_spec("lief") is not None


class ElfProbe:
    """lief at work on these bytes; started at once, so that others can work meanwhile."""

    def __init__(self, data: bytes) -> None:
        # Only few commands ask lief, and its process costs a hundredth of a second to import.
        import subprocess

        # Our own search path, given as it is: neither PYTHONPATH nor the working directory count.
        package = str(Path(__file__).resolve().parents[2])
        path = [package, *(part for part in sys.path if part)]
        code = f"import sys; sys.path[:] = {path!r}; from {__name__} import main; main()"
        self._data = data
        self._process: subprocess.Popen[bytes] | None = None
        if data[:4] == b"\x7fELF":
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )

    def result(self) -> ElfFacts | None:
        """What was found; None when it is no ELF file or one that lief cannot read."""
        if self._process is None:
            return None
        import subprocess

        try:
            told, _ = self._process.communicate(self._data, timeout=_TIMEOUT)
            return ElfFacts(**json.loads(told))
        except (subprocess.TimeoutExpired, ValueError, TypeError):
            return None
        finally:
            self._process.kill()
            self._process.wait()


def main() -> None:
    """The other process: an ELF file on standard input, facts as JSON on standard output."""
    data = sys.stdin.buffer.read()
    try:
        resource = import_module("resource")
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_TIMEOUT, _TIMEOUT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # no such limits here
    print(json.dumps(_facts(data)))


def _facts(data: bytes) -> dict[str, Any] | None:
    import io

    import lief

    lief.logging.disable()
    config = lief.ELF.ParserConfig()
    # Symbols and relocations are what a large file has most of, and nobody asks for them.
    config.parse_dyn_symbols = config.parse_symtab_symbols = config.parse_relocations = False
    config.parse_symbol_versions = config.parse_overlay = False
    elf = lief.ELF.parse(io.BytesIO(data), config)
    if elf is None:
        return None
    kinds = (lief.ELF.Header.FILE_TYPE.EXEC, lief.ELF.Header.FILE_TYPE.DYN)
    return {
        "machine": elf_machine(data[:HEADER_SIZE]) or elf.header.machine_type.name.lower(),
        "is_static": not elf.has_interpreter,
        "is_executable": elf.header.file_type in kinds and elf.entrypoint != 0,
    }
