"""The network of a machine: published ports, name servers, and none."""

from __future__ import annotations

import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from machine_support import command, run

pytestmark = pytest.mark.slow
HTTP = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        own = self.connection.getsockname()
        self.wfile.write(f"{self.client_address[0]} {own[0]} {own[1]}".encode())
    def log_message(self, *_): pass
server = http.server.HTTPServer(("", 80), Handler)
print("ready", flush=True)
server.serve_forever()
"""
UDP = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
print("ready", flush=True)
data, sender = server.recvfrom(100)
server.sendto(data.upper(), sender)
"""


def free_port(kind: int) -> int:
    """A port of this machine that nobody uses."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(app: Path, script: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A machine in which this script of Python is ready."""
    process = subprocess.Popen(
        command(app, *options, "--", "python3", "-uc", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_published_ports(python: Path) -> None:
    """On a port that was named, and on one that is free, which is told."""
    port = free_port(socket.SOCK_STREAM)
    with serving(python, HTTP, "-p", f"127.0.0.1:{port}:80", "-p", "81") as process:
        assert process.stdout and process.stderr
        told = process.stderr.readline()
        assert re.fullmatch(
            r"dockerc: port 81/tcp of the program is port \d+ of this machine\n", told
        )
        assert process.stdout.readline() == "ready\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert page.read() == b"10.0.2.2 10.0.2.15 80"
        taken = run(python, "-p", f"127.0.0.1:{port}:80")
        assert taken.returncode == 125
        assert f"port {port}/tcp of this machine cannot be published: Address" in taken.stderr


def test_udp_and_the_way_out(python: Path) -> None:
    """The machine reaches servers of this one at 10.0.2.2, and its own name server at 10.0.2.3."""
    port = free_port(socket.SOCK_DGRAM)
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = server.getsockname()[1]
        first = f"import socket; socket.create_connection(('10.0.2.2', {own})).sendall(b'out')\n"
        first += "print(open('/etc/resolv.conf').read(), end='')"
        with serving(python, first + UDP, "-p", f"{port}:53/udp") as process:
            assert process.stdout
            assert process.stdout.readline() == "nameserver 10.0.2.3\n"
            assert process.stdout.readline() == "ready\n"
            assert server.accept()[0].recv(10) == b"out"
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(b"question", ("127.0.0.1", port))
                assert client.recv(100) == b"QUESTION"
            assert process.wait(20) == 0


def test_no_network(deb: Path) -> None:
    done = run(deb, "--network", "none", "--", "sh", "-c", "tail -n +3 /proc/net/dev | tr -d ' '")
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["lo"]
