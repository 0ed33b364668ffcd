"""Servers on published ports, in tests."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leftovers import wait_for
from support import Runner
from test_run_services import services  # noqa: F401 - a fixture

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        own = self.connection.getsockname()
        self.wfile.write(f"{sys.argv[2]} {self.client_address[0]} {own[0]} {own[1]}".encode())
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler)
server.serve_forever()
"""


def free_ports(count: int = 1, kind: int = socket.SOCK_STREAM) -> list[int]:
    """Different ports of this machine that nobody uses."""
    sockets = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    numbers = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return numbers


def fetch(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=60) as page:
        return str(page.read().decode())


def answers(address: str) -> bool:
    try:
        return bool(fetch(address))
    except OSError:
        return False


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that is ended afterwards."""
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            finally:
                process.kill()


@contextmanager
def serving(run: Runner, app: Path, outside: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The server on the program's port 80."""
    words = [*options, "python3", "-c", SERVER, "80", "hello"]
    with running(run.command(app, *words)) as process:
        assert wait_for(lambda: process.poll() is not None or answers(f"127.0.0.1:{outside}"))
        yield process


def said(done: Any) -> str:
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def script(run: Runner, python: Path, options: list[str], text: str, **more: Any) -> str:
    """What a Python program prints in a run with these options."""
    return said(run(python, *options, "python3", "-c", text, **more))


BIND = """
import socket, sys
family, kind, address, port, v6only = sys.argv[1:]
sock = socket.socket(getattr(socket, family), getattr(socket, kind))
if v6only: sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only == "1")
sock.bind((address, int(port)))
print(*sock.getsockname()[:2])
"""


def assert_held_until_taken(command: Callable[..., list[str]], **options: Any) -> None:
    """Nobody else can have a published port, from the start on; it is free at the end."""
    (port,) = free_ports()
    script = "import socket, sys; sys.stdin.read(); socket.create_server(('', 80))"
    words = command("-i", "-p", f"{port}:80", "--", "python3", "-c", script)
    with subprocess.Popen(words, stdin=subprocess.PIPE, **options) as process:
        assert wait_for(lambda: not bindable(port))
        time.sleep(0.5)
        assert not bindable(port)
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0
    assert bindable(port)


def bindable(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("", port))
        except OSError:
            return False
        return True
