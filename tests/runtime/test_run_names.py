"""Readers who take files by their names, one after the other: the runtime goes ahead of them, and
what they read is what was put there."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from layout import directory, file, noise, symlink, tar_of, write_layout
from leftovers import wait_for
from support import Runner, dockerc

MACHINES_PROGRAMS = ("-v", "/usr:/usr:ro")
AHEAD = re.compile(r"prefetching names: (.*), (\d+) asked for")
"""Where the runtime goes, and how many names it had been asked for until then."""
CROWD = 5_000
"""Directories in one: in so many the runtime does not look for one by its inode."""

Entry = tarfile.TarInfo | tuple[tarfile.TarInfo, bytes]


def tree() -> list[Entry]:
    """Packages with files, directories in them, and names that lead astray."""
    found: list[Entry] = [symlink(name, f"usr/{name}") for name in ("bin", "lib", "lib64")]
    found += [directory("packages"), directory("crowd")]
    for package in range(40):
        path = f"packages/{package:02d}"
        found.append(directory(path))
        for name in ("a", "b é", "c\n", "d" * 255, "e", "f", "g", "h"):
            found.append(file(f"{path}/{name}", noise(100 + package, len(found))))
        found += [directory(f"{path}/sub"), symlink(f"{path}/to-usr", "/usr")]
        found += [file(f"{path}/sub/{name}", noise(70_000, len(found))) for name in "abcdefgh"]
    for number in range(CROWD):
        found += [directory(f"crowd/{number}")]
    found += [file(f"crowd/{CROWD - 1}/{name}") for name in "abcdefghij"]
    return found


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    """An executable of that tree; the machine's programs are bound into it."""
    layout = write_layout(place / "names-layout", [tar_of(*tree())])
    dockerc("build", "--no-cache", f"oci:{layout}", "-o", place / "names")
    return place / "names"


def read(run: Runner, app: Path, names: list[bytes]) -> tuple[list[str], dict[str, int]]:
    """What sha256sum says of files that are given by their names, and what AHEAD tells."""
    words = (*MACHINES_PROGRAMS, "/usr/bin/xargs", "-0", "/usr/bin/sha256sum", "-z")
    given = b"".join(b"/" + name + b"\0" for name in names)
    environment = {**os.environ, "DOCKERC_LOG": "debug"}
    done = run(app, *words, input=given, text=False, env=environment)
    assert done.returncode == 0, done.stderr
    sums = [line.partition(b" ")[0].decode() for line in done.stdout.split(b"\0")[:-1]]
    found = AHEAD.findall(done.stderr.decode())
    ahead = {where: int(asked) for where, asked in found}
    assert len(ahead) == len(found), found
    return sums, ahead


def files(under: str) -> dict[bytes, str]:
    """Name and sum of the regular files there, in the order of a listing."""
    found = {
        os.fsencode(each[0].name): hashlib.sha256(each[1]).hexdigest()
        for each in tree()
        if isinstance(each, tuple) and each[0].name.startswith(under)
    }
    return dict(sorted(found.items(), key=lambda item: item[0].split(b"/")))


def test_in_their_order(run_as_user: Runner, app: Path) -> None:
    expected = files("packages/")
    sums, ahead = read(run_as_user, app, list(expected))
    assert sums == list(expected.values())
    assert next(iter(ahead)) == "rootfs/packages/00"
    # By then all but the last few have been read, most of them without being asked for.
    assert "rootfs/packages/3" in list(ahead)[-1]
    assert list(ahead.values())[-1] < len(expected) / 2


def test_in_no_order(run_as_user: Runner, app: Path) -> None:
    expected = files("packages/")
    names = sorted(expected, reverse=True)
    sums, ahead = read(run_as_user, app, names)
    assert sums == [expected[name] for name in names]
    assert ahead == {}


def test_where_it_cannot_be_told_where_they_are(run_as_user: Runner, app: Path) -> None:
    crowd, packages = files("crowd/"), files("packages/")
    sums, ahead = read(run_as_user, app, [*crowd, *packages])
    assert sums == [*crowd.values(), *packages.values()]
    # Not there, but elsewhere as before.
    assert ahead
    assert all(where.startswith("rootfs/packages") for where in ahead)


def test_the_runtime_can_be_stopped_while_it_goes_ahead(
    run_as_user: Runner, deb: Path, shared: Path
) -> None:
    """A thread that waits for the mount cannot: the shell would not hear that the job stopped."""
    found = run_as_user(deb, "find", "/usr", "-xdev", "-type", "f")
    (shared / "names").write_text(found.stdout)
    command = run_as_user.command(deb, "xargs", "-d", "\n", "cat")
    moments = random.Random(1)
    stops = 0
    for _ in range(8):
        with (
            (shared / "names").open() as names,
            subprocess.Popen(
                command, stdin=names, stdout=subprocess.DEVNULL, preexec_fn=os.setpgrp
            ) as process,
        ):
            time.sleep(0.05)
            while process.poll() is None:
                time.sleep(moments.random() / 50)
                process.send_signal(signal.SIGTSTP)
                told = wait_for(lambda: has_stopped(process) or process.poll() is not None, 5)
                stops += process.returncode is None
                process.send_signal(signal.SIGCONT if told else signal.SIGKILL)
        assert process.returncode == 0
    assert stops > 20


def has_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether its parent, which we are, is told so."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG) is not None
    except ChildProcessError:
        return False
