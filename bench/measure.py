"""Running and timing one command, as the ordinary user that most of our users are."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

USER = "dockerc-test"


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and processor time, and the peak resident memory in bytes."""

    wall: float
    cpu: float
    rss: int

    @classmethod
    def total(cls, steps: list[Measured]) -> Measured:
        """Several commands one after the other."""
        return cls(
            sum(step.wall for step in steps),
            sum(step.cpu for step in steps),
            max(step.rss for step in steps),
        )


def ordinary(*words: str | Path) -> list[str]:
    """The command line that runs `words` as the ordinary user, in a clean environment."""
    account = pwd.getpwnam(USER)
    user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"]
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = [
        "env", "-i", f"PATH={path}", f"HOME={account.pw_dir}", f"XDG_RUNTIME_DIR={account.pw_dir}"
    ]  # fmt: skip
    return [*user, *environment, *(str(word) for word in words)]


def can_run(program: str) -> bool:
    """Whether the ordinary user reaches this program and its interpreter."""
    command = ordinary(program, "--version")
    return subprocess.run(command, capture_output=True).returncode == 0


def timed(command: list[str]) -> Measured:
    """Run to the end, output thrown away; raises CalledProcessError when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if code := os.waitstatus_to_exitcode(status):
        raise subprocess.CalledProcessError(code, command, stderr=told)
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def write_policy(work: Path) -> Path:
    """skopeo wants a policy; this is the old tool's, which accepts everything."""
    policy = work / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    policy.chmod(0o644)
    return policy
