"""Published ports: QEMU's user network forwards them to the machine (qemu(1), hostfwd)."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from toolkit.bundle.ports import MAX_PORTS, Ports, parse_ports
from toolkit.errors import DockercError, UnsupportedError, UsageError

_ADDRESS = "10.0.2.15"
"""The machine's, always the same on that network."""


@dataclass(frozen=True)
class Forward:
    """A port of this machine that is one of the program's."""

    protocol: str
    ip: str
    outside: int
    inside: int
    was_chosen: bool
    """Not by the user, who has to be told."""

    def rule(self) -> str:
        """As QEMU takes it."""
        return f"{self.protocol}:{self.ip}:{self.outside}-{_ADDRESS}:{self.inside}"


def forwards(published: Sequence[str], exposed: Iterable[str]) -> list[Forward]:
    """Of `-p` words, and of ports on any that is free; raises DockercError for one that is taken.

    The last one of a program's port counts.
    """
    found: dict[tuple[str, int], Forward] = {}
    for text in exposed:
        ports = parse_ports(text)
        for number in range(ports.inside[0], ports.inside[1] + 1):
            found[ports.protocol, number] = _forward(ports, number, [0])
    for text in published:
        ports = parse_ports(text)
        for number in range(ports.inside[0], ports.inside[1] + 1):
            found[ports.protocol, number] = _forward(ports, number, _candidates(ports, number))
        if len(found) > MAX_PORTS:
            raise UsageError(f"--publish {text}: at most {MAX_PORTS} ports can be published")
    return list(found.values())


def _candidates(ports: Ports, number: int) -> Sequence[int]:
    first, last = ports.outside
    if ports.inside[0] == ports.inside[1]:
        return range(first, last + 1)
    return [first and first + number - ports.inside[0]]


def _forward(ports: Ports, inside: int, candidates: Sequence[int]) -> Forward:
    ip = ports.ip or ""
    if ":" in ip:
        raise UnsupportedError(f"--publish: QEMU forwards no port of an IPv6 address ({ip})")
    kind = socket.SOCK_STREAM if ports.protocol == "tcp" else socket.SOCK_DGRAM
    problem = ""
    for port in candidates:
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ip, port))
            except OSError as error:
                problem = error.strerror or str(error)
                continue
            chosen = port == 0 or len(candidates) > 1
            return Forward(ports.protocol, ip, probe.getsockname()[1], inside, chosen)
    raise DockercError(
        f"port {candidates[-1]}/{ports.protocol} of this machine cannot be published: {problem}"
    )
