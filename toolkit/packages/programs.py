"""Programs that say what they were made of: Go's build information, Rust's audit data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from toolkit.packages import go, rust
from toolkit.packages.distribution import Distribution
from toolkit.packages.elf import read_elf
from toolkit.packages.package import Package
from toolkit.packages.source import Files, SourceFile

_SMALLEST = 16 << 10
"""Bytes: neither language makes smaller ones, and most files are."""
_LIBRARY = re.compile(rb"\.so(\.[0-9.]+)?$")


def wants(file: SourceFile) -> bool:
    """Whether it may be such a program."""
    return file.is_program and file.size >= _SMALLEST and not _LIBRARY.search(file.path)


def packages(file: SourceFile, files: Files, distribution: Distribution) -> Iterator[Package]:
    """What it names; raises DockercError when that is damaged."""
    elf = read_elf(file, (go.SECTION, rust.SECTION))
    if elf is None:
        return
    if section := elf.sections.get(go.SECTION):
        yield from go.modules(file, elf, section)
    if section := elf.sections.get(rust.SECTION):
        yield from rust.crates(file, section)
