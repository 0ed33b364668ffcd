"""Payloads that lie in one field each: every command answers in a sentence, at a bounded price.

DOCKERC_FORGED=N makes so many random ones instead of some; a failure names its seed.
"""

from __future__ import annotations

import lzma
import os
import random
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from bounds_support import MOMENT, ended_by, measured, started
from forge import Forge, Forged, forged_directory, forged_file, forged_symlink
from hostile_support import NoElf, attempt
from support import dockerc, failed

from toolkit.errors import DockercError
from toolkit.limits import MAX_BLOCKS
from toolkit.squashfs.read.blocks import _decompressor

COMMANDS = ("inspect", "ls -R", "ls -lR --json", "verify", "diff", "extract --rootfs",
            "extract --oci", "extract --docker-archive", "edit", "replace", "cat",
            "inspect --html")  # fmt: skip
TAIL = b"tail"
SEEDS = int(os.environ.get("DOCKERC_FORGED", "500"))


def words_for(command: str, app: Path, out: Path) -> list[str | Path]:
    words: list[str | Path] = [*command.split()]
    if command == "inspect --html":
        return [*words, out, app]
    if command == "diff":
        return [*words, app, app]
    if command == "edit":
        return [*words, app, out, "--cmd", "x", "--user", "nobody"]
    if command == "replace":
        return [*words, "--arch", "amd64", app, out]
    if command == "cat":
        return [*words, app, "/bin/x", "/usr/x"]
    return [words[0], app, *words[1:], *([out] if words[0] == "extract" else [])]


def nested(depth: int, name: bytes, inner: Forged) -> Forged:
    for _ in range(depth):
        inner = forged_directory((name, inner))
    return inner


def many_names(count: int, inode: Forged) -> list[tuple[bytes, Forged]]:
    return [(b"n%06d" % number, inode) for number in range(count)]


def long_paths() -> Forge:
    """Thirty thousand names below a path of a quarter of a million bytes."""
    below = forged_directory(*many_names(30_000, forged_file(nlink=30_000)))
    return Forge(nested(1000, b"d" * 250, below))


def deep_directories() -> Forge:
    below = forged_directory(*[(b"n%05d" % n, forged_directory()) for n in range(20_000)])
    return Forge(nested(1000, b"d" * 250, below))


def blocks_of_zeros() -> Forge:
    """A file whose list of blocks is 480 MB of zeros."""
    big = forged_file((480 << 20) // 4 * 4096, words=TAIL)
    return Forge(forged_directory((b"big", big)), tail=480 << 20)


def blocks_that_are_shared() -> Forge:
    """A thousand inodes whose lists of blocks are the same zeros."""
    size = 4096 * (MAX_BLOCKS // 8)
    files = [(b"f%04d" % n, forged_file(size, words=TAIL)) for n in range(1000)]
    return Forge(forged_directory(*files), tail=4 * MAX_BLOCKS)


def one_inode_of_many_names() -> Forge:
    """It claims one: the room for it was reckoned once, and it was written a thousand times."""
    config = b"{}".ljust(1 << 20)
    words = struct.pack("<I", 4096 | 1 << 24) * 256
    big = forged_file(1 << 20, 96, words)
    return Forge(forged_directory(*many_names(100_000, big)), config=config)


def one_listing_of_many_directories() -> Forge:
    """Each of a thousand directories has the names of a thousand others."""
    full = forged_directory(*many_names(1000, forged_file(nlink=1_000_000)))
    others = [
        (b"d%04d" % n, forged_directory(listing=full, listing_size=1000 * 27 + 3))
        for n in range(1000)
    ]
    return Forge(forged_directory((b"full", full), *others))


def blocks_in_one_another() -> Forge:
    """Each file's block begins a byte after the one before."""
    config = bytes(2 << 20)
    word = struct.pack("<I", (1 << 20) | 1 << 24)
    files = [(b"f%06d" % n, forged_file(1 << 20, 96 + n, word)) for n in range(40_000)]
    return Forge(forged_directory(*files), config=b"{}".ljust(len(config)), block_size=1 << 20)


def symlinks_through_a_huge_directory() -> Forge:
    """Two thousand steps for each of forty links, and at each step a hundred thousand names."""
    steps = forged_symlink(b"./zz/../" * 500 + b"zz")
    names = many_names(100_000, forged_file(nlink=100_000))
    inner = forged_directory()
    rootfs = forged_directory(
        *names, (b"zz", inner), (b"bin", steps), (b"usr", steps), (b"x", steps)
    )
    return Forge(rootfs)


def listings_of_zeros() -> Forge:
    """Half a gigabyte behind the last directory, which `inspect` reads with it."""
    return Forge(forged_directory((b"f", forged_file())), listings=480 << 20)


BOMBS: dict[str, Callable[[], Forge]] = {
    "long paths": long_paths,
    "deep directories": deep_directories,
    "blocks of zeros": blocks_of_zeros,
    "blocks that are shared": blocks_that_are_shared,
    "one inode of many names": one_inode_of_many_names,
    "listings of zeros": listings_of_zeros,
    "blocks in one another": blocks_in_one_another,
    "symlinks through a huge directory": symlinks_through_a_huge_directory,
    "one listing of many directories": one_listing_of_many_directories,
}


@pytest.fixture(scope="module", params=BOMBS)
def bomb(request: pytest.FixtureRequest, place: Path) -> Path:
    return BOMBS[request.param]().write(place / request.param.replace(" ", "-"))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_bombs(bomb: Path, shared: Path, command: str) -> None:
    done = measured(*words_for(command, bomb, shared / "out"))
    assert done.is_bounded(), (bomb.name, command, done.status, done.stderr[:500], done)
    if done.status:
        assert list(shared.iterdir()) == []


def test_what_is_right_is_taken(shared: Path) -> None:
    """The forge itself: without a lie all is well."""
    inner = forged_file(nlink=2)
    tree = forged_directory((b"a", inner), (b"b", inner), (b"s", forged_symlink(b"a" * 4095)),
                            (b"e", forged_directory()),
                            (b"n" * 255, forged_file(mode=0o600)))  # fmt: skip
    app = Forge(tree).write(shared / "app")
    assert "whole" in dockerc("verify", app).stdout
    dockerc("extract", app, "--rootfs", shared / "out")
    assert (shared / "out" / "a").stat().st_nlink == 2


def long_path(length: int) -> Forged:
    """A file at a path of so many bytes."""
    rest = length
    inner, names = forged_file(), []
    while rest > 255:
        names.append(b"d" * 200)
        rest -= 201
    tree = forged_directory((b"f" * rest, inner))
    for name in names:
        tree = forged_directory((name, tree))
    return tree


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        (forged_directory((b"s", forged_symlink(b"a\0b"))), "holds a zero byte"),
        (forged_directory((b"s", forged_symlink(b"a" * 4096))), "a symlink of its squashfs claims"),
        (forged_directory((b"n" * 256, forged_file())), "a name in its squashfs is not valid"),
        (forged_directory((b"o", forged_file(owner=1))), "which is not a valid id"),
        (long_path(4096), "a path of its squashfs has 4"),
        (forged_directory((b"a", forged_file(number=4)), (b"b", forged_file(number=4))),
         "inode 4 claims 1 name, and has more"),
    ],
    ids=["zero in a target", "long target", "long name", "no owner", "long path", "one number"],
)  # fmt: skip
def test_verify_tells_what_extract_refuses(shared: Path, tree: Forged, sentence: str) -> None:
    ids = (0, 0xFFFFFFFF) if sentence == "which is not a valid id" else (0,)
    app = Forge(tree, ids=ids).write(shared / "app")
    for words in (["verify", app], ["extract", app, "--rootfs", shared / "out"],
                  ["diff", app, app], ["edit", app, shared / "new", "--cmd", "x"]):  # fmt: skip
        assert sentence in failed(*words)
    assert [path.name for path in shared.iterdir()] == ["app"]


def test_the_longest_path_that_can_be(shared: Path) -> None:
    app = Forge(long_path(4095)).write(shared / "app")
    assert "whole" in dockerc("verify", app).stdout
    dockerc("extract", app, "--rootfs", shared / "out")
    dockerc("edit", app, shared / "new", "--cmd", "x")


def test_fragments_that_are_claimed(shared: Path) -> None:
    """Thousands of millions of them, in a table whose blocks are all the same one."""
    forge = Forge(forged_directory((b"f", forged_file())), config=b"{}".ljust(4 << 20))
    inodes = 0xFFFFFFFF
    forge.changes = {"inodes": inodes, "fragments": inodes, "fragment_table": 200}
    app = forge.write(shared / "app")
    for command in COMMANDS:
        done = measured(*words_for(command, app, shared / "out"))
        assert done.is_bounded(), (command, done)
        if command not in ("replace", "cat"):  # which need none of them
            assert done.status == (2 if command == "diff" else 1)
        (shared / "out").unlink(missing_ok=True)


def test_blocks_that_want_more_memory_than_a_block_needs() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 << 20}]
    unpack = _decompressor(4)
    assert unpack(lzma.compress(bytes(100), check=lzma.CHECK_CRC32), 8192) == bytes(100)
    with pytest.raises(DockercError, match="emory"):
        unpack(lzma.compress(bytes(100), filters=filters), 8192)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_long_work_on_a_payload_ends_when_told(shared: Path, number: signal.Signals) -> None:
    tree = forged_directory(*[(b"n%06d" % n, forged_file()) for n in range(60_000)])
    app = Forge(tree).write(shared / "app")
    process = started("extract", app, "--rootfs", shared / "out")
    while not list(shared.glob(".out*")):
        assert process.poll() is None
    assert ended_by(process, number) < MOMENT
    assert not (shared / "out").exists()
    dockerc("extract", app, "--rootfs", shared / "out")
    assert not list(shared.glob(".out*")), "what was left goes with the next"


def random_tree(choose: random.Random, depth: int = 0) -> Forged:
    """A tree with a lie here and there."""
    known: list[Forged] = []
    children = []
    for n in range(choose.randrange(6)):
        name = choose.choice([b"n%d" % n, b"x" * choose.choice([1, 200, 255, 256]), b"..", b"a/b"])
        if known and choose.random() < 0.2:
            children.append((name, choose.choice(known)))
            continue
        kind = choose.randrange(4)
        if kind == 0 and depth < 5:
            child = random_tree(choose, depth + 1)
        elif kind == 1:
            child = forged_symlink(
                b"t" * choose.randrange(1, 5000), choose.choice([None, 0, 65535])
            )
        else:
            size = choose.choice([0, 1, 4096, 1 << 20, 1 << 40, 1 << 63])
            child = forged_file(
                size, choose.randrange(400), choose.randbytes(8), choose.choice([1, 2, 1 << 31])
            )
        if choose.random() < 0.2:
            child.number = choose.choice([1, 2, 0xFFFFFFFF, choose.randrange(30)])
        if choose.random() < 0.1:
            child.entry_kind = choose.randrange(1, 9)
        known.append(child)
        children.append((name, child))
    tree = forged_directory(*children)
    if choose.random() < 0.1:
        tree.listing_size = choose.choice([0, 2, 3, 4, 1 << 20, 0xFFFFFFFF])
    if known and choose.random() < 0.1:
        tree.listing = choose.choice(known)
    return tree


def test_random_lies(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.services.inspect.ElfProbe", NoElf)
    told: set[str] = set()
    for seed in range(SEEDS):
        choose = random.Random(seed)
        forge = Forge(random_tree(choose), tail=choose.choice([0, 0, 1 << 20]))
        if choose.random() < 0.2:
            field = choose.choice(["inodes", "ids", "inode_table", "directory_table", "bytes_used"])
            forge.changes[field] = choose.choice([0, 1, 100, 0xFFFF])
        try:
            told.update(attempt(forge.write(shared / "app"), shared / "out"))
        except BaseException as error:
            raise AssertionError(f"DOCKERC_FORGED: seed {seed}: {error!r}") from error
    assert len(told) > 10, "lies so tame prove nothing"
