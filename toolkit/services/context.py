"""A directory with a Dockerfile: an engine of the machine builds its image, and we go on from it.

What a Dockerfile means is for those who run its commands, so this only hands the directory over:
to docker, podman or buildah, whichever is there, in this order.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import AbsentError, DamagedError, DockercError
from toolkit.images.platforms import host_platform
from toolkit.images.source import Platform

_ANSWER_TIME = 20
"""Seconds for docker's daemon to say that it is there."""
_MAX_ID = 200
_DOCKERFILES = ("Dockerfile", "Containerfile")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What `docker build` would be given; `context` is a directory."""

    context: str
    file: Path | None
    build_args: tuple[str, ...]
    target: str | None
    tag: str | None

    def options(self) -> list[str]:
        """As docker, podman and buildah all write them."""
        words = [f"--build-arg={text}" for text in self.build_args]
        words += [f"--file={self.file}"] if self.file else []
        words += [f"--target={self.target}"] if self.target else []
        return words + ([f"--tag={self.tag}"] if self.tag else [])


def build_image(recipe: Recipe, platform: Platform, *, quiet: bool) -> str:
    """Have the image built; returns the reference by which it can be read.

    What the engine says goes to standard error. Raises DockercError where there is none, or it
    fails.
    """
    context = Path(recipe.context)
    if recipe.file is None and not any((context / name).is_file() for name in _DOCKERFILES):
        raise AbsentError(
            f"{context}: neither Dockerfile nor Containerfile is in it; name one with --file, or an"
            " image: oci:DIR, dir:DIR"
        )
    engine = _engine()
    words = [engine, "build", *recipe.options(), *(["--quiet"] if quiet else [])]
    if platform != host_platform():
        words.append(f"--platform={platform}")
    with tempfile.TemporaryDirectory(prefix="dockerc-") as directory:
        result = Path(directory, "id")
        command = [*words, f"--iidfile={result}", recipe.context]
        _log.debug("running %s", " ".join(command))
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=_stderr(), stderr=_stderr()
            )
        except OSError as error:
            raise DockercError(f"cannot run {engine}: {error.strerror}") from None
        if done.returncode:
            raise DockercError(
                f"{engine} cannot build {context}: it ended with status {done.returncode}"
            )
        digest = _read_id(result, engine)
    if engine == "docker":
        return f"docker-daemon:{digest}"
    return f"containers-storage:{digest.removeprefix('sha256:')}"


def _stderr() -> int:
    return sys.stderr.fileno()


def _engine() -> str:
    for name in ("docker", "podman", "buildah"):
        if shutil.which(name) and (name != "docker" or _has_daemon()):
            _log.debug("building with %s", name)
            return name
    raise AbsentError(
        "a Dockerfile needs docker (with its daemon), podman or buildah, and none is there; install"
        " one, or build the image elsewhere and name docker-archive:FILE"
    )


def _has_daemon() -> bool:
    """docker's client is on many a machine whose engine is podman."""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_ANSWER_TIME,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _read_id(path: Path, engine: str) -> str:
    try:
        with path.open() as file:
            text = file.read(_MAX_ID).strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text.startswith("sha256:") or not text.removeprefix("sha256:").isalnum():
        raise DamagedError(f"{engine} did not say which image it has built")
    return text
