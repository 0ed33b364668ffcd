"""-p and -P on the machine's network: the program's ports are others on the machine."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from instances_support import User, is_alive
from leftovers import wait_for
from ports_support import (
    BIND,
    SERVER,
    answers,
    assert_held_until_taken,
    fetch,
    free_ports,
    running,
    said,
    script,
    serving,
)
from sharing import Sharing, runtime_directory
from support import Runner, dockerc, need, with_config
from test_run_services import services  # noqa: F401 - a fixture


def test_a_port_below_1024_is_another_of_the_machine(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    with serving(run, python, port, "-p", f"{port}:80"):
        # The source address is the caller's, and getsockname(2) tells the machine's port.
        assert fetch(f"127.0.0.1:{port}") == f"hello 127.0.0.1 127.0.0.1 {port}"
        assert not answers("127.0.0.1:80")


def test_two_runs_side_by_side(run: Runner, python: Path) -> None:
    one, two = free_ports(2)
    with serving(run, python, one, "-p", f"{one}:80"):
        with serving(run, python, two, "-p", f"{two}:80"):
            assert answers(f"127.0.0.1:{one}") and answers(f"127.0.0.1:{two}")
        # What the machine's port was before does not matter to the next.
        with serving(run, python, two, "-p", f"{two}:80"):
            assert answers(f"127.0.0.1:{two}")


def test_a_port_is_held_until_the_program_takes_it(run: Runner, python: Path) -> None:
    assert_held_until_taken(lambda *words: run.command(python, *words))


def test_ranges(run: Runner, python: Path) -> None:
    text = """
import socket
for port in 80, 81, 82:
    sock = socket.socket()
    sock.bind(("", port))
    print(sock.getsockname()[1])
"""
    for first in range(20000, 30000, 3):
        done = run(python, "-p", f"{first}-{first + 2}:80-82", "python3", "-c", text)
        if "in use" not in done.stderr:
            break
    assert said(done).split() == [str(first + each) for each in range(3)]


def chosen(stderr: str, inside: str = "80/tcp") -> int:
    found = re.search(rf"port {inside} of the program is port (\d+) of this machine\n", stderr)
    assert found, stderr
    return int(found[1])


def test_a_free_port_is_chosen_and_told(run: Runner, python: Path) -> None:
    for option in ("80", "127.0.0.1::80", "0:80"):
        done = run(
            python, "-p", option, "python3", "-c", BIND, "AF_INET", "SOCK_STREAM", "", "80", ""
        )
        assert said(done).split()[1] == str(chosen(done.stderr))
    # The first of a range that is free.
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(python, "-p", f"{port}-{port + 20}:80", "true")
        assert port < chosen(done.stderr) <= port + 20


def exposing(python: Path, output: Path, ports: str | None) -> Path:
    config = json.loads(dockerc("inspect", "--json", python).stdout)["config"]
    key = "org.opencontainers.image.exposedPorts"
    config["annotations"].pop(key, None)
    if ports is not None:
        config["annotations"][key] = ports
    return with_config(python, config, output)


def test_all_exposed_ports(run: Runner, python: Path, shared: Path) -> None:
    app = exposing(python, shared / "app", "53/udp,80,9/sctp")
    (port,) = free_ports()
    done = run(app, "-P", "-p", f"{port}:443", "--expose", "81", "true")
    numbers = {chosen(done.stderr, each) for each in ("53/udp", "80/tcp", "81/tcp")}
    assert len(numbers) >= 2 and "443/tcp" not in done.stderr
    assert "port 9/sctp is not published" in done.stderr
    # One that is published by -p already is not published twice.
    done = run(app, "--publish-all", "-p", f"{port}:80", "true")
    assert "80/tcp" not in done.stderr
    done = run(exposing(python, shared / "bare", None), "-P", "true")
    assert (done.returncode, done.stderr) == (
        0,
        "dockerc: --publish-all: the image exposes no ports\n",
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("-p 80:http", "--publish 80:http: a port is a number from 1 to 65535"),
        ("-p 65536", "--publish 65536: a port is a number"),
        ("-p 99999999999999999999999:1", "a port is a number"),
        ("-p 80-81:90-95", "are of different sizes"),
        ("-p 80/icmp", "the protocol is tcp or udp"),
        ("-p ::1:80:80", "the address is no IPv4 address, nor an IPv6 address in brackets"),
        ("-p 1-65535:1-65535", "at most 256 ports can be published"),
        ("-p 192.0.2.99:0:80", "this machine does not have the address"),
        ("-P --expose x", "--expose x: write PORT or PORT/udp"),
        ("-p 8080:80 --network none", "with --network none there is nothing to publish; use"),
    ],
)
def test_what_cannot_be(run: Runner, hello: Path, words: str, sentence: str) -> None:
    done = run(hello, *words.split(), "--")
    assert done.returncode == 125 and sentence in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_at_most_256_ports(run: Runner, hello: Path) -> None:
    for first in range(20000, 60000, 256):
        done = run(hello, "-p", f"{first}-{first + 255}:1-256", "--")
        if "in use" not in done.stderr:
            break
    assert said(done).startswith("Hello")
    done = run(hello, "-p", f"{first}-{first + 256}:1-257", "--")
    assert done.returncode == 125 and "at most 256 ports can be published" in done.stderr


def test_a_port_of_the_machine_that_cannot_be_had(run_as_user: Runner, hello: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_as_user(hello, "-p", f"{port}:80", "--")
        assert done.returncode == 125
        assert f"--publish {port}:80: this port of the machine is in use" in done.stderr
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > 81:
        done = run_as_user(hello, "-p", "81:80", "--")
        assert done.returncode == 125 and "ip_unprivileged_port_start" in done.stderr


def test_the_last_one_counts(run: Runner, python: Path, shared: Path) -> None:
    """Given at build, the port of the machine can be another in a run."""
    baked, other = free_ports(2)
    app = shared / "app"
    dockerc("edit", python, app, "--publish", f"{baked}:80")
    words = ["python3", "-c", BIND, "AF_INET", "SOCK_STREAM", "", "80", ""]
    done = run(app, *words)
    assert (said(done).split()[1], done.stderr) == (str(baked), "")
    done = run(app, "-p", f"{other}:80", *words)
    assert said(done).split()[1] == str(other)
    assert f"--publish {other}:80 replaces {baked}:80" in done.stderr


@pytest.mark.root("starts runs as several users")
@pytest.mark.parametrize("kind", ["root", "sub-ids", "one id"])
@pytest.mark.parametrize("option", ["{}:80", "80", "127.0.0.2:{}:80"])
def test_a_command_in_the_run(kind: str, python: Path, option: str) -> None:
    user = User(kind)
    (port,) = free_ports()
    words = ["-p", option.format(port), "python3", "-c", SERVER, "80", "hello"]
    get = "import urllib.request; print(urllib.request.urlopen('http://localhost:80/').read())"
    with user.running(python, *words, stderr=subprocess.DEVNULL) as row:
        client = ["--dockerc-exec", str(row.pid), "python3", "-c", get]
        assert wait_for(lambda: user(python, *client).returncode == 0)
        assert user(python, *client).stdout.startswith("b'hello 127.0.0.")


@pytest.mark.root("starts runs as several users")
@pytest.mark.parametrize("kind", ["root", "sub-ids"])
def test_in_the_background(kind: str, python: Path, shared: Path) -> None:
    user = User(kind)
    (port,) = free_ports()
    state = {"PATH": os.environ["PATH"], "XDG_STATE_HOME": f"{shared}/state"}
    words = ["-d", "-p", f"{port}:80", "-p", "81", "python3", "-c", SERVER, "80", "hello"]
    done = user(python, *words, env=state)
    assert (done.returncode, done.stderr) == (0, "")
    pid = done.stdout.split()[1]
    try:
        assert wait_for(lambda: answers(f"127.0.0.1:{port}"))
        (log,) = (shared / "state/dockerc").iterdir()
        assert chosen(log.read_text(), "81/tcp")
        # The second one says at once why it does not start.
        again = user(python, *words, env=state)
        assert again.returncode == 125 and "in use" in again.stderr
    finally:
        assert user(python, "--dockerc-stop", "-t", "0", pid).returncode == 0
    assert wait_for(lambda: not is_alive(int(pid)))


def test_runs_that_share_a_mount(run: Runner, python: Path, shared: Path) -> None:
    sharing = Sharing(run, python, runtime_directory(run, shared), ["--share"])
    one, two = free_ports(2)
    waiting = sharing.waiting()
    words = ["python3", "-c", BIND, "AF_INET", "SOCK_STREAM", "", "80", ""]
    for port in (one, two):
        assert said(sharing("-p", f"{port}:80", *words)).split()[1] == str(port)
    assert waiting.stdin is not None
    waiting.stdin.close()
    waiting.wait()
    sharing.end()


@pytest.mark.parametrize(
    "options",
    [
        ["--security-opt", "seccomp=unconfined"],
        ["--security-opt", "no-new-privileges=false"],
        ["--privileged"],
        ["--init"],
        ["-u", "nobody"],
    ],
)
def test_with_other_options(run: Runner, python: Path, options: list[str]) -> None:
    (port,) = free_ports()
    words = ["python3", "-c", BIND, "AF_INET", "SOCK_STREAM", "", "80", ""]
    assert said(run(python, "-p", f"{port}:80", *options, *words)).split()[1] == str(port)


NGINX = """
set -e
echo 'server { listen 80; listen [::]:80 ipv6only=on; return 200 "page"; }' \\
    >/etc/nginx/sites-enabled/default
exec nginx -g 'daemon off;'
"""


def test_nginx_of_an_unchanged_image(run: Runner, services: Path) -> None:  # noqa: F811
    (port,) = free_ports()
    with running(run.command(services, "-p", f"{port}:80", "sh", "-c", NGINX)) as process:
        assert wait_for(lambda: process.poll() is not None or answers(f"127.0.0.1:{port}"), 20)
        assert fetch(f"127.0.0.1:{port}") == fetch(f"[::1]:{port}") == "page"
        process.terminate()
        assert process.wait(timeout=60) in (0, 143)


def test_redis_of_an_unchanged_image(run: Runner, services: Path) -> None:  # noqa: F811
    (port,) = free_ports()
    text = """
redis-server --save '' --daemonize yes >/dev/null
until redis-cli ping >/dev/null 2>&1; do sleep 0.02; done
redis-cli set answer 42; redis-cli config get port | tail -n 1
redis-cli shutdown nosave
"""
    done = run(services, "-p", f"{port}:6379", "sh", "-c", text)
    assert said(done) == "OK\n6379\n"


def test_a_unit(python: Path) -> None:
    need("systemd-analyze")
    unit = dockerc("unit", python, "-p", "8080:80", "-P").stdout
    assert "ExecStart=" in unit and "-p 8080:80 -P --" in unit


def test_a_server_for_one_address_is_found_inside(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = """
import socket
server = socket.create_server(("", 80))
client = socket.create_connection(("localhost", 80))
print(client.getpeername()[0])
"""
    assert script(run, python, ["-p", f"127.0.0.2:{port}:80"], text) == "127.0.0.2\n"
