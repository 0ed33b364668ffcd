"""docs/walkthroughs.md: every command as it stands there, and what it prints."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from support import FIXTURES, TESTS, Runner, dockerc, need

PAGE = (TESTS.parent / "docs" / "walkthroughs.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SERVICE = 'ln -sf /dev/stdout /run/log; echo "$(id -un) is up" >> /run/log; exec sleep 600'
KINDS = {
    "wc": ["--config.entrypoint=wc", "--clear=config.cmd"],
    "debian": [],
    "service": [
        "--config.user=www-data",
        *(f"--config.cmd={word}" for word in ("sh", "-c", f"trap 'exit 143' TERM; {SERVICE}")),
    ],
}


@pytest.fixture(scope="module")
def kinds(images: Path, place: Path) -> dict[str, str]:
    """By the names of the page, the test images that stand for them."""
    need("umoci")
    copy = place / "kinds"
    shutil.copytree(images / "debian", copy)
    for kind, changes in KINDS.items():
        words = ["umoci", "config", "--image", f"{copy}:latest", "--tag", kind, *changes]
        subprocess.run(words, check=True, capture_output=True)
    return {f"docker://example/{kind}": f"oci:{copy}:{kind}" for kind in KINDS}


@pytest.mark.parametrize("title", SECTIONS)
def test_a_walk_through(title: str, run: Runner, kinds: dict[str, str], shared: Path) -> None:
    lines = [line[4:] for line in SECTIONS[title].splitlines() if line.startswith("    ")]
    script, expected = [], []
    for line in lines:
        if not line.startswith("$ "):
            expected.append(line)
        elif line.startswith("$ dockerc "):
            words = [kinds.get(word, word) for word in shlex.split(line)[2:]]
            here = [f"oci:{FIXTURES}/hello" if "fixtures" in word else word for word in words]
            dockerc(*here, cwd=shared)
        else:
            script.append(line[2:])
    assert script and expected
    done = run("sh", "-c", "\n".join(script), cwd=shared)
    # What the shell says of the process that was killed.
    told = done.stderr.replace("Terminated\n", "")
    assert (done.stdout.splitlines(), told) == (expected, "")
