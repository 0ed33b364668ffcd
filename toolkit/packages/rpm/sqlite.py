"""RPM's database in SQLite: rpmdb.sqlite, since RPM 4.16."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from urllib.parse import quote

from toolkit.errors import DamagedError, RefusedError
from toolkit.packages.rpm.header import MAX_HEADER
from toolkit.packages.source import SourceFile

_MAX_DATABASE = 512 << 20
_PIECE = 4 << 20
_STEPS = 10_000
_MAX_CALLS = 20_000
"""Calls of SQLite's progress handler, each of so many steps: a schema may be a program."""


def headers(file: SourceFile) -> Iterator[bytes]:
    """Every package's header; raises DockercError when it is damaged."""
    if file.size > _MAX_DATABASE:
        raise RefusedError(f"it has {file.size} bytes; at most {_MAX_DATABASE} are read")
    with tempfile.NamedTemporaryFile(prefix="dockerc-") as copy:
        for at in range(0, file.size, _PIECE):
            copy.write(file.read(at, min(_PIECE, file.size - at)))
        copy.flush()
        # A journal of the image is not applied: what it would change was never committed.
        address = f"file:{quote(copy.name)}?mode=ro&immutable=1"
        try:
            connection = sqlite3.connect(address, uri=True)
            try:
                yield from _rows(connection)
            finally:
                connection.close()
        except (sqlite3.Error, UnicodeDecodeError) as error:  # its messages quote the schema
            raise DamagedError(f"SQLite cannot read it: {error}") from None


def _rows(connection: sqlite3.Connection) -> Iterator[bytes]:
    connection.execute("PRAGMA trusted_schema=OFF")
    calls = 0

    def has_had_enough() -> bool:
        nonlocal calls
        calls += 1
        return calls > _MAX_CALLS

    connection.set_progress_handler(has_had_enough, _STEPS)
    kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'").fetchone()
    if kind != ("table",):
        raise DamagedError("it has no table Packages")
    query = "SELECT CASE WHEN length(blob) <= ? THEN blob END FROM Packages ORDER BY hnum"
    for (blob,) in connection.execute(query, (MAX_HEADER,)):
        if not isinstance(blob, bytes):
            raise DamagedError("a header in it is none, or too large")
        yield blob
