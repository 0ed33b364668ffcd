"""Running and timing one command, as the ordinary user that most of our users are."""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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


@dataclass(frozen=True)
class User:
    """Whom a command runs as: an account's name, or None for whoever runs the benchmark."""

    name: str | None
    cache: Path | None = None
    """What XDG_CACHE_HOME is for the commands."""

    def with_cache(self, directory: Path) -> User:
        """The same user with a cache of its own."""
        return User(self.name, directory / "cache")

    def timed(self, *words: str | Path) -> Measured:
        """Run to the end, output thrown away; raises CalledProcessError when it fails."""
        command = [str(word) for word in words]
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **self.identity(),
        )
        assert process.stderr is not None
        told = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        if code := os.waitstatus_to_exitcode(status):
            raise subprocess.CalledProcessError(code, command, stderr=told)
        return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def can_run(self, program: str) -> bool:
        """Whether this user reaches the program and its interpreter."""
        try:
            self.timed(program, "--version")
        except (OSError, subprocess.CalledProcessError):
            return False
        return True

    def identity(self) -> dict[str, Any]:
        """For Popen, which changes the user itself: a wrapper's start would count too."""
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        if self.cache:
            environment["XDG_CACHE_HOME"] = str(self.cache)
        if self.name is None:
            return {"env": environment | {"HOME": str(Path.home())}}
        account = pwd.getpwnam(self.name)
        home = account.pw_dir
        return {
            "user": account.pw_uid,
            "group": account.pw_gid,
            "extra_groups": [],
            "env": environment | {"HOME": home, "XDG_RUNTIME_DIR": home},
            "cwd": home,
        }


ORDINARY = User("dockerc-test")


def in_turn(contenders: dict[str, list[str | Path]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each command, run so often after once that does not count.

    In another order each time: what ends is unmounted while the next starts.
    """
    for words in contenders.values():
        ORDINARY.timed(*words)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            times[name].append(ORDINARY.timed(*contenders[name]).wall * 1000)
    return times


def write_policy(work: Path) -> Path:
    """skopeo wants a policy; this is dockerc 0.3's, which accepts everything."""
    policy = work / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    policy.chmod(0o644)
    return policy
