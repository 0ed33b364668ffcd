"""The tool as one executable that needs no Python, made by itself:

    python release/make.py BASE WHEEL OUTPUT [--arch ARCH] [--python VERSION]

BASE is an image with Python (docker://python:3.13-slim), WHEEL dockerc's own. What the wheel needs
comes from pip, for the Python of the image and the architecture, so any machine makes both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from toolkit.bundle.baked import BakedOptions  # noqa: E402
from toolkit.services.edit import edit  # noqa: E402

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
LEAVE_OUT = ("bin", "share", "zstandard/_cffi.*", "**/__pycache__")
"""Of what pip installs: programs and man pages, and the half of zstandard that is not used."""
OPTIONS = ("--privileged", "--env-host", "--env=PATH", "--env=HOME")
"""What start.py and `dockerc run` need, all within the rights of the caller: mounts, namespaces of
their own, all of /proc; and the caller's environment, in these two instead of the image's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--arch", choices=MACHINES, default="amd64")
    parser.add_argument("--python", default="3.13", help="the image's version")
    parser.add_argument("--level", default="10", help="of compression")
    parser.add_argument("--program", default="python3", help="the image's Python")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        content = Path(directory, "dockerc")
        install(given.wheel, content / "site", given.arch, given.python)
        for file in ("start.py", "tool.py"):
            shutil.copyfile(HERE / file, content / file)
        compile_all(content, given.python)
        built = Path(directory, "built")
        command = [sys.executable, "-m", "toolkit", "build", given.base, "--output", built]
        command += ["--arch", given.arch, "--level", given.level]
        command += ["--add-file", f"{content}:/dockerc"]
        command += ["--entrypoint", json.dumps([given.program, "-I", "/dockerc/start.py"])]
        command += ["--volume", "/:/host", "--volume", ".:/cwd", "--env", "HOME="]
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        subprocess.run(command, check=True, env=environment)
        # Not as options of `build`, where `--env NAME` is the builder's variable.
        edit(built, given.output, BakedOptions(run=OPTIONS))


def install(wheel: Path, target: Path, arch: str, version: str) -> None:
    """The wheel and its dependencies, compiled for the image."""
    machine = MACHINES[arch]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    command += ["--only-binary", ":all:", "--no-compile", "--python-version", version]
    for level in ("manylinux2014", "manylinux_2_17", "manylinux_2_28"):
        command += ["--platform", f"{level}_{machine}"]
    subprocess.run([*command, str(wheel)], check=True)
    for pattern in LEAVE_OUT:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def compile_all(content: Path, version: str) -> None:
    """Once and for all, for what a run writes is gone at its end; only the same Python can."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode"]
        command += ["unchecked-hash", "-s", str(content), "-p", "/dockerc", str(content)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
