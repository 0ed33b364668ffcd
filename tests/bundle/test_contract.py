"""What Python and Zig both say of options, footers, volumes and users is the same thing.

The vectors in fixtures/contract are read by the runtime's own tests, too.
"""

from __future__ import annotations

import io
import json
import re
import struct
from typing import Any

import pytest
from support import FIXTURES, TESTS, dockerc

from toolkit.bundle.baked import check_volume
from toolkit.bundle.ports import parse_ports
from toolkit.bundle.run_options import RUN_OPTIONS, SUBSTITUTES, VOLUME_MODES, split_run_words
from toolkit.bundle.users import find_user
from toolkit.errors import DockercError, UsageError
from toolkit.executable.footer import read_footer
from toolkit.executable.policy import parse_policy

ROOT = TESTS.parent
CONTRACT = FIXTURES / "contract"


def source(name: str) -> str:
    """The runtime's file of that name, in whichever room."""
    (found,) = (ROOT / "runtimes" / "src").rglob(name)
    return found.read_text()


def vectors(name: str) -> Any:
    return json.loads((CONTRACT / f"{name}.json").read_text())


@pytest.mark.parametrize("case", vectors("policies")["cases"], ids=lambda case: case["text"][:40])
def test_policies(case: dict[str, Any]) -> None:
    data = case["text"].encode()
    if "error" in case:
        with pytest.raises(DockercError):
            parse_policy(data)
        return
    policy = parse_policy(data)
    for path, expected in case["paths"].items():
        keys = policy.keys_for(path)
        assert (None if keys is None else [key.data.hex() for key in keys]) == expected


def test_the_runtime_has_the_same_options() -> None:
    table = {}
    table_text = source("flags.zig").replace("\n", " ")
    for entry in re.findall(r"\.\{ (\.name = [^}]*\.flag[^}]*) \}", table_text):
        name = re.search(r'\.name = "([^"]+)"', entry)
        short = re.search(r"\.short = '(.)'", entry)
        assert name is not None
        ignored = ".flag = .nothing" in entry
        value = ".value = false" not in entry
        table[name[1]] = (short[1] if short else "", value, ignored)
    ours = {each.name: (each.short, bool(each.value), each.ignored) for each in RUN_OPTIONS}
    assert table == ours
    refused = re.findall(r'\.name = "([^"]+)", \.instead = "([^"]+)"', source("flags.zig"))
    assert dict(refused) == SUBSTITUTES
    assert [*ours] == sorted(ours, key=lambda name: (name.startswith("dockerc-"), name))


@pytest.mark.parametrize("text", ["runtimes manual", "man page", "README"])
def test_every_option_is_explained(text: str) -> None:
    page = {
        "runtimes manual": lambda: source("manual.txt"),
        "man page": lambda: (ROOT / "docs/man/dockerc-run.1").read_text().replace("\\-", "-"),
        "README": lambda: (ROOT / "README.md").read_text() + read_if_there("docs/running.md"),
    }[text]()
    missing = [each.name for each in RUN_OPTIONS if f"--{each.name}" not in page]
    if text != "man page":  # they say -i and -t, and --network
        missing = [name for name in missing if name not in ("interactive", "tty", "net")]
        assert "-i" in page and "-t" in page
    assert missing == []
    # And nothing that is not there.
    known = {each.name for each in RUN_OPTIONS}
    if text == "runtimes manual":
        told = set(re.findall(r"--([a-z][a-z-]+)", page)) - {"option"}
        assert told <= known


def read_if_there(name: str) -> str:
    path = ROOT / name
    return path.read_text() if path.exists() else ""


def test_the_runtime_knows_the_same_modes_of_volumes() -> None:
    text = source("volumes.zig")
    (listed,) = re.findall(r'for \(\[_\]\[\]const u8\{([^}]*"rw"[^}]*)\}', text)
    assert tuple(re.findall(r'"(\w+)"', listed)) == VOLUME_MODES


@pytest.mark.parametrize("case", vectors("volumes"), ids=lambda case: repr(case["text"]))
def test_volumes(case: dict[str, Any]) -> None:
    if case.get("error"):
        with pytest.raises(UsageError):
            check_volume(case["text"])
        return
    expected = (case["source"], case["destination"], case["readonly"])
    assert check_volume(case["text"]) == expected


@pytest.mark.parametrize("case", vectors("ports"), ids=lambda case: repr(case["text"]))
def test_ports(case: dict[str, Any]) -> None:
    if case.get("error"):
        with pytest.raises(UsageError):
            parse_ports(case["text"])
        return
    found = parse_ports(case["text"])
    assert [*found.inside, *found.outside] == [*case["inside"], *case["outside"]]
    assert (found.protocol, found.ip) == (case["protocol"], case["ip"])


USERS = vectors("users")


@pytest.mark.parametrize("case", USERS["cases"], ids=lambda case: repr(case["text"]))
def test_users(case: dict[str, Any]) -> None:
    files = {"/etc/passwd": USERS["passwd"].encode(), "/etc/group": USERS["group"].encode()}
    if case.get("error"):
        with pytest.raises(DockercError):
            find_user(case["text"], files.get)
        return
    found = find_user(case["text"], files.get)
    assert (found.uid, found.gid) == (case["uid"], case["gid"])
    assert list(found.additional_gids) == case["groups"]


def file_with(tail: bytes) -> bytes:
    """As the vectors describe it."""
    # Superblock (docs/format.md): magic, inodes, time, block size, fragments, compressor, its log,
    # flags, ids, version, root inode, bytes used, six tables.
    fields = struct.Struct("<4sIIIIHHHHHHQQQQQQQQ")
    absent = (1 << 64) - 1
    good = (
        b"hsqs",
        1,
        0,
        131072,
        0,
        6,
        17,
        0,
        1,
        4,
        0,
        0,
        4096,
        96,
        absent,
        200,
        300,
        absent,
        absent,
    )
    bad = (*good[:3], 0, *good[4:])
    data = bytearray(8192)
    data[1024 : 1024 + fields.size] = fields.pack(*bad)
    data[4096 : 4096 + fields.size] = fields.pack(*good)
    return bytes(data) + tail


@pytest.mark.parametrize("case", vectors("footers")["cases"], ids=lambda case: case["tail"])
def test_footers(case: dict[str, Any]) -> None:
    file = io.BytesIO(file_with(bytes.fromhex(case["tail"])))
    if case.get("error"):
        with pytest.raises(DockercError):
            read_footer(file, "it")
        return
    footer, _ = read_footer(file, "it")
    assert (footer.offset, footer.require_mapped_uids) == (case["offset"], case["mapped"])


SPLITS: list[tuple[str, str, str]] = [
    ("-itv /a:/b IMG x", "-itv /a:/b", "IMG x"),
    ("-ie A=1 IMG", "-ie A=1", "IMG"),
    ("-itv/a:/b IMG", "-itv/a:/b", "IMG"),
    ("-v=/a:/b IMG", "-v=/a:/b", "IMG"),
    ("-e A --rm --name n IMG -e B", "-e A --rm --name n", "IMG -e B"),
    ("--env=A --init=false -- IMG", "--env=A --init=false", "IMG"),
    ("--pull always IMG", "--pull always", "IMG"),
    ("- IMG", "", "- IMG"),
    ("IMG", "", "IMG"),
]


@pytest.mark.parametrize(("words", "options", "rest"), SPLITS, ids=lambda part: part or "none")
def test_the_image_of_dockerc_run(words: str, options: str, rest: str) -> None:
    assert split_run_words(words.split()) == (options.split(), rest.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--restart=always IMG", "--restart is not supported: a supervisor"),
        ("--stop-timeout 5 IMG", "--stop-timeout is not supported: signals are passed on"),
        ("-x IMG", "unknown option -x"),
        ("--volme /a:/b IMG", "did you mean --volume?"),
        ("-ix IMG", "unknown option -x"),
        ("--rm=1 IMG", "--rm=1: write --rm alone"),
        ("-e", "-e needs a value"),
        ("-it", "name an image"),
    ],
)
def test_dockerc_run_refuses_before_it_asks_anybody(words: str, sentence: str) -> None:
    done = dockerc("run", *words.split(), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr and len(done.stderr.splitlines()) == 1
