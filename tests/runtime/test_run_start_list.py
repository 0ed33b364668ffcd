"""Start lists that no builder wrote: a start with one is as any other, and `verify` tells."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import BinaryIO

import pytest
from leftovers import own_machine
from support import Runner, dockerc, failed

from toolkit.bundle.profile import Use
from toolkit.bundle.start_list import decode
from toolkit.executable.executable import FooterFields, open_executable, write_executable
from toolkit.executable.payload import filesystem_of
from toolkit.squashfs.write.rewrite import rewrite_file

PROFILE = """# dockerc profile 1
start /usr/bin/dash
name /usr/bin/cat
read 0+4096 /usr/bin/cat
"""
COMMAND = ["sh", "-c", "cat /etc/debian_version; sleep 0.1; sha256sum /usr/bin/cat"]


@pytest.fixture(scope="module")
def prepared(images: Path, place: Path) -> Path:
    profile, output = place / "small.profile", place / "small"
    profile.write_text(PROFILE)
    dockerc("build", f"oci:{images}/debian", "--profile", profile, "-o", output)
    return output


def start_list(app: Path) -> bytes:
    with open_executable(app) as executable:
        filesystem = filesystem_of(executable)
        node = filesystem.find(b"start-list")
        assert node is not None
        return filesystem.read(node, 1 << 20)


def with_list(app: Path, data: bytes, output: Path) -> Path:
    with open_executable(app) as executable:

        def write_payload(file: BinaryIO) -> FooterFields:
            start, filesystem = executable.footer.offset, filesystem_of(executable)
            rewrite_file(filesystem, executable.file, start, b"start-list", data, file)
            return FooterFields(executable.footer.require_mapped_uids, None)

        write_executable(output, executable.whole_stub(), write_payload)
    return output


def entry(use: int, number: int, path: bytes = b"", *ranges: tuple[int, int]) -> bytes:
    head = struct.pack("<HHHHI", use, len(path), len(ranges), 0, number)
    return head + path + b"".join(struct.pack("<II", *each) for each in ranges)


def hostile(program: int, cat: int) -> dict[str, bytes]:
    """Lists for that program, by what is wrong with them."""
    entries = {
        "no number": [entry(Use.READ, 0, b"", (0, 1)), entry(Use.NAME, 0xFFFFFFFF, b"usr")],
        "a directory that is read": [entry(Use.READ, 1, b"", (0, 1))],
        "pages beyond the end": [entry(Use.READ, cat, b"", (1 << 31, 1), (0, 0xFFFFFFFF))],
        "paths that lead out": [
            entry(use, 0, path)
            for use in (Use.NAME, Use.LIST)
            for path in (b"../../etc", b"/etc", b"..", b"proc/self/root", b"\0", b"a/" * 2000)
        ],
        "another file's name": [entry(Use.NAME, cat, b"etc/passwd")],
        "a listing of a file": [entry(Use.LIST, cat, b"usr/bin/cat")],
        "an unknown use": [entry(9, cat, b"usr")],
        "a path that is cut": [entry(Use.NAME, cat, b"usr")[:-1]],
        "the same pages without end": [entry(Use.READ, cat, b"", *[(0, 9)] * 9)] * 20_000,
    }
    lists = {
        name: b"dcstart1"
        + struct.pack("<III", program, len(data), sum(map(len, data)))
        + b"".join(data)
        for name, data in entries.items()
    }
    noise = random.Random(1).randbytes(500)
    return lists | {
        "nothing": b"",
        "another word": b"dcstart2" + noise,
        "a section that is cut": b"dcstart1" + struct.pack("<III", program, 1, 1 << 31) + noise,
        "noise": b"dcstart1" + struct.pack("<III", program, 1, len(noise)) + noise,
        "sections without end": b"dcstart1" + struct.pack("<III", 0, 0, 0) * 100_000,
    }


@pytest.mark.parametrize("wrong", hostile(1, 2))
def test_a_hostile_list_harms_nobody(run: Runner, prepared: Path, shared: Path, wrong: str) -> None:
    ((program, (_, read)),) = decode(start_list(prepared))
    data = hostile(program, read.number)[wrong]
    app = with_list(prepared, data, shared / "app")
    expected = run(prepared, *COMMAND)
    assert expected.returncode == 0
    with own_machine():
        done = run(app, *COMMAND, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout, done.stderr) == (0, expected.stdout, "")
    if wrong != "the same pages without end":
        assert "start list" in failed("verify", app)
