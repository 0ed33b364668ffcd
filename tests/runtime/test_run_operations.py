"""The operations that set a container up, as DOCKERC_LOG=debug shows them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from support import Runner

OPERATION = re.compile(r"(?:mount|bind|show) .*? on (\S+)|mask (\S+)|make (\S+) read-only")
TIME = re.compile(r"^dockerc: \[\d+ us\] ", re.MULTILINE)


def shown(stderr: str) -> list[str]:
    """The steps of a start, without their times."""
    return TIME.sub("", stderr).splitlines()


def debug() -> dict[str, str]:
    return {**os.environ, "DOCKERC_LOG": "debug"}


def test_every_mount_of_the_container_is_an_operation(run: Runner, deb: Path, shared: Path) -> None:
    (shared / "volume").mkdir()
    options = ["-v", f"{shared}/volume:/m/volume:ro", "--tmpfs", "/m:size=64k", "-w", "/made"]
    done = run(deb, *options, "--add-host", "a:1.2.3.4", "--read-only", "cat",
               "/proc/self/mountinfo", env=debug())  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = shown(done.stderr)
    failed = [line.removeprefix("could not ") for line in lines if line.startswith("could not ")]
    matches = [match for line in lines if (match := OPERATION.match(line))]
    targets = {next(filter(None, match.groups())) for match in matches}
    mounted = {line.split()[4] for line in done.stdout.splitlines()}
    written = {line.split()[1].rstrip(",") for line in lines if line.startswith("write ")}
    assert "/etc/hosts" in written
    # /sys comes with what the machine has mounted in it.
    own = {path for path in mounted if not path.startswith("/sys/")}
    assert own - {"/"} <= targets | written
    must = {match[1] for match in matches if match[1] and not match[0].startswith(tuple(failed))}
    assert must and must <= mounted

    # In the order in which they are done.
    order = [
        "mount proc on /proc",
        "bind /dev/null on /dev/null",
        "link /dev/stdin to /proc/self/fd/0",
        "write /etc/hosts",
        "mount tmpfs on /m (nosuid,nodev,noexec,mode=1777,size=64k)",
        f"bind {shared}/volume on /m/volume (ro,nodev)",
        "make /proc/sys read-only",
        "mask /proc/keys",
        "make directory /made",
        "remount / (ro,nodev)",
        "root is the container's",
    ]
    found = [next(i for i, line in enumerate(lines) if line.startswith(each)) for each in order]
    assert found == sorted(found)


def test_an_operation_that_fails_is_the_last_one_and_named(run: Runner, deb: Path) -> None:
    words = (deb, "--tmpfs", "/t:size=frob", "true")
    done = run(*words)
    operation = "mount tmpfs on /t (nosuid,nodev,noexec,mode=1777,size=frob)"
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"dockerc: cannot {operation}: invalid argument\n"
    lines = shown(run(*words, env=debug()).stderr)
    at = lines.index(operation)
    assert lines[at + 1] == f"dockerc: cannot {operation}: invalid argument"
    assert not any(map(OPERATION.match, lines[at + 1 :]))
