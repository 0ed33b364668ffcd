"""What a service manager passes on: sockets and the place for notifications reach the program."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from instances_support import USERS, User
from leftovers import wait_for
from support import need

pytestmark = pytest.mark.root("starts runs as several users")

WHAT_IT_GOT = r"""
use Socket;
my (@names, @kept);
for my $fd (3 .. 2 + $ENV{LISTEN_FDS}) {
  open(my $s, "+<&=", $fd) or die "no $fd";
  push @names, (sockaddr_in(getsockname($s)))[0];
  push @kept, $s;
}
opendir(my $d, "/proc/self/fd"); my @open = grep { /^\d+$/ && $_ != fileno($d) } readdir($d);
print "$$ $ENV{LISTEN_PID} $ENV{LISTEN_FDS} $ENV{LISTEN_FDNAMES} @names; ",
  join(",", sort { $a <=> $b } @open), "\n";
"""


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> User:
    return User(request.param)


def activated(user: User, count: int, *words: str | Path) -> tuple[list[int], str]:
    """Ports of listening sockets from 3 on, and the output of a command that gets them."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    script = (
        "import os, sys; n = int(sys.argv[1]); fds = list(map(int, sys.argv[2].split(',')))\n"
        "high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)]\n"
        "[os.dup2(fd, 3 + i) for i, fd in enumerate(high)]\n"
        "os.closerange(3 + n, 300)\n"
        "os.environ.update(LISTEN_FDS=str(n), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES='a:b')\n"
        "os.execvp(sys.argv[3], sys.argv[3:])\n"
    )
    numbers = [each.fileno() for each in sockets]
    command = ["python3", "-c", script, str(count), ",".join(map(str, numbers))]
    try:
        done = subprocess.run(
            [*command, *user.command(*words)],
            pass_fds=numbers, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [each.getsockname()[1] for each in sockets], done.stdout
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("options", [[], ["--init"]])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_sockets(user: User, deb: Path, count: int, options: list[str]) -> None:
    ports, told = activated(user, count, deb, *options, "perl", "-e", WHAT_IT_GOT)
    pid = 2 if options else 1
    fds = ",".join(str(fd) for fd in range(3 + count))
    listed = " ".join(map(str, ports))
    assert told == f"{pid} {pid} {count} a:b {listed}; {fds}\n"


def test_a_detached_run_has_them(user: User, deb: Path, shared: Path) -> None:
    words = ["-d", "--log", str(shared / "log"), "perl", "-e", WHAT_IT_GOT]
    ports, told = activated(user, 1, deb, *words)
    assert told.startswith("deb-")
    assert wait_for(lambda: (shared / "log").read_text() == f"1 1 1 a:b {ports[0]}; 0,1,2,3\n")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"LISTEN_FDS": "2"}, "LISTEN_FDS=2, but descriptor 3 is not open"),
        ({"LISTEN_FDS": "65"}, "at most 64 descriptors"),
        ({"LISTEN_FDS": "x"}, "at most 64 descriptors"),
        ({"LISTEN_FDS": "-1"}, "at most 64 descriptors"),
    ],
)
def test_sockets_that_are_not_there(deb: Path, environment: dict[str, str], sentence: str) -> None:
    """The runtime's own files would be taken for them."""
    script = 'LISTEN_PID=$$ exec "$@"'
    words = ["sh", "-c", script, "-", deb, "true"]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 125 and sentence in done.stderr


def test_a_directory_is_no_socket(deb: Path) -> None:
    script = 'exec 3</; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'
    done = subprocess.run(["sh", "-c", script, "-", deb, "true"], capture_output=True, text=True)
    assert done.returncode == 125 and "is a directory" in done.stderr


def test_sockets_of_another_process(user: User, deb: Path) -> None:
    environment = {**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "3"}
    done = user(deb, "sh", "-c", "echo ${LISTEN_FDS-none}; ls /proc/self/fd", env=environment)
    assert done.stdout.split() == ["none", "0", "1", "2", "3"]


def test_notifications(user: User, deb: Path, shared: Path) -> None:
    place = shared / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place))
        place.chmod(0o777)
        send = (
            "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM,"
            " Peer => $ENV{NOTIFY_SOCKET}) or die; print $s 'READY=1'; $s->flush;"
        )
        done = user(deb, "perl", "-e", send, env={**os.environ, "NOTIFY_SOCKET": str(place)})
        assert (done.returncode, done.stderr) == (0, "")
        listening.settimeout(10)
        assert listening.recv(100) == b"READY=1"
    for other in ("@abstract", "relative", "/no/such/socket", str(shared), f"{shared}/a:b"):
        done = user(
            deb,
            "sh",
            "-c",
            "echo ${NOTIFY_SOCKET-none}",
            env={**os.environ, "NOTIFY_SOCKET": other},
        )
        assert done.stdout == "none\n", other


def test_systemd_s_own_tools(deb: Path, shared: Path) -> None:
    need("systemd-socket-activate", "systemd-notify")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve = (
        "use Socket; open(my $l, '+<&=', 3) or die; accept(my $c, $l) or die;"
        ' print $c "served by $$\\n"; close $c;'
    )
    words = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", deb, "perl", "-e", serve]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:

            def answer() -> bytes:
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=60) as connected:
                        return connected.recv(100)
                except ConnectionRefusedError:
                    return b""

            assert wait_for(lambda: answer() == b"served by 1\n", 30)
        finally:
            process.kill()
    place = shared / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(place))
        binds = [word for name in ("usr", "lib", "lib64") for word in ("-v", f"/{name}:/{name}:ro")]
        words = [deb, *binds, "systemd-notify", "--no-block", "--ready"]
        done = subprocess.run(
            list(map(str, words)),
            env={**os.environ, "NOTIFY_SOCKET": str(place)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        listening.settimeout(10)
        assert b"READY=1" in listening.recv(1000)
