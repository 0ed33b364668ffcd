"""Sound executables to damage, and every way to look at what comes of it."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corpus import CORPUS
from layout import directory, file, symlink, tar_of, write_layout
from support import dockerc

from toolkit.errors import DockercError
from toolkit.executable.executable import (
    FooterFields,
    copy_payload,
    open_executable,
    write_executable,
)
from toolkit.files.location import open_location
from toolkit.files.removal import remove
from toolkit.services.anatomy import anatomy
from toolkit.services.compare import compare_trees
from toolkit.services.copy_in import copy_in
from toolkit.services.copy_out import copy_as_tar
from toolkit.services.export.bundle import write_rootfs
from toolkit.services.image_files import executable_files
from toolkit.services.inspect import inspection
from toolkit.services.sbom.bill import bill_of_executable
from toolkit.services.transfer.push import describe as stored_as
from toolkit.services.verify import verify
from toolkit.squashfs.read.lookup import reading

STUB = bytes(4096)
_SECONDS = 10


class TooSlow(BaseException):
    """A mutant took longer than any sound file of its size; `reading` must not explain it away."""


def sound_executables(place: Path) -> dict[str, bytes]:
    """Three small executables: compressed, with readable tables, and of dockerc 0.3."""
    layers = [*CORPUS["types and modes"], *CORPUS["extended attributes"], *CORPUS["hard links"],
              tar_of(file("big", b"block" * 3000), file("hole", bytes(90_000)),
                     directory("e"), symlink("e/s", "t" * 300))]  # fmt: skip
    layout = write_layout(place / "hostile.layout", layers)
    found = {}
    for name, options in {
        "compressed": [],
        "readable": ["--compression", "none", "--block-size", "4K"],
    }.items():
        dockerc("build", f"oci:{layout}", "-o", place / name, *options)
        found[name] = without_seal(place / name, place)
    with open_executable(place / "compressed") as executable, (place / "p").open("wb") as payload:
        copy_payload(executable, payload)
    # An old file: an unaligned offset and the first footer.
    old = STUB[:1001] + (place / "p").read_bytes()
    found["first generation"] = old + struct.pack(">Q", 1001)
    return found


def without_seal(app: Path, place: Path) -> bytes:
    """On a small stub, and without the digest, which would tell of any change at once."""
    with open_executable(app) as executable:

        def payload(target: object) -> FooterFields:
            copy_payload(executable, target)  # type: ignore[arg-type]
            return FooterFields(False, None)

        write_executable(place / "bare", STUB, payload)
    return (place / "bare").read_bytes()


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Raise TooSlow after some seconds."""

    def stop(*_: object) -> None:
        raise TooSlow(what)

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attempt(app: Path, out: Path) -> list[str]:
    """Every way to look at a file; each ends well or with one sentence. Returns the sentences."""
    told = []

    def inspect() -> None:
        inspection(executable)

    def look() -> None:
        told.extend(verify(executable).faults)

    def extract() -> None:
        write_rootfs(executable, out)

    def diff() -> None:
        list(compare_trees(executable, executable))

    def take_apart() -> None:
        files = executable_files(executable)
        anatomy(files, bill_of_executable(executable, files, "app"))

    def copy() -> None:
        copy_as_tar(executable, "/", lambda _: None, follow=True)

    def put() -> None:
        copy_in(__file__, app, "/e/here", app.with_name("put"))
        app.with_name("put").unlink()

    def describe() -> None:
        assert stored_as(executable).size == app.stat().st_size

    try:
        with open_executable(app) as executable:
            for work in (inspect, look, extract, diff, take_apart, copy, put, describe):
                try:
                    with bounded(work.__name__), reading(str(app)):
                        work()
                except DockercError as error:
                    told.append(str(error))
    except DockercError as error:
        told.append(str(error))
    assert all("\n" not in sentence and len(sentence) < 1000 for sentence in told), told
    with open_location(out) as location:
        remove(location, out.name)
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".out")]
    return told


class NoElf:
    """lief has its own process, and its own test: a third of a second for each mutant."""

    def __init__(self, data: bytes) -> None: ...

    def result(self) -> None: ...


def write(path: Path, data: bytes) -> Path:
    """The mutant as a file."""
    path.write_bytes(data)
    return path
