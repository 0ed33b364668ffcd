"""Published ports as `docker run -p` takes them; the runtime's parser is config/ports.zig.

fixtures/contract/ports.json has words that both read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from toolkit.errors import UsageError

_PORT = re.compile(r"0*([0-9]{1,5})")
_MAX = 65535
MAX_PORTS = 256
"""That a run publishes, as in the runtime, which may hold a socket for each."""


@dataclass(frozen=True)
class Ports:
    """Ports of a program, first and last, and those of the machine."""

    protocol: str
    inside: tuple[int, int]
    outside: tuple[int, int]
    """(0, 0): any that are free; more than one for a single port inside: the first that is free."""
    ip: str | None
    """None: all addresses."""


def parse_ports(text: str) -> Ports:
    """`[IP:][HOST:]PORT[/tcp|/udp]`; raises UsageError for anything else."""
    addresses, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in ("tcp", "udp"):
        raise _wrong(text, "the protocol is tcp or udp")
    before, _, program = addresses.rpartition(":")
    address, _, machine = before.rpartition(":")
    inside = _range(text, program)
    outside = _range(text, machine) if machine else (0, 0)
    count = inside[1] - inside[0]
    if inside[0] == 0:
        raise _wrong(text, _RANGE)
    if outside[1] and (outside[0] == 0 or count not in (0, outside[1] - outside[0])):
        raise _wrong(text, "the ranges of the machine and of the program are of different sizes")
    return Ports(protocol, inside, outside, _address(text, address))


def check_ports(texts: Sequence[str]) -> None:
    """Raises UsageError for what no run would take."""
    published = set()
    for text in texts:
        ports = parse_ports(text)
        first, last = ports.inside
        published |= {(ports.protocol, number) for number in range(first, last + 1)}
        if len(published) > MAX_PORTS:
            raise _wrong(text, f"at most {MAX_PORTS} ports can be published")


_RANGE = "a port is a number from 1 to 65535, or a range of such numbers (8000-8005)"


def _range(text: str, word: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    ends = (first, last if dash else first)
    numbers = [int(found[1]) for found in map(_PORT.fullmatch, ends) if found]
    if len(numbers) != len(ends) or not numbers[0] <= numbers[1] <= _MAX:
        raise _wrong(text, _RANGE)
    return numbers[0], numbers[1]


def _address(text: str, word: str) -> str | None:
    """IPv6 addresses are in brackets, as docker wants them; `[::]` is all there are."""
    if not word:
        return None
    bracketed = word[0] == "[" and word[-1] == "]"
    try:
        ip = ipaddress.ip_address(word[1:-1] if bracketed else word)
    except ValueError:
        ip = None
    if ip is None or "%" in word or bracketed != (ip.version == 6):
        raise _wrong(text, "the address is no IPv4 address, nor an IPv6 address in brackets")
    return None if ip == ipaddress.IPv6Address(0) else str(ip)


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"--publish {text}: {why}")
