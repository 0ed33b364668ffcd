"""The checks of what a run leaves see what a test of theirs leaves, and nothing else."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from leftovers import leaving_nothing, own_machine, traces, wait_for

UNSHARED = ["unshare", "-m", "--propagation", "unchanged"]


@pytest.mark.parametrize(
    "leaving",
    [
        ["touch", "/var/tmp/left"],
        ["mkdir", "/dev/shm/left"],
        [*UNSHARED, "mount", "-t", "tmpfs", "left", "/mnt"],
        ["setsid", "sh", "-c", "sleep 5 & sleep 0.1"],
    ],
)
def test_what_a_test_leaves_is_seen(leaving: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has a machine of its own")
    with own_machine():
        before = traces()
        subprocess.run(leaving, check=True)
        assert len(traces() - before) == 1
    assert not Path("/var/tmp/left").exists() and not Path("/dev/shm/left").exists()
    assert " left " not in Path("/proc/self/mountinfo").read_text()


def test_what_others_do_is_not_seen(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has a machine of its own")
    script = (
        "read line; f=$(mktemp /var/tmp/dockerc-other-XXXXXX); rmdir $0; echo made;"
        " read line; rm $f"
    )
    pipe = subprocess.PIPE
    of_another = Path(tempfile.mkdtemp(prefix="dockerc-test-"))
    with subprocess.Popen(
        ["sh", "-c", script, of_another], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        with leaving_nothing():
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "made\n"
        other.communicate("\n")
    assert wait_for(lambda: other.poll() == 0)
