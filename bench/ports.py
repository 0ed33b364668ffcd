"""A published port beside the machine's own: bytes through a connection, and calls."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from figures import Figure, note

ROUNDS = 7
_GIBIBYTES = 2
BAR = 1 / 0.97
"""Our time as a multiple of the time without -p, at most."""

_TRANSFER = f"""\
import socket, sys, threading, time
size = {_GIBIBYTES} << 30
server = socket.create_server(("", int(sys.argv[1])))
def send():
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
        block, left = bytes(1 << 20), size
        while left: left -= client.send(block)
threading.Thread(target=send).start()
connection = server.accept()[0]
buffer, began, left = bytearray(1 << 20), time.perf_counter(), size
while got := connection.recv_into(buffer): left -= got
assert left == 0
print(time.perf_counter() - began)
"""
_CALLS = """\
import socket, sys, time
began = time.perf_counter()
for _ in range(2000):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", int(sys.argv[1])))
print((time.perf_counter() - began) / 2000)
"""


def bench_ports(image: Path, work: Path, dockerc: str) -> None:
    """Print the seconds of a transfer over loopback, and the microseconds of a bind(2)."""
    app = work / "ports.app"
    subprocess.run([dockerc, "build", "-q", f"oci:{image}", "-o", app], check=True)
    for what, script, unit, factor, bar in (
        (f"{_GIBIBYTES} GiB over loopback", _TRANSFER, "s", 1, BAR),
        ("socket, bind, close", _CALLS, "us", 1e6, None),
    ):
        own: list[float] = []
        published: list[float] = []
        for _ in range(ROUNDS):
            own.append(_seconds(app, "18080", script))
            published.append(_seconds(app, "80", script, "-p", "18081:80"))
        ours, rival = statistics.median(published), statistics.median(own)
        print(note(Figure(what, "-p", "without", unit, ours * factor, rival * factor, bar)))


def _seconds(app: Path, port: str, script: str, *options: str) -> float:
    words = [app, *options, "--", "python3", "-c", script, port]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
