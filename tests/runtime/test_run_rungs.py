"""Every way to start, forced, and every context that services and containers are started in: the
same programs run in each, as root and as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import TESTS, Runner, dockerc

pytestmark = pytest.mark.root("takes calls and mounts from others")

REFUSING = [sys.executable, str(TESTS / "refusing.py")]
PRIVATE = ["unshare", "-m", "--propagation", "private"]
DENY_WRITE_EXECUTE = [
    sys.executable, "-c",
    "import ctypes, os, sys\n"
    "if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):\n"
    "    sys.exit(os.strerror(ctypes.get_errno()))\n"
    "os.execvp(sys.argv[1], sys.argv[1:])",
]  # fmt: skip
"""prctl(2): PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN (Linux 6.3)."""


def mounted(script: str) -> list[str]:
    """With root's mounts, in a mount namespace of its own."""
    return [*PRIVATE, "sh", "-euc", f'{script}; exec "$@"', "-"]


def refused(*calls: str) -> list[str]:
    return [*PRIVATE, *REFUSING, ",".join(f"{call}=EPERM" for call in calls)]


NAMESPACES = ("unshare", "setns", "clone")
CONTEXTS: dict[str, list[str]] = {
    "plain": [],
    "fuse is hidden": mounted("mount --bind /dev/null /dev/fuse"),
    "RestrictNamespaces=yes": refused(*NAMESPACES),
    "SystemCallFilter=@system-service": refused("mount", "umount2", "pivot_root", "chroot"),
    "both": refused(*NAMESPACES, "mount", "umount2", "pivot_root", "chroot", "mknodat"),
    "docker's filter": refused(*NAMESPACES, "mount", "process_vm_readv", "process_vm_writev"),
    "ProtectProc=invisible": mounted("mount -t proc -o hidepid=invisible proc /proc"),
    "ProtectKernelTunables=yes": mounted(
        "for d in /proc/sys /proc/irq /sys; do mount --rbind $d $d; mount -o remount,bind,ro $d;"
        " done; mount --bind /dev/null /proc/kallsyms"
    ),
    "MemoryDenyWriteExecute=yes": DENY_WRITE_EXECUTE,
    "NoNewPrivileges=yes": ["setpriv", "--no-new-privs"],
}
"""As systemd's settings, which need it as the machine's init, make them (systemd.exec(5))."""
FORCED = ["fuse", "unpack", "copy", "memory", "translate"]

PROGRAMS: dict[str, tuple[str, str]] = {
    "pipeline": (
        "seq 1 100 | sort -rn | head -n 3 | tr '\\n' ' ' | sed 's/ $//' | cat",
        "100 99 98",
    ),
    "redirections": ("cd /tmp; echo a >f; cat <f >>f2; exec 3<f2; read x <&3; echo $x", "a"),
    "python": ("python3 -c 'import json, ctypes, ssl; print(json.dumps([1]))'", "[1]"),
    "numpy": ("python3 -c 'import numpy; print(numpy.arange(9).sum())'", "36"),
    "subprocesses": (
        "python3 -c 'import subprocess as s;"
        ' print(sum(int(s.check_output(["echo", str(n)])) for n in range(20)))\'',
        "190",
    ),
    "perl": ("perl -MPOSIX -e 'print join(\":\", map { $_ * 2 } 1 .. 3)'", "2:4:6"),
    "archives": (
        "cd /tmp; mkdir d; echo x >d/a; ln d/a d/b; ln -s a d/c; tar cf t.tar d; rm -r d;"
        " tar xf t.tar; stat -c %h d/a; cat d/b d/c",
        "2\nx\nx",
    ),
    "find": ("find /usr/bin -maxdepth 1 -name 'python3' | wc -l", "1"),
    "signals": ("{ sleep 60 & kill $!; wait $!; echo $?; } 2>/dev/null", "143"),
    "sockets": (
        "python3 -c 'import socket, os; s = socket.socket(socket.AF_UNIX);"
        ' s.bind("/tmp/s"); s.listen(); c = socket.socket(socket.AF_UNIX);'
        ' c.connect("/tmp/s"); c.send(b"hi"); print(s.accept()[0].recv(2).decode())\'',
        "hi",
    ),
    "the image is the root": ("cat /etc/debian_version | cut -c1-2; ls /root | wc -l", "12\n0"),
}


@pytest.fixture(scope="module")
def app(images: Path, place: Path) -> Path:
    dockerc("build", f"oci:{images}/python", "-o", place / "rungs")
    return place / "rungs"


@pytest.fixture(scope="module")
def cache(place: Path) -> Iterator[Path]:
    """Unpacked once for all, and for each user."""
    for name in ("root", "user"):
        (place / f"rungs-{name}").mkdir(mode=0o777)
        (place / f"rungs-{name}").chmod(0o777)
    yield place / "rungs"


def everything_runs(run: Runner, app: Path, cache: Path, context: list[str], force: str) -> None:
    script = "\n".join(f"echo '== {name}'; ({text})" for name, (text, _) in PROGRAMS.items())
    words = [*context, *run.command(app, "sh", "-c", script)]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200,
        env={
            "PATH": os.environ["PATH"],
            "XDG_CACHE_HOME": f"{cache}-{'root' if run.as_root else 'user'}",
            "DOCKERC_LOG": "quiet",
            "DOCKERC_FORCE": force,
        },
    )  # fmt: skip
    parts = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    assert {name: text.strip() for name, text in parts.items()} == {
        name: expected for name, (_, expected) in PROGRAMS.items()
    }, done.stderr
    assert (done.returncode, done.stderr) == (0, "")


ROOT_S = [
    "fuse is hidden", "RestrictNamespaces=yes", "SystemCallFilter=@system-service", "both",
    "docker's filter",
]  # fmt: skip
"""Contexts that root's starts take another way in than those of users."""
CASES = [("user", context) for context in CONTEXTS] + [("root", context) for context in ROOT_S]


@pytest.mark.parametrize(("run", "context"), CASES, indirect=["run"])
def test_in_every_context(run: Runner, app: Path, cache: Path, context: str) -> None:
    if context in ("both", "SystemCallFilter=@system-service") and run.as_root:
        # Paths of root's program are not translated: it would have all of root's rights.
        words = [*CONTEXTS[context], *run.command(app, "true")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert done.returncode == 125 and len(done.stderr.splitlines()) == 1, done
        return
    everything_runs(run, app, cache, CONTEXTS[context], "")


@pytest.mark.parametrize("force", FORCED)
def test_by_every_way(run: Runner, app: Path, cache: Path, force: str) -> None:
    everything_runs(run, app, cache, [], force)
