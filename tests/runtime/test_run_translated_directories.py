"""Without user namespaces: working directories, which the kernel does not know. The judge is the
same program in an ordinary run, where the kernel keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Runner, dockerc
from translated import Translated, in_own_cache


@pytest.fixture(scope="module", params=["translate", "translate-stops"])
def translated_run(request: pytest.FixtureRequest) -> Iterator[Translated]:
    with in_own_cache(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def python(images: Path, place: Path) -> Path:
    dockerc("build", f"oci:{images}/python", "-o", place / "python-directories")
    return place / "python-directories"


FIRST = """
import ctypes, os, subprocess, threading
os.makedirs("/t/a/b")
os.chdir("/t")

def tell(*words):
    print(*words, flush=True)

def fails(call, *arguments):
    try:
        tell("no error", call(*arguments))
    except OSError as error:
        tell(error.strerror)

def in_child(*paths):
    if os.fork() == 0:
        for path in paths:
            os.chdir(path)
        tell(os.getcwd(), os.readlink("/proc/self/cwd"), sorted(os.listdir(".")))
        os._exit(0)
    os.wait()

def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
"""

SCRIPTS = {
    "relative paths": """
os.chdir("a"); tell(os.getcwd(), os.listdir("."), os.readlink("/proc/self/cwd"))
os.chdir("b"); open("made", "w").close(); tell(os.path.exists("/t/a/b/made"))
os.chdir("../.."); tell(os.getcwd()); os.symlink("a/b", "link"); os.chdir("link"); tell(os.getcwd())
os.chdir("../../../../.."); tell(os.getcwd())
tell(subprocess.run(["pwd"], cwd="/usr/lib", capture_output=True).stdout)
""",
    "processes and threads": """
in_child(); in_child("a"); in_child("/usr", "/t/a/b"); tell(os.getcwd())
in_thread(lambda: os.chdir("/t/a")); tell(os.getcwd())
child = os.posix_spawn("/bin/sh", ["sh", "-c", "pwd; cd b; pwd"], {}); os.waitpid(child, 0)
tell(os.getcwd())
os.execv("/bin/sh", ["sh", "-c", "pwd; readlink /proc/$$/cwd"])
""",
    "descriptors": """
here = os.open(".", os.O_RDONLY); os.chdir("/usr"); os.fchdir(here); tell(os.getcwd())
above = os.open("a", os.O_PATH); os.fchdir(above); tell(os.getcwd(), os.listdir("."))
fails(os.fchdir, os.open("/etc/passwd", os.O_RDONLY)); fails(os.fchdir, 999); tell(os.getcwd())
libc = ctypes.CDLL(None, use_errno=True)
tell(libc.fchdir(-100), os.strerror(ctypes.get_errno()))
""",
    "failures": """
fails(os.chdir, "none"); fails(os.chdir, "/etc/passwd"); fails(os.chdir, "")
os.symlink("loop", "loop"); fails(os.chdir, "loop"); fails(os.chdir, "n" * 300); tell(os.getcwd())
""",
    "removed and renamed": """
os.chdir("a/b"); os.rename("/t/a", "/t/c"); tell(os.getcwd(), os.path.exists("../../c"))
os.rmdir("/t/c/b"); fails(os.getcwd); tell(os.listdir("."), os.stat(".").st_mode)
fails(os.mkdir, "x"); in_child("/t"); os.chdir("/"); tell(os.getcwd())
""",
    "a thread alone": """
def alone():
    tell(ctypes.CDLL(None).unshare(0x200)); os.chdir("/usr"); tell(os.getcwd())
in_thread(alone); tell(os.getcwd())
def both():
    tell(ctypes.CDLL(None).unshare(0x600)); os.chdir("/etc"); tell(os.getcwd())
in_thread(both); tell(os.getcwd())
""",
    "processes that share": """
shared = 0x200 | 17  # CLONE_FS | SIGCHLD
number = 56 if os.uname().machine == "x86_64" else 220
child = ctypes.CDLL(None).syscall(number, shared, 0, 0, 0, 0)
if child == 0:
    os.chdir("/t/a"); os._exit(0)
os.waitpid(child, 0); tell(os.getcwd())
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_as_the_kernel_does(translated_run: Translated, python: Path, name: str) -> None:
    unconfined = ["--security-opt", "seccomp=unconfined"] if "alone" in name else []
    words = [python, *unconfined, "--", "python3", "-c", FIRST + SCRIPTS[name]]
    ordinary = Runner(as_root=False)(*words)
    assert (ordinary.returncode, ordinary.stderr) == (0, ""), ordinary.stderr
    done = translated_run(*words)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", ordinary.stdout)


def test_no_right_to_search(translated_run: Translated, python: Path) -> None:
    script = "mkdir -p /tmp/no; chmod 0 /tmp/no; cd /tmp/no 2>&1 || pwd"
    done = translated_run(python, "-u", "daemon", "-w", "/usr", "sh", "-c", script)
    assert "can't cd to" in done.stdout and done.stdout.endswith("/usr\n")


MANY = """
import os
for number in range(2000):
    os.chdir("/usr/lib" if number % 2 else "/usr")
    if os.fork() == 0:
        os.chdir("..")
        os._exit(os.getcwd() != ("/usr" if number % 2 else "/"))
    assert os.wait()[1] == 0, number
print(os.getcwd())
"""


def test_many_changes_with_few_descriptors(translated_run: Translated, python: Path) -> None:
    words = translated_run.command(python, "python3", "-c", MANY)
    done = Runner(as_root=True)(
        "prlimit", "--nofile=700:700", *words, env=translated_run.environment()
    )
    assert (done.returncode, done.stdout) == (0, "/usr/lib\n"), done.stderr


PROCESSORS = """
import os, subprocess
for _ in range(300):
    os.close(os.open("/etc/passwd", os.O_RDONLY))
    child = subprocess.run(["nproc"], capture_output=True, text=True)
    assert int(child.stdout) == os.cpu_count() == len(os.sched_getaffinity(0)), child.stdout
print("all")
"""


def test_opened_files_keep_the_processors(translated_run: Translated, python: Path) -> None:
    assert translated_run(python, "python3", "-c", PROCESSORS).stdout == "all\n"
