"""What is hidden of /proc and /sys, or cannot be written: what docker hides and protects.

Docker's lists are pinned in fixtures/docker/paths.json.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import FIXTURES, Runner, dockerc

DOCKERS = json.loads((FIXTURES / "docker/paths.json").read_text())

LOOK = 'for p; do if [ -d "$p" ]; then ls -A "$p"; elif [ -e "$p" ]; then cat "$p"; fi; done'


@pytest.mark.parametrize("rootfull", [[], ["--rootfull"]])
def test_what_is_hidden_and_protected_is_what_docker_does(
    tmp_path: Path, rootfull: list[str]
) -> None:
    dockerc("build", f"oci:{FIXTURES}/hello", "-o", tmp_path / "app", *rootfull)
    config = json.loads(dockerc("inspect", "--config", tmp_path / "app").stdout)
    assert sorted(config["linux"]["maskedPaths"]) == DOCKERS["masked"]
    assert sorted(config["linux"]["readonlyPaths"]) == DOCKERS["read-only"]


def test_nothing_is_to_be_seen_there(run: Runner, deb: Path) -> None:
    hidden = [path for path in DOCKERS["masked"] if Path(path).exists()]
    assert {"/proc/keys", "/proc/interrupts"} <= set(hidden)
    done = run(deb, "sh", "-c", LOOK, "-", *hidden)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # Not by another way to the same place either.
    done = run(deb, "sh", "-c", f"cd /proc/1/root; {LOOK}", "-", *(path[1:] for path in hidden))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run(deb, "--privileged", "sh", "-c", LOOK, "-", "/proc/interrupts").stdout != ""


def test_nothing_can_be_written_there(run: Runner, deb: Path) -> None:
    protected = [path for path in DOCKERS["read-only"] if Path(path).exists()]
    assert "/proc/sys" in protected
    assert run(deb, "sh", "-c", ": >>/proc/sys/kernel/domainname").returncode != 0
    options = run(deb, "cat", "/proc/self/mountinfo").stdout.splitlines()
    read_only = {line.split()[4] for line in options if line.split()[5].startswith("ro")}
    assert set(protected) <= read_only


def test_how_hot_each_cpu_was_is_hidden(run: Runner, deb: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can show such files where the machine has none")
    cpus = "/sys/devices/system/cpu"
    state = f"""
        possible=$(cat {cpus}/possible) && mount -t tmpfs none {cpus} && echo 0-1,7 >{cpus}/possible
        for cpu in 0 1 2 7; do
            mkdir -p {cpus}/cpu$cpu/thermal_throttle && echo hot >{cpus}/cpu$cpu/thermal_throttle/x
        done; rm -r {cpus}/cpu1/thermal_throttle; exec "$@"
    """
    look = f"cat {cpus}/possible; cd {cpus}; grep -r . cpu*"
    command = run.command(deb, "sh", "-c", look)
    done = Runner(as_root=True)("unshare", "-m", "sh", "-c", state, "-", *command)
    # The third is no CPU that the machine can have.
    assert done.stdout == "0-1,7\ncpu2/thermal_throttle/x:hot\n", done.stderr
