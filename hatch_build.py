"""The build hook: compiles `runtimes/` for every architecture and puts the stubs into the wheel.

Zig cross-compiles them all on any host, so the wheel is pure and `pip install .` needs no
compiler. libzstd's single-file source comes out of the sdist of `zstandard`, version and hash
pinned; it is never committed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MACHINES = ("x86_64", "aarch64")
STUB = "dockerc-runtime-{}"
ZSTANDARD = "zstandard==0.25.0"
ZSTANDARD_HASH = "sha256:7713e1179d162cf5c7906da876ec2ccb9c3a9dcbdffef0cc7f70c3667a205f0b"
MADE = frozenset({"__pycache__", ".zig-cache", "zig-out"})
"""Names of what is made beside the sources; see .gitignore."""
ZSTANDARD_FILES = ("zstd.c", "zstd.h", "zstd_errors.h")


class StubHook(BuildHookInterface[Any]):
    """Compiles the stubs once for each state of their sources; keeps them in the user's cache."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the wheel's files."""
        sources, target = Path(self.root, "runtimes"), Path(self.root, "toolkit", "stub")
        stubs = _cache() / "stubs" / _key(sources, self.metadata.version)
        if not all((stubs / STUB.format(machine)).is_file() for machine in MACHINES):
            _compile(sources, stubs, self.metadata.version)
        target.mkdir(exist_ok=True)
        for machine in MACHINES:
            shutil.copyfile(stubs / STUB.format(machine), target / machine)
        build_data["artifacts"].append("/toolkit/stub/*")


def libzstd() -> Path:
    """A directory with libzstd's single-file source, fetched once into the user's cache."""
    target = _cache() / ZSTANDARD.replace("==", "-")
    if all((target / name).is_file() for name in ZSTANDARD_FILES):
        return target
    with _beside(target) as made, tempfile.TemporaryDirectory() as temporary:
        pin = Path(temporary, "pin.txt")
        pin.write_text(f"{ZSTANDARD} --hash={ZSTANDARD_HASH}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "zstandard", "--require-hashes", "-r", str(pin)]
        # pip asks the sdist for its metadata. In a build environment of its own that would find
        # cffi and want a compiler; in ours there is none, and so it does without.
        command += ["--no-build-isolation", "-d", temporary]
        subprocess.run(command, check=True)
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as sdist:
            for name in ZSTANDARD_FILES:
                member = sdist.extractfile(f"{ZSTANDARD.replace('==', '-')}/zstd/{name}")
                assert member is not None
                (made / name).write_bytes(member.read())
    return target


def _compile(sources: Path, stubs: Path, version: str) -> None:
    with _beside(stubs) as made:
        command = [sys.executable, str(sources / "build.py"), "--zstd", str(libzstd())]
        command += ["--version", version, "--out", str(made), "--cache", str(_cache() / "zig")]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def _beside(target: Path) -> Any:
    """A new directory that becomes `target` when all went well; whoever is first wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield made
        with contextlib.suppress(OSError):  # another build has just put the same there
            made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "dockerc", "build")


def _key(sources: Path, version: str) -> str:
    """Stands for all that goes into the stubs: every file, for any of them may be embedded."""
    parts = [version, importlib.metadata.version("ziglang"), ZSTANDARD_HASH]
    digest = hashlib.sha256("\n".join(parts).encode())
    for file in sorted(path for path in sources.rglob("*") if path.is_file()):
        name = file.relative_to(sources)
        if not MADE.isdisjoint(name.parts) or name.suffix == ".pyc":
            continue
        content = file.read_bytes()
        digest.update(f"\0{name.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:32]
