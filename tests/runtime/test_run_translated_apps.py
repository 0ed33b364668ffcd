"""Without user namespaces: real programs whose paths are translated."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports_support import assert_held_until_taken, free_ports
from support import dockerc
from translated import Translated, translated


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    """Unpacked once for all tests."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


@pytest.fixture
def run(cache: Path) -> Iterator[Translated]:
    made = translated("translate", cache)
    yield made
    assert made.left() == []


@pytest.fixture(scope="module")
def python(images: Path, place: Path) -> Path:
    dockerc("build", f"oci:{images}/python", "-o", place / "python-translated")
    return place / "python-translated"


def interpreted(run: Translated, app: Path, script: str) -> str:
    done = run(app, "python3", "-c", script)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return str(done.stdout)


def test_numpy(run: Translated, python: Path) -> None:
    assert interpreted(run, python, "import numpy; print(numpy.ones(3).sum())") == "3.0\n"


PROCESSES = """
import multiprocessing, os, subprocess
def square(x):
    return x * x
done = subprocess.run(["sh", "-c", "echo sub; exit 3"], capture_output=True)
print(done.stdout, done.returncode)
with multiprocessing.Pool(4) as pool:
    print(sum(pool.map(square, range(100))))
os.chdir("/usr")
print(os.getcwd(), "env" in os.listdir("bin"), flush=True)
os.execv("/proc/self/exe", ["python3", "-c", "print('again')"])
"""


def test_processes_of_python(run: Translated, python: Path) -> None:
    expected = "b'sub\\n' 3\n328350\n/usr True\nagain\n"
    assert interpreted(run, python, PROCESSES) == expected


THREADS = """
import os, pathlib, shutil, sqlite3, tempfile, threading
base = sqlite3.connect("/srv/base")
base.execute("create table t (i)")
base.executemany("insert into t values (?)", [(i,) for i in range(1000)])
base.commit()
print(base.execute("select sum(i) from t").fetchone()[0])
directory = tempfile.mkdtemp()
def work(number):
    for i in range(50):
        path = pathlib.Path(directory) / f"{number}-{i}"
        path.write_text("x")
        path = path.rename(f"{path}-renamed")
        os.utime(path, (1, 2))
        assert os.stat(path).st_mtime == 2
        path.unlink()
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(os.listdir(directory))
shutil.rmtree(directory)
"""


def test_threads_and_a_data_base(run: Translated, python: Path) -> None:
    assert interpreted(run, python, THREADS) == "499500\n[]\n"


SOCKETS = """
import os, socket
deep = "/tmp/" + "d" * 60
os.mkdir(deep)
server = socket.socket(socket.AF_UNIX)
server.bind(f"{deep}/socket")
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(f"{deep}/socket")
accepted, _ = server.accept()
accepted.send(b"through")
print(client.recv(100))
one, two = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
one.bind("/tmp/one")
two.sendto(b"datagram", "/tmp/one")
print(one.recv(100))
"""


def test_unix_sockets(run: Translated, python: Path) -> None:
    assert interpreted(run, python, SOCKETS) == "b'through'\nb'datagram'\n"


WATCH = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, b"/etc", 0x100)
open("/etc/made", "w").close()
print(os.read(fd, 1000)[16:].rstrip(b"\\0"))
descriptor = os.open("/etc", os.O_PATH)
print(os.readlink(f"/proc/self/fd/{descriptor}"), os.stat("motd", dir_fd=descriptor).st_size >= 0)
print(os.fstat(descriptor).st_ino == os.stat("/etc").st_ino)
os.fchdir(descriptor)
print(os.getcwd())
"""


def test_watches_and_descriptors(run: Translated, python: Path) -> None:
    assert interpreted(run, python, WATCH) == "b'made'\n/etc True\nTrue\n/etc\n"


BOMB = """
import os, resource
resource.setrlimit(resource.RLIMIT_NPROC, (40, 40))
children = 0
try:
    while True:
        if os.fork() == 0:
            os.pause() if hasattr(os, "pause") else __import__("signal").pause()
        children += 1
except BlockingIOError:
    print("refused", children < 40)
"""


def test_a_limit_of_processes(run: Translated, python: Path) -> None:
    assert interpreted(run, python, BOMB) == "refused True\n"


def test_a_static_program(run: Translated, hello: Path) -> None:
    assert run(hello).returncode == 0


PROCESSORS = """
import os
before = os.sched_getaffinity(0)
seen = set()
for _ in range(300):
    os.close(os.open("/etc/passwd", os.O_RDONLY))
    seen.add(len(os.sched_getaffinity(0)))
    child = os.fork()
    if child == 0: os._exit(len(os.sched_getaffinity(0)))
    seen.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(seen == {len(before)}, os.sched_getaffinity(0) == before)
"""


def test_the_tracer_does_not_choose_the_program_s_processors(run: Translated, python: Path) -> None:
    assert interpreted(run, python, PROCESSORS) == "True True\n"


PUBLISHED = """
import socket, threading, urllib.request
from http.server import HTTPServer, SimpleHTTPRequestHandler
class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
server = HTTPServer(("", 80), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.socket.getsockname()[1])
print(urllib.request.urlopen("http://localhost:80/etc/hostname").status)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::1", 53))
print(udp.getsockname()[1])
try: HTTPServer(("", 80), Handler)
except OSError as error: print(error.strerror)
"""


def test_published_ports(run: Translated, python: Path) -> None:
    tcp, udp = free_ports(2)
    options = ["-p", f"{tcp}:80", "-p", f"{udp}:53/udp", "-w", "/", "--"]
    done = run(python, *options, "python3", "-c", PUBLISHED)
    assert done.stdout == f"{tcp}\n200\n{udp}\nAddress already in use\n", done.stderr


def test_a_published_port_is_held_until_the_program_takes_it(run: Translated, python: Path) -> None:
    with socket.create_server(("", 0)) as other:
        taken = other.getsockname()[1]
        done = run(python, "-p", f"{taken}:80", "true")
    assert done.returncode == 125 and "this port of the machine is in use" in done.stderr
    assert_held_until_taken(lambda *words: run.command(python, *words), env=run.environment())
