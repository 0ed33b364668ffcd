"""bind(2) and connect(2) with -p: their results, and programs that mean no good."""

from __future__ import annotations

import errno
import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import processes_with, wait_for
from ports_support import (
    BIND,
    free_ports,
    running,
    said,
    script,
)
from support import TESTS, Runner
from test_run_services import services  # noqa: F401 - a fixture


def test_inside_it_is_the_programs_port(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = f"""
import socket, threading
server = socket.create_server(("", 80))
print(server.getsockname()[1] == {port})
for host in "localhost", "127.0.0.1", "127.3.2.1", "0.0.0.0":
    client = socket.create_connection((host, 80))
    accepted, peer = server.accept()
    print(client.getpeername()[1] == {port}, peer == client.getsockname())
refused = socket.socket().connect_ex(("127.0.0.1", 79))
print(refused == {errno.ECONNREFUSED})
"""
    assert (
        script(run, python, ["-p", f"{port}:80"], text) == "True\n" + "True True\n" * 4 + "True\n"
    )


@pytest.mark.parametrize(
    ("options", "words", "expected"),
    [
        ("{}:80", "AF_INET SOCK_STREAM 0.0.0.0 80", "0.0.0.0 {}"),
        ("{}:80", "AF_INET SOCK_STREAM 127.0.0.1 80", "127.0.0.1 {}"),
        ("{}:80", "AF_INET6 SOCK_STREAM :: 80 0", ":: {}"),
        ("{}:80", "AF_INET6 SOCK_STREAM :: 80 1", ":: {}"),
        ("{}:80", "AF_INET6 SOCK_STREAM ::1 80", "::1 {}"),
        ("{}:80", "AF_INET6 SOCK_STREAM ::ffff:127.0.0.1 80 0", "::ffff:127.0.0.1 {}"),
        ("127.0.0.2:{}:80", "AF_INET SOCK_STREAM 0.0.0.0 80", "127.0.0.2 {}"),
        ("127.0.0.2:{}:80", "AF_INET SOCK_STREAM 127.0.0.1 80", "127.0.0.1 {}"),
        ("127.0.0.2:{}:80", "AF_INET6 SOCK_STREAM :: 80 0", "::ffff:127.0.0.2 {}"),
        ("127.0.0.2:{}:80", "AF_INET6 SOCK_STREAM :: 80 1", "::1 {}"),
        ("0.0.0.0:{}:80", "AF_INET6 SOCK_STREAM :: 80 0", "::ffff:0.0.0.0 {}"),
        ("[::1]:{}:80", "AF_INET6 SOCK_STREAM :: 80 0", "::1 {}"),
        ("[::1]:{}:80", "AF_INET SOCK_STREAM 0.0.0.0 80", "127.0.0.1 {}"),
        ("[::]:{}:80", "AF_INET SOCK_STREAM 0.0.0.0 80", "0.0.0.0 {}"),
        ("{}:80/udp", "AF_INET SOCK_DGRAM 0.0.0.0 80", "0.0.0.0 {}"),
        ("{}:80/udp", "AF_INET6 SOCK_DGRAM :: 80 0", ":: {}"),
    ],
)
def test_addresses(run: Runner, python: Path, options: str, words: str, expected: str) -> None:
    (port,) = free_ports()
    given = [*words.split(), ""][:5]
    done = run(python, "-p", options.format(port), "python3", "-c", BIND, *given)
    assert said(done) == expected.format(port) + "\n"


def test_tcp_and_udp_are_two(run_as_user: Runner, python: Path) -> None:
    """A port that is not published has the kernel's answer."""
    tcp, udp = free_ports(2)
    text = f"""
import socket
for kind, port in (socket.SOCK_STREAM, 80), (socket.SOCK_DGRAM, 80), (socket.SOCK_DGRAM, 53):
    try:
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("", port))
        print(sock.getsockname()[1] in ({tcp}, {udp}))
    except OSError as error:
        print(error.errno == {errno.EACCES})
"""
    assert script(run_as_user, python, ["-p", f"{tcp}:80"], text) == "True\n" * 3
    options = ["-p", f"{tcp}:80/tcp", "-p", f"{udp}:53/udp"]
    assert script(run_as_user, python, options, text) == "True\n" * 3


def test_udp_both_ways(run: Runner, python: Path) -> None:
    (port,) = free_ports(kind=socket.SOCK_DGRAM)
    text = """
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 53))
inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
inside.connect(("127.0.0.1", 53))
inside.send(b"from inside")
print(server.recv(99), flush=True)
data, peer = server.recvfrom(99)
server.sendto(data.upper(), peer)
"""
    command = run.command(python, "-p", f"{port}:53/udp", "python3", "-c", text)
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "b'from inside'\n", process.stderr.read()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.sendto(b"ask", ("127.0.0.1", port))
            assert client.recvfrom(99) == (b"ASK", ("127.0.0.1", port))


FULL = """
import socket, sys, threading, time
server = socket.socket()
server.bind(("", 80))
server.listen(0)
# The kernel lets one more wait than was asked for; for others it drops packets.
waiting = socket.create_connection(("127.0.0.1", 80))
late = socket.socket()
late.setblocking(False)
print(late.connect_ex(("127.0.0.1", 80)))
blocked = socket.socket()
thread = threading.Thread(target=lambda: blocked.connect(("127.0.0.1", 80)))
thread.start()
time.sleep(0.3)
print(thread.is_alive())
began = time.monotonic()
other = socket.socket()
other.bind(("", 81))
print(other.getsockname()[1] == int(sys.argv[1]), time.monotonic() - began < 0.2)
def accept():
    while True: kept.append(server.accept())
kept = []
threading.Thread(target=accept, daemon=True).start()
thread.join()
print(blocked.getpeername()[1] == int(sys.argv[2]), blocked.getblocking())
blocked.sendall(b"x")
"""


def test_a_connection_that_waits_keeps_nobody(run: Runner, python: Path) -> None:
    port, other = free_ports(2)
    options = ["-p", f"{port}:80", "-p", f"{other}:81"]
    done = run(python, *options, "python3", "-c", FULL, str(other), str(port))
    expected = f"{errno.EINPROGRESS}\nTrue\nTrue True\nTrue True\n"
    assert said(done) == expected


def test_a_connection_that_waits_is_interrupted(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = """
import signal, socket, struct
def alarm(*_): raise TimeoutError("alarm")
signal.signal(signal.SIGALRM, alarm)
server = socket.socket()
server.bind(("", 80))
server.listen(0)
first = socket.create_connection(("127.0.0.1", 80))
signal.setitimer(signal.ITIMER_REAL, 0.3)
try: socket.socket().connect(("127.0.0.1", 80))
except TimeoutError as error: print(error)
limited = socket.socket()
limited.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("qq", 0, 300000))
print(limited.connect_ex(("127.0.0.1", 80)))
"""
    printed = script(run, python, ["-p", f"{port}:80"], text)
    # The kernel's own is EINPROGRESS.
    assert printed == f"alarm\n{errno.EALREADY}\n"


def test_options_of_sockets_are_kept(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = """
import socket
sockets = []
for _ in range(3):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", 80))
    sock.listen()
    sockets.append(sock)
try: socket.socket().bind(("", 80))
except OSError as error: print(error.errno)
try: sockets[0].bind(("", 80))
except OSError as error: print(error.errno)
"""
    expected = f"{errno.EADDRINUSE}\n{errno.EINVAL}\n"
    assert script(run, python, ["-p", f"{port}:80"], text) == expected


def test_other_calls_are_the_kernels(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = f"""
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def raw(call, fd, address, length):
    return call(fd, address, length), ctypes.get_errno()
unix = socket.socket(socket.AF_UNIX)
unix.bind("/tmp/socket")
unix.listen()
socket.socket(socket.AF_UNIX).connect("/tmp/socket")
abstract = socket.socket(socket.AF_UNIX)
abstract.bind(b"\\0name")
v4 = (2).to_bytes(2, "little") + (80).to_bytes(2, "big") + bytes(12)
tcp = socket.socket()
fd = tcp.fileno()
print(raw(libc.bind, fd, None, 16), raw(libc.bind, fd, ctypes.c_void_p(8), 16))
print(raw(libc.bind, fd, v4, 3), raw(libc.bind, fd, v4 + bytes(200), 216))
print(raw(libc.bind, fd, v4, -1), raw(libc.bind, 999, v4, 16))
print(raw(libc.bind, 0, v4, 16), raw(libc.bind, unix.fileno(), v4, 16))
print(raw(libc.connect, fd, v4, 4))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 0))
udp.connect(("127.0.0.1", 80))
print(raw(libc.connect, udp.fileno(), bytes(16), 16)[0])
print(raw(libc.bind, fd, v4, 16)[0], tcp.getsockname()[1] == {port})
"""
    fault, invalid = f"(-1, {errno.EFAULT})", f"(-1, {errno.EINVAL})"
    expected = [
        f"{fault} {fault}",
        f"{invalid} {invalid}",
        f"{invalid} (-1, {errno.EBADF})",
        f"(-1, {errno.ENOTSOCK}) {invalid}",
        invalid,
        "0",
        "0 True",
    ]
    assert script(run, python, ["-p", f"{port}:80"], text).splitlines() == expected


MANY = """
import os, socket, sys, threading
failed = []
def work():
    try:
        for _ in range(25):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("", 80))
            if sock.getsockname()[1] != int(sys.argv[1]): failed.append(1)
            if socket.socket().connect_ex(("127.0.0.1", 80)) != 111: failed.append(2)
            sock.close()
    except OSError as error: failed.append(error)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        threads = [threading.Thread(target=work) for _ in range(10)]
        for each in threads: each.start()
        for each in threads: each.join()
        os._exit(bool(failed))
    children.append(pid)
print([os.waitpid(pid, 0)[1] for pid in children])
"""


def test_a_thousand_calls_at_once(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    done = run(python, "-p", f"{port}:80", "python3", "-c", MANY, str(port))
    assert said(done) == "[0, 0, 0, 0]\n"


HOSTILE = """
import ctypes, os, socket, threading, time
libc = ctypes.CDLL(None, use_errno=True)
address = ctypes.create_string_buffer(bytes([2, 0, 0, 80]) + bytes(12))
stop = time.monotonic() + 2
def change():
    while time.monotonic() < stop:
        address[3] = 80; address[3] = 81; address[0] = 10; address[0] = 2
def close():
    while time.monotonic() < stop:
        fd = libc.socket(2, 1, 0)
        threading.Thread(target=libc.close, args=(fd,)).start()
        libc.bind(fd, address, 16)
        libc.connect(fd, address, 16)
        libc.close(fd)
def die():
    while time.monotonic() < stop:
        pid = os.fork()
        if pid == 0:
            while True: libc.bind(libc.socket(2, 1, 0), address, 16)
        time.sleep(0.002)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
def execute():
    while time.monotonic() < stop:
        pid = os.fork()
        if pid == 0:
            work = lambda: [libc.bind(1000, address, 16) for _ in range(1000)]
            threading.Thread(target=work).start()
            os.execv("/bin/true", ["true"])
        os.waitpid(pid, 0)
threads = [threading.Thread(target=each) for each in (change, close, die, execute)]
for each in threads: each.start()
for each in threads: each.join()
sock = socket.socket()
sock.bind(("", 82))
print(sock.getsockname()[1])
"""


def test_a_program_that_changes_what_it_asks_for(run: Runner, python: Path) -> None:
    one, two, three = free_ports(3)
    options = ["-p", f"{one}:80", "-p", f"{two}:81", "-p", f"{three}:82"]
    assert script(run, python, options, HOSTILE) == f"{three}\n"


def test_a_listener_that_a_thread_leaves_to_another(run: Runner, python: Path) -> None:
    """The first thread has ended: its process has no descriptors any more."""
    (port,) = free_ports()
    text = """
import ctypes, os, socket, threading, time
libc = ctypes.CDLL(None)
def work():
    time.sleep(0.3)
    sock = socket.socket()
    sock.bind(("", 80))
    os.write(1, f"{sock.getsockname()[1]}\\n".encode())
    os._exit(0)
threading.Thread(target=work).start()
libc.pthread_exit(None)
"""
    kernel = tuple(int(each) for each in platform.release().split(".")[:2])
    if kernel < (6, 9):
        pytest.skip("pidfd_open(2) of a thread needs Linux 6.9")
    assert script(run, python, ["-p", f"{port}:80"], text) == f"{port}\n"


ASKING = """
import socket, time
print("ready", flush=True)
while True:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 80))
    socket.socket().connect_ex(("127.0.0.1", 80))
    sock.close()
"""


def test_a_runtime_that_is_killed(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    marker = f"# killed {os.getpid()}"
    command = run.command(python, "-p", f"{port}:80", "python3", "-c", ASKING + marker)
    with running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert wait_for(lambda: not processes_with(marker))
    with socket.create_server(("", port)):
        pass


def test_a_runtime_that_is_stopped(run: Runner, python: Path) -> None:
    (port,) = free_ports()
    text = """
import socket
print("ready", flush=True)
input()
sock = socket.socket()
sock.bind(("", 80))
print(sock.getsockname()[1], flush=True)
"""
    command = run.command(python, "-p", f"{port}:80", "python3", "-c", text)
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        process.stdin.write("\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == f"{port}\n"
        assert process.wait(timeout=60) == 0


REFUSING = str(TESTS / "refusing.py")


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("pidfd_getfd=ENOSYS", "--publish needs Linux 5.6 or newer"),
        ("pidfd_getfd=EPERM", "does not let the runtime use the program's sockets"),
        ("seccomp=EBUSY", "around this run another program answers system calls already"),
        ("seccomp=EINVAL", "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
    ],
)
@pytest.mark.root("a filter without no_new_privs")
def test_a_kernel_that_does_not_offer_it(hello: Path, refused: str, sentence: str) -> None:
    (port,) = free_ports()
    command = [sys.executable, REFUSING, refused, str(hello), "-p", f"{port}:80", "--"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 125 and sentence in done.stderr, done.stderr
    assert done.stdout == ""
