"""Shared mounts under attack: planted sockets, changed files, programs that look for the keeper."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import wait_for
from sharing import NOT_SHARED, Sharing, end_all, finish, runtime_directory
from support import Runner, with_config


@pytest.fixture
def sharing(run: Runner, deb: Path, shared: Path) -> Iterator[Sharing]:
    """Runs of a file that tests may change."""
    app = Path(shutil.copy(deb, shared / "app"))
    own = Sharing(run, app, runtime_directory(run, shared), ["--linger", "30"])
    yield own
    end_all(app, signal.SIGKILL)


@pytest.fixture
def name(sharing: Sharing) -> Path:
    """Where its keeper's socket will be."""
    first = sharing.waiting("--linger", "0")
    (name,) = sharing.sockets()
    finish(first)
    end_all(sharing.app)
    assert wait_for(lambda: not sharing.sockets())
    return sharing.directory / name


IMPOSTOR = """
import array, os, socket, sys
own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
own.bind(sys.argv[1])
own.listen(100)
print(flush=True)
files = array.array("i", [os.open(path, 0) for path in sys.argv[2:]])
while True:
    connection, _ = own.accept()
    try:
        if files:
            reply = bytes([0, 3, 0]).ljust(16, b"\\0")
            connection.sendmsg([reply], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        connection.recv(100)
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    "files", [[], ["/proc/self/ns/mnt"], ["/proc/self/ns/mnt", "/proc/self/ns/user"], ["/", "/"]]
)
def test_an_impostor_is_not_believed(sharing: Sharing, name: Path, files: list[str]) -> None:
    """It is of the same user, and answers as a keeper would."""
    command = sharing.run.command(sys.executable, "-c", IMPOSTOR, name, *files)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as impostor:
        assert impostor.stdout is not None and impostor.stdout.readline()
        done = sharing("echo", "ran")
        impostor.kill()
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
    assert done.stderr == f"dockerc: {NOT_SHARED}the socket there is not of a keeper of this file\n"
    name.unlink()


def test_a_child_of_a_runtime_is_not_the_keeper(sharing: Sharing, name: Path) -> None:
    """It has called listen(2), and then executed the file; another process answers."""
    execute = f"if os.fork(): os.execv({str(sharing.app)!r}, ['app', 'sh', '-c', 'sleep 60'])\n"
    code = IMPOSTOR.replace("files = ", f"{execute}files = ")
    files = ["/proc/self/ns/mnt", "/proc/self/ns/user"]
    command = sharing.run.command(sys.executable, "-c", code, name, *files)
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as impostor:
        assert impostor.stdout is not None and impostor.stdout.readline()
        assert wait_for(lambda: Path(f"/proc/{impostor.pid}/exe").readlink() == sharing.app)
        done = sharing("echo", "ran")
        os.killpg(impostor.pid, signal.SIGKILL)
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
    assert done.stderr == f"dockerc: {NOT_SHARED}the socket there is not of a keeper of this file\n"


def test_a_keeper_that_does_not_answer(sharing: Sharing) -> None:
    assert sharing("true").returncode == 0
    (keeper,) = sharing.keepers()
    os.kill(keeper, signal.SIGSTOP)
    began = time.monotonic()
    done = sharing("echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr == f"dockerc: {NOT_SHARED}its keeper does not answer\n"
    assert 9 < time.monotonic() - began < 30
    os.kill(keeper, signal.SIGCONT)
    assert f"joined keeper {keeper}\n" in sharing("true", debug=True).stderr


@pytest.mark.parametrize("what", ["file", "link", "dangling", "stale", "pipe"])
def test_what_stands_in_the_keeper_s_place_is_replaced(
    sharing: Sharing, name: Path, shared: Path, what: str
) -> None:
    precious = shared / "precious"
    precious.write_text("kept")
    precious.chmod(0o666)
    if what == "file":
        name.write_text("x")
    elif what == "link":
        name.symlink_to(precious)
    elif what == "dangling":
        name.symlink_to(shared / "missing")
    elif what == "pipe":
        os.mkfifo(name)
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
            left.bind(str(name))
    os.lchown(name, sharing.runtime.stat().st_uid, -1)
    done = sharing("echo", "ran")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
    assert len(sharing.keepers()) == 1 and name.is_socket()
    assert precious.read_text() == "kept" and not (shared / "missing").exists()


def test_a_directory_in_the_keeper_s_place_stays(sharing: Sharing, name: Path) -> None:
    name.mkdir()
    (name / "file").touch()
    done = sharing("echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert NOT_SHARED in done.stderr and (name / "file").exists()


@pytest.mark.parametrize("what", ["of another user", "for all", "link", "file"])
def test_a_directory_that_is_not_the_user_s_alone(
    sharing: Sharing, shared: Path, what: str
) -> None:
    """There is another: the cache."""
    if os.geteuid() != 0:
        pytest.skip("only root is two users")
    cache = shared / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    owner = sharing.runtime.stat().st_uid
    if what == "link":
        (shared / "elsewhere").mkdir(mode=0o700)
        os.chown(shared / "elsewhere", owner, owner)
        sharing.directory.symlink_to(shared / "elsewhere")
    elif what == "file":
        sharing.directory.touch()
    else:
        sharing.directory.mkdir()
        sharing.directory.chmod(0o777 if what == "for all" else 0o755)
        os.chown(sharing.directory, owner if what == "for all" else 4321, owner)
    command = sharing.run.command("env", f"XDG_CACHE_HOME={cache}", sharing.app)
    done = subprocess.run(
        [*command, "--linger", "30", "echo", "ran"],
        env=sharing.environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ran\n", "")
    assert len(list((cache / "dockerc/keeper").iterdir())) == 1
    if what != "file":
        assert list(sharing.directory.iterdir()) == []


@pytest.mark.parametrize("change", ["replaced", "another time", "renamed", "deleted"])
def test_a_file_that_changes_while_its_keeper_lingers(
    sharing: Sharing, hello: Path, change: str
) -> None:
    assert sharing("true").returncode == 0
    (keeper,) = sharing.keepers()
    new = sharing.app.with_name("new")
    if change == "replaced":
        shutil.copy(hello, new)
        new.rename(sharing.app)
        assert "Hello" in sharing("--").stdout
        assert Path(f"/proc/{keeper}/exe").readlink() == Path(f"{sharing.app} (deleted)")
        assert len(sharing.sockets()) == 2
    elif change == "another time":
        os.utime(sharing.app, (0, 0))
        assert f"joined keeper {keeper}\n" not in sharing("true", debug=True).stderr
    elif change == "renamed":
        sharing.app.rename(new)
        moved = Sharing(sharing.run, new, sharing.runtime, sharing.options)
        assert f"joined keeper {keeper}\n" in moved("true", debug=True).stderr
    else:
        again = shutil.copy(sharing.app, new)
        sharing.app.unlink()
        Path(again).rename(sharing.app)
        assert f"joined keeper {keeper}\n" not in sharing("true", debug=True).stderr
    end_all(sharing.app)
    assert wait_for(lambda: not sharing.sockets())


def test_a_run_outlives_its_file(sharing: Sharing) -> None:
    first = sharing.start("sh", "-c", "echo begun; read line; cat /usr/bin/* | wc -c")
    sharing.app.unlink()
    out, errors = first.communicate("\n", timeout=30)
    assert int(out) > 1 << 20 and (first.returncode, errors) == (0, "")


REACH = """
import errno, os, socket, sys
keeper, server, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
for pid in (keeper, server):
    for what in ("mem", "root", "cwd", "exe", "fd/4", "ns/mnt", "environ"):
        try:
            opened = os.open(f"/machine/{pid}/{what}", os.O_RDONLY)
        except OSError as err:
            # There may be no such descriptor.
            known = (errno.EACCES, errno.EPERM, *[errno.ENOENT][what != "fd/4":])
            assert err.errno in known, (what, err)
        else:
            print("opened", pid, what)
    try:
        os.kill(pid, 9)
        print("killed", pid)
    except ProcessLookupError:
        pass
own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    own.connect("/sockets/" + name)
    own.send(bytes(4))
    print("answer", own.recvmsg(100, 100)) if own.recv(1) else None
except OSError as err:
    print(err, file=sys.stderr)
print("end")
"""


@pytest.fixture
def snake(run_as_user: Runner, python: Path, shared: Path) -> Iterator[Sharing]:
    """Runs of the python image, by an ordinary user."""
    yield Sharing(run_as_user, python, runtime_directory(run_as_user, shared), ["--linger", "30"])
    end_all(python)


@pytest.mark.parametrize("rights", [[], ["--cap-add", "SYS_PTRACE"], ["--privileged"]])
def test_a_program_cannot_reach_the_keeper(snake: Sharing, shared: Path, rights: list[str]) -> None:
    """Although it was given the directory of the sockets, and the machine's processes to see."""
    own = snake
    (shared / "reach.py").write_text(REACH)
    first = own.waiting()
    (keeper,), (server,), (name,) = own.keepers(), own.servers(), own.sockets()
    volumes = ["-v", f"{own.directory}:/sockets", "-v", "/proc:/machine", "-v", f"{shared}:/s"]
    words = ["python3", "/s/reach.py", str(keeper), str(server), name]
    done = own(*rights, *volumes, *words)
    assert done.stdout == "end\n", done.stdout + done.stderr
    # Nobody is the worse for it.
    assert own("echo", "ran").stdout == "ran\n"
    assert finish(first)[0] == 0


def test_a_program_cannot_plant_anything(snake: Sharing) -> None:
    """It has the directory of the sockets, and listens there in place of the keeper."""
    own = snake
    own.options = ["--share"]
    first = own.waiting()
    (name,) = own.sockets()
    finish(first)
    assert wait_for(lambda: not own.sockets())
    files = ["/proc/self/ns/mnt", "/proc/self/ns/user"]
    volume = ["-v", f"{own.directory}:/sockets"]
    planted = own.start(
        "--share=false", *volume, "python3", "-c", IMPOSTOR.replace("print(", "print('x', "),
        f"/sockets/{name}", *files,
    )  # fmt: skip
    done = own("echo", "ran")
    assert done.stdout == "ran\n" and NOT_SHARED in done.stderr
    planted.kill()
    planted.communicate()
    assert own("echo", "ran").stderr == ""
    own.end()


PEEK = """
import ctypes, os, sys
class Part(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("len", ctypes.c_size_t)]
own = ctypes.create_string_buffer(6)
part, other = Part(ctypes.addressof(own), 6), Part(int(sys.argv[2]), 6)
libc = ctypes.CDLL(None)
one, two = ctypes.byref(part), ctypes.byref(other)
print(libc.process_vm_readv(int(sys.argv[1]), one, 1, two, 1, 0), own.value.decode())
"""
SHOW = """
import ctypes, os, sys
text = ctypes.create_string_buffer(b"secret")
print(os.getpid(), ctypes.addressof(text), flush=True)
sys.stdin.read()
"""


def test_joined_programs_may_read_each_other_s_memory(
    run_as_user: Runner, python: Path, shared: Path
) -> None:
    """If they are in no PID namespace and no domain of Landlock of their own: as MPI's ranks do."""
    config = json.loads(run_as_user(python, "--dockerc-inspect").stdout)
    namespaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [each for each in namespaces if each["type"] != "pid"]
    app = with_config(python, config, shared / "app")
    app.chmod(0o755)
    own = Sharing(run_as_user, app, runtime_directory(run_as_user, shared))
    own.options = ["--share", "--security-opt", "seccomp=unconfined"]
    command = run_as_user.command(app, *own.options, "python3", "-c", SHOW)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=own.environment()
    ) as first:
        assert first.stdout is not None
        where = first.stdout.readline().split()
        assert own("python3", "-c", PEEK, *where).stdout == "6 secret\n"
        assert own("--share=false", "python3", "-c", PEEK, *where).stdout == "-1 \n"
        first.communicate()
    own.end()
