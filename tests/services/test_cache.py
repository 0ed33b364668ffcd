"""The cache of packs: right when warm, damaged, shared, killed, full or out of reach."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from corpus import CORPUS
from layout import directory, file, noise, tar_of, write_layout
from support import FIXTURES, TOOL, dockerc
from tree_support import Whole

from toolkit.layers import packfile
from toolkit.layers.packer import Packer
from toolkit.services.cache import Cache
from toolkit.squashfs.compress import Compressor


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; its packs' directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dockerc" / "packs"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Two layers, megabytes each."""
    layers = [
        tar_of(directory("d"), *(file(f"d/{n}", noise(100_000 * n, n)) for n in range(12))),
        tar_of(file("top", noise(3_000_000, 99)), file("again", noise(500_000, 5))),
    ]
    return write_layout(tmp_path / "layout", layers)


def built(layout: Path, output: Path, *options: str) -> tuple[bytes, str]:
    told = dockerc("build", f"oci:{layout}", "-o", output, *options).stderr
    return output.read_bytes(), told


def test_a_warm_cache_gives_the_same_bytes(cache: Path, layout: Path, tmp_path: Path) -> None:
    cold, told = built(layout, tmp_path / "app")
    assert "0 of 2 layers cached" in told
    warm, told = built(layout, tmp_path / "app")
    assert "2 of 2 layers cached" in told
    without, told = built(layout, tmp_path / "app", "--no-cache")
    assert "0 of 2 layers cached" in told
    assert cold == warm == without


def test_other_parameters_are_other_packs(cache: Path, layout: Path, tmp_path: Path) -> None:
    for option in ([], ["--level=3"], ["--block-size=64K"], ["--compression=none"]):
        assert "0 of 2 layers cached" in built(layout, tmp_path / "app", *option)[1]
    assert len(list(cache.iterdir())) == 8


def test_no_cache_leaves_none(cache: Path, layout: Path, tmp_path: Path) -> None:
    built(layout, tmp_path / "app", "--no-cache")
    assert not cache.exists()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "foreign"])
def test_a_damaged_pack_is_made_anew(
    cache: Path, layout: Path, tmp_path: Path, damage: str
) -> None:
    good, _ = built(layout, tmp_path / "app")
    for pack in cache.iterdir():
        data = bytearray(pack.read_bytes())
        if damage == "flip":
            data[len(data) // 3] ^= 1
        elif damage == "cut":
            del data[-1:]
        elif damage == "empty":
            data.clear()
        else:
            data[-56:-48] = b"dcpack00"
        pack.write_bytes(data)
    again, told = built(layout, tmp_path / "app")
    assert "0 of 2 layers cached" in told
    assert again == good
    assert "2 of 2 layers cached" in built(layout, tmp_path / "app")[1]


def test_a_cache_that_cannot_be_written_is_done_without(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "0 of 2 layers cached" in built(layout, tmp_path / "app")[1]


def start(layout: Path, output: Path) -> subprocess.Popen[bytes]:
    command = [*TOOL, "build", f"oci:{layout}", "-o", output]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def test_builds_at_once_share_a_cache(cache: Path, layout: Path, tmp_path: Path) -> None:
    running = [start(layout, tmp_path / f"app{n}") for n in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    expected, told = built(layout, tmp_path / "app")
    assert "2 of 2 layers cached" in told
    for number in range(4):
        assert (tmp_path / f"app{number}").read_bytes() == expected


@pytest.mark.slow
def test_killed_builds_leave_a_cache_that_works(cache: Path, layout: Path, tmp_path: Path) -> None:
    expected, _ = built(layout, tmp_path / "app", "--no-cache")
    began = time.monotonic()
    assert start(layout, tmp_path / "whole").wait() == 0
    duration = time.monotonic() - began
    chance = random.Random(1)
    for number in range(100):
        if number % 5 == 0:
            dockerc("cache", "prune")
        process = start(layout, tmp_path / "killed")
        time.sleep(chance.uniform(0, duration))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "killed").exists():
            assert (tmp_path / "killed").read_bytes() == expected
            (tmp_path / "killed").unlink()
        assert not list(tmp_path.glob(".*")), "half-written"
        if number % 5 == 4:
            assert built(layout, tmp_path / "app")[0] == expected
    dockerc("cache", "prune")
    assert list(cache.iterdir()) == [], "what killed builds left goes with the rest"


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, name in enumerate(["new", "app", "middle", "old"]):
        kept = cache.app(name) if name == "app" else cache.pack(name)
        if name == "app":
            kept.parent.mkdir()
            kept.touch()
        else:
            descriptor, path = cache.new_pack(name)
            os.close(descriptor)
            cache.keep(path, name)
        kept.write_bytes(bytes(100))
        os.utime(kept, (1000 - age, 1000 - age))
    assert [file.name for file in cache.files()] == ["new", "app", "middle", "old"]
    assert cache.has(cache.pack("old"))  # and so it is the newest now
    assert [file.name for file in cache.prune(350)] == ["middle"]
    assert cache.has(cache.app("app"))
    assert [file.name for file in cache.prune(250)] == ["new"]
    assert {file.name for file in cache.files()} == {"app", "old"}


def test_ls_and_prune(cache: Path, layout: Path, tmp_path: Path) -> None:
    built(layout, tmp_path / "app")
    listed = json.loads(dockerc("cache", "ls", "--json").stdout)
    assert len(listed) == 2 and all(pack["size"] > 3_000_000 for pack in listed)
    assert "512k-zstd" in dockerc("cache", "ls").stdout
    assert re.fullmatch(r"removed 2 packs, [0-9.]+ MB\n", dockerc("cache", "prune").stdout)
    assert json.loads(dockerc("cache", "ls", "--json").stdout) == []
    assert dockerc("cache", "prune").stdout == "removed nothing\n"


def test_executables_are_listed_and_go_but_not_from_under_their_programs(cache: Path) -> None:
    hello = f"oci:{FIXTURES}/hello"
    with subprocess.Popen(
        [*TOOL, "run", "-q", hello, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdin and program.stdout
        program.stdin.write(b"before ")
        program.stdin.flush()
        assert program.stdout.read(7) == b"before "
        rows = json.loads(dockerc("cache", "ls", "--json").stdout)
        assert sorted(row["kind"] for row in rows) == ["executable", "pack", "pack"]
        assert "1 executable and 2 packs, " in dockerc("cache", "prune").stdout
        assert list(cache.parent.glob("*/*")) == []
        program.stdin.write(b"and after")
        program.stdin.close()
        assert program.stdout.read() == b"and after"
    assert program.returncode == 0
    assert dockerc("run", hello).stdout.startswith("Hello")


def test_what_a_build_writes_is_not_pruned_away(cache: Path) -> None:
    descriptor, path = Cache().new_pack("name")
    dockerc("cache", "prune")
    Cache().keep(path, "name")
    os.close(descriptor)
    _, left = Cache().new_pack("other")
    child = os.fork()
    if not child:
        Cache().new_pack("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    dockerc("cache", "prune", "--keep", "1")
    assert {file.name for file in cache.iterdir()} == {"name.pack", left.name}


@pytest.mark.parametrize("name", CORPUS)
def test_packs_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    for layer in CORPUS[name]:
        path = tmp_path / "pack"
        with path.open("w+b") as written, Compressor(3) as compressor:
            data_hash = packfile.new_hash()
            packer = Packer(7, written, compressor, 1 << 16, data_hash)
            pack = packer.read(Whole(layer))  # type: ignore[arg-type]
            packfile.seal(pack, data_hash)
        with path.open("rb") as file:
            loaded = packfile.load(file, 7, 1 << 16)
            assert loaded is not None
            assert loaded.entries == pack.entries
            assert (loaded.sizes, loaded.left_out) == (pack.sizes, pack.left_out)


def test_nobody_else_can_put_packs_there(cache: Path, layout: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        built(layout, tmp_path / "app")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (cache, cache.parent)] == [0o700, 0o700]
    cache.chmod(0o777)
    assert "2 of 2 layers cached" in built(layout, tmp_path / "app")[1]
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.root("only root can give files away")
def test_packs_of_others_are_not_used(cache: Path, layout: Path, tmp_path: Path) -> None:
    built(layout, tmp_path / "app")
    os.chown(next(cache.glob("*.pack")), 12345, 12345)
    assert "1 of 2 layers cached" in built(layout, tmp_path / "app")[1]
    for each in (cache, cache.parent):
        os.chown(each, 12345, 12345)
        assert "0 of 2 layers cached" in built(layout, tmp_path / "app")[1]
        os.chown(each, 0, 0)
