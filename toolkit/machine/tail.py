"""The end of what QEMU, or the console of a machine, has written: for a message if it fails."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.files.printable import printable

_MAX_TEXT = 1 << 16
_OURS = "dockerc: "


@dataclass
class Tail:
    """What a thread reads by `read` until there is no more."""

    read: Callable[[int], bytes]
    shown: bool = False
    """Copied to standard error as well."""
    _data: bytes = b""

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while True:
            try:
                data = self.read(4096)
            except (OSError, ValueError):
                return
            if not data:
                return
            self._data = (self._data + data)[-_MAX_TEXT:]
            if self.shown:
                sys.stderr.write(data.decode("utf-8", "replace"))

    def lines(self) -> list[str]:
        """All that is to come, without empty lines."""
        self._thread.join(2)
        text = self._data.decode("utf-8", "replace").replace("\r", "\n")
        return [printable(line.strip()) for line in text.split("\n") if line.strip()]

    def sentence(self) -> str:
        """The last one of our runtime's; empty where it has none."""
        ours = [line for line in self.lines() if line.startswith(_OURS)]
        return ours[-1].removeprefix(_OURS) if ours else ""
