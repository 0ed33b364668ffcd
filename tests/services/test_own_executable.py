"""The tool as an executable of its own (release/): it builds and runs images for its caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import TESTS, Runner

RELEASE = TESTS.parent / "release"
PYTHON = "3.11"
"""The version in the test image, which is of Debian 12."""


@pytest.fixture(scope="module")
def tool(images: Path, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    wheels = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, TESTS.parent]
    # The stubs are compiled already, for whoever has installed dockerc to test it.
    environment = {name: text for name, text in os.environ.items() if name != "XDG_CACHE_HOME"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (wheel,) = wheels.iterdir()
    tool = place / "dockerc"
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    words = [
        f"oci:{images}/python",
        wheel,
        tool,
        "--arch",
        arch,
        "--python",
        PYTHON,
        "--level",
        "1",
    ]
    subprocess.run([sys.executable, RELEASE / "make.py", *words], check=True, capture_output=True)
    return tool


def test_it_does_for_its_caller_what_the_installed_tool_does(run: Runner, tool: Path) -> None:
    # Root's mounts must stay its own, even if something is wrong with it.
    alone = ["unshare", "-m", "--propagation", "private"] if run.as_root else []
    done = run(*alone, "bash", RELEASE / "smoke.sh", tool, timeout=300)
    assert done.stdout.endswith("smoke test passed\n"), (done.stdout, done.stderr)


def test_it_looks_into_the_runtimes_of_others(run_as_user: Runner, tool: Path, hello: Path) -> None:
    """By lief, in a process of the Python that the image holds."""
    data = bytearray(hello.read_bytes())
    data[4095] ^= 1
    other = hello.with_name("other")
    other.write_bytes(data)
    done = run_as_user(tool, "inspect", "--format", "{{.Stub.Linkage}}", other)
    assert (done.stdout, done.stderr) == ("static\n", "")
