"""A kernel in a file of this machine, with its modules where distributions put them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from toolkit.errors import AbsentError, DockercError, about
from toolkit.files.digest import sha256_of
from toolkit.files.regular import open_regular, read_regular
from toolkit.limits import MAX_CONFIG
from toolkit.machine.kernel_files import ROOTS, DirectoryFiles
from toolkit.machine.kernel_image import MAX_IMAGE
from toolkit.machine.kernel_package import MAGIC, package_source
from toolkit.machine.kernel_source import KernelSource

_CHANGING = ("", "modules.builtin", "modules.dep", "modules.order")
"""What changes in lib/modules/RELEASE when its modules do; the first is the directory."""


def state_of(path: Path) -> str:
    """What changes when the file does; raises DockercError where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise AbsentError(
            f"there is no kernel {path}; an image is named with its transport: docker://{path}"
        ) from None
    except OSError as error:
        raise DockercError(f"cannot read the kernel {path}: {error.strerror}") from None
    parts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return f"{path.resolve()} {parts}"


def state_beside(path: Path, release: str) -> str:
    """The same for what is read beside a kernel: never empty."""
    states = []
    directories = _module_directories(path, release)
    for each in (*(d / name for d in directories for name in _CHANGING), _config(path, release)):
        try:
            status = each.stat()
            states.append(f"{each} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            states.append(f"{each} -")
    return "\n".join(states)


def digest_of(path: Path) -> tuple[str, bool]:
    """The SHA-256 of a file, and whether it is a package; raises DockercError."""
    try:
        with open(open_regular(path), "rb") as file:
            is_package = file.read(len(MAGIC)) == MAGIC
            return sha256_of(file, 0, file.seek(0, os.SEEK_END)).hex(), is_package
    except OSError as error:
        raise DockercError(f"cannot read the kernel {path}: {error.strerror}") from None


def local_source(path: Path, *, is_package: bool) -> AbstractContextManager[KernelSource]:
    """The kernel of a package or file; DockercError is raised on entering."""
    return package_source(path) if is_package else _file_source(path)


@contextmanager
def _file_source(path: Path) -> Iterator[KernelSource]:
    def modules(release: str) -> DirectoryFiles | None:
        for directory in _module_directories(path, release):
            if directory.is_dir() and _is_trusted(directory):
                return DirectoryFiles(directory)
        return None

    def config(release: str) -> bytes | None:
        beside = _config(path, release)
        if not beside.is_file():
            return None
        with about(str(beside)):
            return read_regular(beside, MAX_CONFIG, "configuration of a kernel")

    with about(str(path)):
        data = read_regular(path, MAX_IMAGE, "kernel")
    yield KernelSource(data, config, modules, str(path))


def _module_directories(path: Path, release: str) -> list[Path]:
    """Where modules of this kernel may be: next to boot/, beside the kernel, and around it."""
    parent = path.resolve().parent
    around = [parent] if parent.name == release and parent.parent.name == "modules" else []
    tops = [parent.parent, parent] if parent.name == "boot" else [parent]
    return [*around, *(top / root / release for top in tops for root in ROOTS)]


def _config(path: Path, release: str) -> Path:
    parent = path.resolve().parent
    return parent / ("config" if parent.name == release else f"config-{release}")


def _is_trusted(directory: Path) -> bool:
    """Whether it is ours or root's: modules run in the machine that sees the user's volumes."""
    return not hasattr(os, "geteuid") or directory.stat().st_uid in (0, os.geteuid())
