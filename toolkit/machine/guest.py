"""What the first process of a machine is told (runtimes/src/machine/settings.zig reads it)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from toolkit.errors import UsageError
from toolkit.machine.terminal import Window


@dataclass(frozen=True)
class Share:
    """A directory of this machine, under the name that QEMU and the kernel know it by."""

    tag: str
    path: str
    read_only: bool


@dataclass
class Guest:
    """A run inside the machine."""

    token: str
    size: int
    """Bytes of the executable, whose disk has whole sectors."""
    arguments: list[str]
    """The runtime's command line, its name first."""
    variables: list[str] = field(default_factory=list)
    """The runtime's environment, NAME=VALUE: where `-e NAME` finds the caller's value."""
    modules: list[str] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    files: bool = False
    """Whether there are files of -v in the first file system."""
    processors: int = 1
    network: bool = True
    overlay: bool = False
    window: Window | None = None
    """Of the caller's terminal, if the program is to have one."""
    errors_are_terminal: bool = False

    def encode(self) -> bytes:
        """`NAME VALUE`, each ended by a zero byte; raises UsageError for a zero byte in one."""
        records = list(self._records())
        for name, value in records:
            if "\0" in value:
                raise UsageError(f"{value!r}: a zero byte cannot stand in an {name}")
        text = "".join(f"{name} {value}\0" for name, value in records)
        return text.encode("utf-8", "surrogateescape")

    def _records(self) -> Iterator[tuple[str, str]]:
        yield "token", self.token
        yield "size", str(self.size)
        if self.window:
            errors = int(self.errors_are_terminal)
            yield "terminal", f"{self.window.rows} {self.window.columns} {errors}"
        yield "processors", str(self.processors)
        if self.network:
            yield "network", "1"
        if self.files:
            yield "files", "1"
        if self.overlay:
            yield "overlay", "1"
        yield from (("module", name) for name in self.modules)
        for share in self.shares:
            yield ("share-ro" if share.read_only else "share-rw"), share.tag
        yield from (("argument", word) for word in self.arguments)
        yield from (("variable", word) for word in self.variables)
