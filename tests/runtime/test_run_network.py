"""--network private: a network of the run's own, connected with the machine's by pasta."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from instances_support import USERS, User
from leftovers import descendants, wait_for
from ports_support import SERVER, answers, fetch, free_ports, running, said
from sharing import Sharing, runtime_directory
from support import Runner, dockerc, need

PRIVATE = ["--network", "private"]


@pytest.fixture(autouse=True)
def pasta() -> Iterator[None]:
    """Nothing is left of it, whatever a test does."""
    need("pasta")
    if not os.access("/dev/net/tun", os.R_OK):
        pytest.skip("/dev/net/tun is not there, or not for everybody")
    yield
    assert wait_for(lambda: not helpers())


def helpers() -> list[int]:
    """Processes of pasta that the tests have started."""
    found = []
    for pid in descendants():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if line.split(b"\0")[0].endswith(b"pasta"):
            found.append(pid)
    return found


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    if os.geteuid() != 0:
        pytest.skip("taking another user id wants root")
    return User(request.param)


def machine_address() -> str:
    """An address of this machine that is no loopback one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.99", 9))
        except OSError:
            pytest.skip("this machine has no network")
        return str(sock.getsockname()[0])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the machine")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def on_the_machine(address: str) -> Iterator[int]:
    """A server's port."""
    with ThreadingHTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_machines_network_is_not_there(user: User, python: Path) -> None:
    text = """
import os, socket
print(sorted(name for _, name in socket.if_nameindex())[-1], len(socket.if_nameindex()))
print(os.listdir("/sys/class/net") == [name for _, name in socket.if_nameindex()][::-1]
      or sorted(os.listdir("/sys/class/net")) == sorted(n for _, n in socket.if_nameindex()))
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("192.0.2.99", 9))
print(sock.getsockname()[0])
"""
    lines = said(user(python, *PRIVATE, "python3", "-c", text)).splitlines()
    assert lines[0].split()[1] == "2" and lines[1:] == ["True", "10.0.2.100"]


def test_a_published_port(user: User, python: Path) -> None:
    one, two = free_ports(2)
    words = ["python3", "-c", SERVER, "80", "hello"]
    options = [*PRIVATE, "-u", "nobody"]
    command = user.command(python, *options, "-p", f"{one}:80", *words)
    other = user.command(python, *options, "-p", f"127.0.0.1:{two}:80", *words)
    with running(command), running(other):
        for port in (one, two):
            assert wait_for(lambda port=port: answers(f"127.0.0.1:{port}"))  # type: ignore[misc]
        assert fetch(f"127.0.0.1:{one}").endswith(" 80")
        address = machine_address()
        assert answers(f"{address}:{one}") and not answers(f"{address}:{two}")


def test_a_listed_run_is_the_program_s_not_pasta_s(user: User, python: Path) -> None:
    with running(user.command(python, *PRIVATE, "sleep", "1234")) as process:

        def app() -> list[str]:
            listed = said(user(python, "--dockerc-ps")).splitlines()[1:]
            return [line.split()[2] for line in listed if line.split()[1] == str(process.pid)]

        assert wait_for(lambda: app() not in ([], ["0"]))
        (pid,) = app()
        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001234\0"


def test_udp(user: User, python: Path) -> None:
    (port,) = free_ports(kind=socket.SOCK_DGRAM)
    text = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
print("ready", flush=True)
while True:
    data, peer = server.recvfrom(99)
    server.sendto(data.upper(), peer)
"""
    command = user.command(python, *PRIVATE, "-p", f"{port}:53/udp", "python3", "-c", text)
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)

            def is_answered() -> bool:
                # Replies to a loopback address of other numbers are lost by pasta of 2023 (Debian
                # 12); and one packet may always be.
                client.sendto(b"ask", (machine_address(), port))
                with contextlib.suppress(TimeoutError):
                    return client.recv(99) == b"ASK"
                return False

            assert wait_for(is_answered)


CONNECT = """
import socket, sys
for address in sys.argv[2:]:
    sock = socket.socket()
    sock.settimeout(3)
    try: sock.connect((address, int(sys.argv[1]))); print("reached")
    except OSError: print("refused")
"""


def test_a_server_of_the_machine(user: User, python: Path) -> None:
    """By its address; what listens on loopback only is not for others."""
    address = machine_address()
    with on_the_machine(address) as port:
        text = f"import urllib.request as r; print(r.urlopen('http://{address}:{port}/').read())"
        assert said(user(python, *PRIVATE, "python3", "-c", text)) == "b'from the machine'\n"
    with on_the_machine("127.0.0.1") as port:
        words = ["python3", "-c", CONNECT, str(port), "127.0.0.1", "10.0.2.2", address]
        assert said(user(python, *PRIVATE, *words)) == "refused\n" * 3


def test_name_servers(user: User, deb: Path) -> None:
    show = ["cat", "/etc/resolv.conf"]
    given = user(deb, *PRIVATE, "--dns", "192.0.2.53", *show)
    assert said(given) == "nameserver 192.0.2.53\n"
    assert "127.0.0." not in said(user(deb, *PRIVATE, *show))


def test_what_is_said_if_it_does_not_work(run: Runner, deb: Path, shared: Path) -> None:
    without = {**os.environ, "PATH": "/nowhere"}
    if run.as_root:
        done = subprocess.run(
            [deb, *PRIVATE, "true"], capture_output=True, text=True, env=without, timeout=60
        )
        assert done.returncode == 125 and "--network private needs pasta" in done.stderr
    false = shared / "pasta"
    false.write_text("#!/bin/sh\necho it does not work >&2; exit 1\n")
    false.chmod(0o755)
    environment = {**os.environ, "PATH": f"{shared}:{os.environ['PATH']}"}
    done = run(deb, *PRIVATE, "true", env=environment)
    assert done.returncode == 125
    assert "--network private: pasta has failed: it does not work\n" in done.stderr
    done = run(deb, *PRIVATE, "--add-host", "machine:host-gateway", "true")
    assert done.returncode == 125 and "write the machine's address" in done.stderr
    done = run(deb, "--network", "slirp", "true")
    assert done.returncode == 125 and "only host (the machine's network), private" in done.stderr


def test_a_port_that_is_taken(user: User, deb: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = user(deb, *PRIVATE, "-p", f"{port}:80", "true")
        assert done.returncode == 125 and "in use" in done.stderr


def test_a_free_port(user: User, deb: Path) -> None:
    done = user(deb, *PRIVATE, "-p", "80", "true")
    assert done.returncode == 0
    assert "port 80/tcp of the program is port " in done.stderr


def test_it_ends_with_the_run(user: User, deb: Path) -> None:
    for number, status in ((signal.SIGKILL, -9), (signal.SIGTERM, -15)):
        words = ["sh", "-c", "echo begun; exec sleep 60"]
        command = user.command(deb, *PRIVATE, *words)
        with running(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            assert len(helpers()) == 1
            process.send_signal(number)
            assert process.wait(timeout=60) == status
            assert wait_for(lambda: not helpers())
    assert said(user(deb, *PRIVATE, "echo", "x")) == "x\n"
    assert not helpers()


def test_keys_of_the_terminal_are_not_for_it(user: User, deb: Path) -> None:
    words = ["sh", "-c", "trap : INT; echo begun; sleep 1; echo end"]
    command = user.command(deb, *PRIVATE, *words)
    with running(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        (helper,) = helpers()
        assert os.getsid(helper) != os.getsid(process.pid)
        assert process.stdout.readline() == "end\n"


def test_commands_in_the_run(user: User, python: Path) -> None:
    words = ["python3", "-c", SERVER, "80", "hello"]
    get = "import urllib.request; print(urllib.request.urlopen('http://localhost:80/').read())"
    (port,) = free_ports()
    options = [*PRIVATE, "-p", f"{port}:80"]
    with user.running(python, *options, *words) as row:
        assert row.command.startswith("python3")
        client = ["--dockerc-exec", str(row.pid), "python3", "-c", get]
        assert wait_for(lambda: user(python, *client).returncode == 0)


def test_runs_that_share_a_mount(run: Runner, deb: Path, shared: Path) -> None:
    sharing = Sharing(run, deb, runtime_directory(run, shared), ["--share"])
    waiting = sharing.waiting()
    done = sharing(*PRIVATE, "sh", "-c", "grep -c : /proc/net/dev", debug=True)
    assert said(done) == "2\n" and "joined keeper" in done.stderr
    assert waiting.stdin is not None
    waiting.stdin.close()
    waiting.wait()
    sharing.end()


def test_given_at_build(run: Runner, deb: Path, shared: Path) -> None:
    app = shared / "app"
    dockerc("edit", deb, app, "--network", "private", "--sysctl", "net.ipv4.ip_forward=0")
    count = ["sh", "-c", "grep -c : /proc/net/dev"]
    assert said(run(app, *count)) == "2\n"
    assert run(app, "--network", "host", *count).returncode == 125  # for the sysctl's sake
