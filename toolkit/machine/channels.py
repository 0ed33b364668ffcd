"""Connections between this process and QEMU, one for each serial port of the machine.

Where a process can inherit sockets, they are pairs that no one else can reach. On Windows QEMU
connects to the loopback interface, as any program could: so each connection has to begin with a
token that only the machine knows.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from toolkit.machine.child import INHERITS

NAMES = ("console", "control", "stdin", "stdout", "stderr")


@dataclass
class Channels:
    """One for each of NAMES, as long as a machine lives."""

    ours: dict[str, socket.socket] = field(default_factory=dict)
    theirs: dict[str, socket.socket] = field(default_factory=dict)
    """The other ends for QEMU to inherit; on Windows none."""
    listening: dict[str, socket.socket] = field(default_factory=dict)

    def prepare(self) -> None:
        """Before QEMU is started."""
        for name in NAMES:
            if INHERITS:
                self.ours[name], self.theirs[name] = socket.socketpair()
            else:
                self.listening[name] = socket.create_server(("127.0.0.1", 0), backlog=1)

    def descriptors(self) -> list[int]:
        """What QEMU inherits."""
        return [each.fileno() for each in self.theirs.values()]

    def arguments(self) -> list[str]:
        """QEMU's, for a character device of each name."""
        words = []
        for name in NAMES:
            if name in self.theirs:
                where = f"fd={self.theirs[name].fileno()}"
            else:
                where = f"host=127.0.0.1,port={self.listening[name].getsockname()[1]}"
            words += ["-chardev", f"socket,id={name},{where}"]
        return words

    def started(self) -> None:
        """QEMU has inherited them: when it ends, ours must see the end."""
        for each in self.theirs.values():
            each.close()

    def connection(self, name: str) -> socket.socket:
        """Ours, once QEMU is connected."""
        if name not in self.ours:
            self.ours[name] = self.listening[name].accept()[0]
        return self.ours[name]

    def close(self) -> None:
        """All of them: the machine then switches itself off."""
        for each in (*self.ours.values(), *self.theirs.values(), *self.listening.values()):
            each.close()
