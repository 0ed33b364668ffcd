"""Runs where user namespaces are refused to an ordinary user: paths are translated by ptrace."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import TESTS, Runner

LIKE_DOCKER = [sys.executable, str(TESTS / "like_docker.py")]
QUIET = {"DOCKERC_LOG": "quiet"}


@dataclass(frozen=True)
class Translated:
    """Runs commands so: asked for by a variable, or because the kernel refuses all else."""

    how: str
    cache: Path

    def environment(self, **more: str) -> dict[str, str]:
        forced = {} if self.how == "refused" else {"DOCKERC_FORCE": self.how}
        cache = {"XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)}
        return {"PATH": os.environ["PATH"], **cache, **QUIET, **forced, **more}

    def command(self, *words: str | Path) -> list[str]:
        user = Runner(as_root=False).command(*words)
        return [*LIKE_DOCKER, *user] if self.how == "refused" else user

    def __call__(
        self, *words: str | Path, env: dict[str, str] | None = None, **options: Any
    ) -> Any:
        runner = Runner(as_root=True)
        environment = self.environment(**(env or {}))
        return runner(*self.command(*words), env=environment, **options)

    def left(self) -> list[str]:
        """Directories of runs that are left in the cache."""
        return [each.name for each in self.cache.glob("dockerc/run/run-*")]


@contextmanager
def in_own_cache(how: str = "translate") -> Iterator[Translated]:
    """With a cache in which images are unpacked once; no run leaves anything there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o777)
        made = translated(how, Path(directory))
        yield made
        assert made.left() == []


def translated(how: str, cache: Path) -> Translated:
    if how == "refused" and os.geteuid() != 0:
        pytest.skip("only root can install the filter")
    return Translated(how, cache)
