"""Recording a start: the executable runs, and its runtime writes the profile."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.bundle.annotations import ARGS
from toolkit.bundle.profile import Profile, read_profiles
from toolkit.errors import DockercError, UnsupportedError
from toolkit.executable.executable import open_executable
from toolkit.executable.payload import config_of
from toolkit.limits import MAX_STUB
from toolkit.squashfs.read.lookup import reading

if TYPE_CHECKING:
    from toolkit.images.source import Platform

_OWN = b"dockerc-record"
"""Stands in each runtime that records."""
_GRACE = 10
"""Seconds that a program may take to end, as with docker stop."""


def record(
    app: Path,
    profile: Path,
    options: Sequence[str],
    arguments: Sequence[str],
    *,
    seconds: float | None = None,
    quiet: bool = False,
) -> int:
    """Run the executable and have what it uses written to `profile`; returns its exit status.

    After `seconds` it gets SIGTERM. Its standard output goes to standard error if `quiet`. Raises
    DockercError when nothing was recorded.
    """
    with open_executable(app) as executable, reading(str(app)):
        if _OWN not in executable.stub(MAX_STUB):
            raise UnsupportedError(
                "its runtime records no profiles; `dockerc replace` gives it one that does"
            )
        annotations = config_of(executable).get("annotations")
        is_tool = isinstance(annotations, dict) and annotations.get(ARGS) == "program"
    program = str(app) if "/" in str(app) else f"./{app}"
    words = [program, f"--dockerc-record={profile}", *options]
    # A tool takes the -- for its own where no option of ours is before it.
    words += [*([] if is_tool and not options else ["--"]), *arguments]
    before = _identity(profile)
    status = _run(words, seconds, quiet)
    if _identity(profile) == before:
        raise DockercError(f"{app} recorded nothing; its exit status is {status}")
    return status


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _run(words: list[str], seconds: float | None, quiet: bool) -> int:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": 2} if quiet else {}
    try:
        process = subprocess.Popen(words, **streams)
    except OSError as error:
        raise DockercError(f"cannot run {words[0]}: {error.strerror}") from None
    try:
        with _interrupts_are_the_program_s():
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.terminate()
                status = _end(process, words[0])
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return status if status >= 0 else 128 - status


def _end(process: subprocess.Popen[bytes], app: str) -> int:
    try:
        return process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        raise DockercError(
            f"{app} does not end {_GRACE} seconds after SIGTERM, so nothing was recorded"
        ) from None


@contextlib.contextmanager
def _interrupts_are_the_program_s() -> Iterator[None]:
    """Ctrl-C ends the program, which is in the same foreground process group, and then us."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def recorded(
    build: Callable[[Path, Profile | None], object],
    directory: Path,
    arguments: Sequence[str],
    profile: Profile | None,
    platform: Platform,
) -> Profile:
    """Build an executable, record a start of it, and return that profile, behind the one given.

    What is built is in a directory of its own in `directory`, and removed. Raises DockercError.
    """
    from toolkit.images.platforms import host_platform

    if host_platform().architecture != platform.architecture:
        raise UnsupportedError(
            f"--record runs the image, and this machine does not run images for {platform}"
        )
    try:
        place = tempfile.TemporaryDirectory(dir=directory, prefix=".dockerc-")
    except OSError as error:
        raise DockercError(f"cannot write into {directory}: {error.strerror}") from None
    with place as name:
        app, written = Path(name, "app"), Path(name, "profile")
        build(app, None)
        status = record(app, written, [], arguments, quiet=True)
        if status:
            raise DockercError(
                f"--record: the program's exit status is {status}; give other arguments, or use"
                " `dockerc record`"
            )
        more = read_profiles([written])
    if profile is None:
        return more
    digest = hashlib.sha256(f"{profile.digest}{more.digest}".encode()).hexdigest()
    return Profile((*profile.recordings, *more.recordings), f"sha256:{digest}")
