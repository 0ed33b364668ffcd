"""Rust's audit data in a program: what `cargo auditable` puts into the section .dep-v0."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from toolkit.errors import DamagedError
from toolkit.files.json_document import parse_document
from toolkit.packages.elf import Section
from toolkit.packages.package import Package, make_package
from toolkit.packages.source import SourceFile

SECTION = b".dep-v0"
_MAX_DATA = 8 << 20
_CRATES_IO = "crates.io"


def crates(file: SourceFile, section: Section) -> Iterator[Package]:
    """Those that run in it, not those that built it; raises DockercError when it is damaged."""
    data = file.read(section.offset, min(section.size, _MAX_DATA))
    decoder = zlib.decompressobj()
    try:
        text = decoder.decompress(data, _MAX_DATA)
    except zlib.error:
        raise DamagedError("its audit data of Rust is damaged") from None
    if not decoder.eof:
        raise DamagedError(f"its audit data of Rust is cut short, or over {_MAX_DATA} bytes")
    for crate in parse_document(text, "its audit data of Rust").objects("packages"):
        if crate.text("kind") in ("", "runtime") and crate.text("name"):
            source = crate.text("source")
            yield make_package(
                "cargo",
                "",
                crate.text("name"),
                crate.text("version"),
                path=file.shown,
                layer=file.layer,
                qualifiers={} if source in ("", _CRATES_IO, "local") else {"source": source},
            )
