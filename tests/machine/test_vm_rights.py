"""A machine needs no rights: of any user, without FUSE and without namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machine_support import command
from support import Runner

pytestmark = pytest.mark.slow
REFUSING = Path(__file__).parents[1] / "refusing.py"
CALLS = "unshare=EPERM,clone=EPERM,clone3=ENOSYS,mount=EPERM"


def test_an_ordinary_user(deb: Path, shared: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take /dev/fuse from others")
    ordinary = Runner(as_root=False)
    if ordinary(sys.executable, "-c", "import toolkit.cli").returncode != 0:
        pytest.skip("the ordinary user cannot execute this Python")
    refusing = [sys.executable, str(REFUSING), CALLS]
    hidden = 'mount --bind /dev/null /dev/fuse; exec "$@"'
    outside = ["unshare", "-m", "--propagation", "private", "sh", "-c", hidden, "-", *refusing]

    def as_user(*words: str | Path) -> Any:
        return subprocess.run(
            [*outside, *ordinary.command(*words)],
            env={"PATH": os.environ["PATH"], "HOME": str(shared)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
        )  # fmt: skip

    assert "dockerc vm isolates it" in as_user(deb, "true").stderr
    done = as_user(*command(deb, "--", "sh", "-c", "id -u; touch /f; ls /f"))
    assert (done.returncode, done.stdout) == (0, "0\n/f\n"), done.stderr
    assert done.stderr == ""
