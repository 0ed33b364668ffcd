"""Helpers of the tests: run the tool, run executables as this or that user, compare trees."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from toolkit.executable.executable import FooterFields, open_executable, write_executable
from toolkit.executable.payload import filesystem_of
from toolkit.squashfs.write.rewrite import rewrite_file

TESTS = Path(__file__).resolve().parent
FIXTURES = TESTS.parent / "fixtures"
TOOL = [sys.executable, "-c", "from toolkit.cli import main; main()"]
"""The tool as a command, for who wants more than `dockerc` below."""
ORDINARY_USER = "dockerc-test"
"""Made by .ci/run, with sub-ids; without it a number will do."""


def dockerc(*arguments: str | Path, check: bool = True, **options: Any) -> Any:
    """Run the tool as a user would; returns the CompletedProcess, its output as text."""
    command = [*TOOL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert not check or done.returncode == 0, done
    return done


def failed(*arguments: str | Path, status: int | None = None, **options: Any) -> str:
    """Run the tool where it must fail: one sentence, last on stderr, which is returned. The status
    is 1, but for `diff`, which differs with that."""
    status = status or (2 if arguments[0] == "diff" else 1)
    done = dockerc(*arguments, check=False, **options)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    *progress, sentence = done.stderr.splitlines()
    assert all(line.startswith("layer ") for line in progress), done.stderr
    assert sentence.startswith("dockerc: "), done.stderr
    return str(sentence)


def need(*tools: str) -> None:
    """Skip the test when a program is missing."""
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")


@dataclass(frozen=True)
class Runner:
    """Runs commands as root or as an ordinary user."""

    as_root: bool

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs `words` as that user."""
        if self.as_root or os.geteuid() != 0:
            return [str(word) for word in words]
        need("setpriv")
        user = ["--reuid", "12345", "--regid", "12345", "--clear-groups"]
        if _exists(ORDINARY_USER):
            user = ["--reuid", ORDINARY_USER, "--regid", ORDINARY_USER, "--init-groups"]
        return ["setpriv", *user, *(str(word) for word in words)]

    def __call__(self, *words: str | Path, **options: Any) -> Any:
        """Run; returns the CompletedProcess with output as text, whatever the status. A defect of
        the runtime that its safety checks found has a status and a sentence, too: that fails."""
        options.setdefault("timeout", 60)
        options.setdefault("text", True)
        if "stdin" not in options and "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        done = subprocess.run(self.command(*words), capture_output=True, **options)
        assert "internal error" not in str(done.stderr), done.stderr
        return done


def _exists(user: str) -> bool:
    return subprocess.run(["id", user], capture_output=True).returncode == 0


def with_config(app: Path, config: dict[str, Any], output: Path) -> Path:
    """The executable with that config.json, and a demand for ids of its own."""
    with open_executable(app) as executable:

        def write_payload(file: BinaryIO) -> FooterFields:
            start, filesystem = executable.footer.offset, filesystem_of(executable)
            words = json.dumps(config).encode()
            rewrite_file(filesystem, executable.file, start, b"config.json", words, file)
            return FooterFields(require_mapped_uids=True, integrity=None)

        write_executable(output, executable.stub(1 << 20), write_payload)
    return output


def describe_tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Every path with what `stat` tells, its xattrs and its content's hash.

    Left out is the size of directories, which each filesystem counts its own way.
    """
    found = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in [b".", *directories, *files]:
            if name == b"." and directory != os.fsencode(root):
                continue
            path = directory + b"/" + name
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            found[relative] = _describe(path)
    return found


def _describe(path: bytes) -> tuple[Any, ...]:
    status = os.lstat(path)
    is_directory = stat.S_ISDIR(status.st_mode)
    content: bytes | str = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)  # noqa: PTH115 - bytes
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # the kernel's squashfs without any xattr
        names = []
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(names)}
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        None if is_directory else status.st_size,
        status.st_nlink,
        int(status.st_mtime),
        status.st_rdev,
        content,
        tuple(xattrs.items()),
    )


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """One line for each path that differs, a few of them."""
    paths = sorted(set(left) | set(right))
    lines = [f"{p}: {left.get(p)} != {right.get(p)}" for p in paths if left.get(p) != right.get(p)]
    return lines[:20]
