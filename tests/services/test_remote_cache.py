"""Caches of packed layers in registries: a real one, and ones that serve what they should not."""

from __future__ import annotations

import json
import os
import subprocess
from array import array
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cache_support import WORDS, Builder
from images_support import answer, docker_registry, free_port, lying_registry, sha256
from layout import noise
from registry_support import PASSWORD, USER, Closed
from support import TOOL, dockerc, failed

from toolkit.commands.progress_display import Silent
from toolkit.errors import DockercError, UsageError
from toolkit.images.artifact import StoredChunk
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.reference import parse_name
from toolkit.images.source import Layer
from toolkit.images.stored_pack import StoredPack, pack_tag, parse_pack
from toolkit.layers import packfile
from toolkit.limits import MAX_CHUNK, MAX_CHUNKS
from toolkit.services import remote_cache
from toolkit.services.remote_cache import CacheNames, RemoteCaches
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED

pytestmark = pytest.mark.usefixtures("home")


def test_one_builder_compresses_for_all(builder: Builder) -> None:
    name = str(builder.cache)
    filled, said = builder.build("--cache-to", name)
    assert filled == builder.expected and "0 of 2 layers cached, 0." in said
    assert said.count(", to the cache: ") == 2
    home = str(builder.here / "second")
    taken, said = builder.build("--cache-from", name, XDG_CACHE_HOME=home)
    assert taken == builder.expected
    assert "0 of 2 layers cached, 2 from remote caches, " in said
    assert said.count(", from the cache: ") == 2
    again, said = builder.build("--cache-from", name, XDG_CACHE_HOME=home)
    assert again == builder.expected and "2 of 2 layers cached, 0." in said


def test_what_is_there_already_is_not_sent_again(builder: Builder) -> None:
    name = str(builder.cache)
    builder.build("--cache-to", name)
    assert "to the cache" not in builder.build("--cache-to", name, "--cache-from", name)[1]


def test_no_cache_writes_and_does_not_read(builder: Builder) -> None:
    name = str(builder.cache)
    builder.build("--cache-to", name, "--no-cache")
    data, said = builder.build("--cache-from", name, "--no-cache")
    assert data == builder.expected and "0 of 2 layers cached, 0." in said
    assert "2 from remote caches" in builder.build("--cache-from", name)[1]


def test_other_parameters_are_other_packs(builder: Builder) -> None:
    name = str(builder.cache)
    builder.build("--cache-to", name)
    for options in (["--level=3"], ["--block-size=8K"], ["--compression=none"]):
        said = builder.build("--cache-from", name, *options)[1]
        assert f"the cache {name} has none of the layers" in said.splitlines()


def test_several_caches_are_asked_in_turn(builder: Builder) -> None:
    first, second = (f"{builder.cache}-{n}" for n in (1, 2))
    builder.build("--cache-to", second)
    data, said = builder.build("--cache-from", first, "--cache-from", second)
    assert data == builder.expected and "2 from remote caches" in said
    assert f"the cache {first} has none of the layers" in said


def test_builders_at_once_fill_one_cache(builder: Builder) -> None:
    running = [
        subprocess.Popen(
            [*TOOL, "build", f"oci:{builder.image}", "-o", builder.here / f"app{n}", *WORDS,
             "--cache-to", str(builder.cache), "--no-cache"],
            stderr=subprocess.DEVNULL,
        )
        for n in range(3)
    ]  # fmt: skip
    assert [process.wait(timeout=60) for process in running] == [0] * 3
    data, said = builder.build("--cache-from", str(builder.cache))
    assert data == builder.expected and "2 from remote caches" in said


def with_blocks(data: bytes, change: Callable[[int, bytes], bytes]) -> bytes:
    """The pack with other blocks: `change` gets the number and the decompressed bytes of each that
    is compressed, and returns what is put in its place."""
    import io

    import zstandard

    pack = packfile.load(io.BytesIO(data), 0, 4096)
    assert pack
    seen, made, sizes, at = packfile.new_hash(), io.BytesIO(), array("I"), 0
    for number, word in enumerate(pack.sizes):
        block = data[at : at + (word & (DATA_UNCOMPRESSED - 1))]
        at += len(block)
        if word and not word & DATA_UNCOMPRESSED:
            block = change(number, zstandard.ZstdDecompressor().decompress(block))
            word = len(block)
        sizes.append(word)
        made.write(block)
        seen.update(block)
    pack.file, pack.sizes = made, sizes
    packfile.seal(pack, seen)
    return made.getvalue()


def frame(block: bytes, **options: bool) -> bytes:
    with Compressor(10, 4096) as compressor:
        right = compressor.compress(block)
    if not options:
        return right
    import zstandard

    return zstandard.ZstdCompressor(level=10, **options).compress(block)  # type: ignore[arg-type]


def level_1(number: int, block: bytes) -> bytes:
    with Compressor(1, 4096) as compressor:
        return compressor.compress(block)


def other_content(number: int, block: bytes) -> bytes:
    """All but the first blocks are of other bytes."""
    return frame(block if number < 3 else block[::-1])


WRONG: dict[str, Callable[[Builder], bytes]] = {
    "another layer's": lambda builder: builder.pack(1),
    "another level": lambda builder: with_blocks(builder.pack(0), level_1),
    "other content": lambda builder: with_blocks(builder.pack(0), other_content),
    "a checksum in each": lambda builder: with_blocks(
        builder.pack(0),
        lambda n, block: frame(block, **({} if n < 3 else {"write_checksum": True})),
    ),
    "without a size": lambda builder: with_blocks(
        builder.pack(0),
        lambda n, block: frame(block, **({} if n < 3 else {"write_content_size": False})),
    ),
    "frames with more behind": lambda builder: with_blocks(
        builder.pack(0), lambda n, block: frame(block) + (b"" if n < 3 else b"more")
    ),
    "blocks that are no frames": lambda builder: with_blocks(
        builder.pack(0), lambda n, block: frame(block) if n < 3 else b"no frame"
    ),
    "cut short": lambda builder: builder.pack(0)[:-1],
    "cut at its front": lambda builder: builder.pack(0)[1:],
    "nothing of a pack": lambda builder: noise(100_000, 3),
    "very short": lambda builder: b"x",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_pack_makes_a_build_slower_and_no_other(builder: Builder, wrong: str) -> None:
    builder.store(0, WRONG[wrong](builder))
    builder.store(1, builder.pack(1))
    home = str(builder.here / "mine")
    data, said = builder.build("--cache-from", str(builder.cache), XDG_CACHE_HOME=home)
    assert data == builder.expected
    assert f"layer 1/2: without the cache {builder.cache}: its " in said
    assert "0 of 2 layers cached, 1 from remote caches" in said
    again, said = builder.build(XDG_CACHE_HOME=home)
    assert again == builder.expected and "2 of 2 layers cached" in said


def test_fewer_and_more_blocks_than_the_layer_s(builder: Builder) -> None:
    """What is offered ends early, or goes on: the layer says how many there are."""
    import io

    for number, count in ((0, 40), (1, None)):
        pack = packfile.load(io.BytesIO(builder.pack(number)), 0, 4096)
        assert pack
        if count is None:
            pack.sizes.extend([9, 9])
        else:
            pack.sizes = pack.sizes[:count]
        size = sum(word & (DATA_UNCOMPRESSED - 1) for word in pack.sizes)
        made = io.BytesIO((builder.pack(number) + bytes(18))[:size])
        made.seek(0, 2)
        pack.file, seen = made, packfile.new_hash()
        seen.update(made.getvalue())
        packfile.seal(pack, seen)
        builder.store(number, made.getvalue())
    data, said = builder.build("--cache-from", str(builder.cache))
    assert data == builder.expected and "2 from remote caches" in said


def test_a_damaged_registry(builder: Builder, tmp_path: Path) -> None:
    with docker_registry(tmp_path) as address:
        name = f"docker://{address}/cache:main"
        builder.build("--cache-to", name)
        blobs = (tmp_path / "storage" / "docker" / "registry" / "v2" / "blobs").rglob("data")
        for blob in blobs:
            data = bytearray(blob.read_bytes())
            if len(data) > 20_000:
                data[5000] ^= 1
                blob.write_bytes(data)
        result, said = builder.build("--cache-from", name)
        assert result == builder.expected and "0 of 2 layers cached, 0." in said
        assert "does not match its digest" in said


def test_caches_that_cannot_be_asked(builder: Builder, tmp_path: Path) -> None:
    closed = f"docker://127.0.0.1:{free_port()}/cache:main"
    data, said = builder.build("--cache-from", closed)
    lines = [line for line in said.splitlines() if "without the cache" in line]
    assert data == builder.expected and len(lines) == 1, said
    assert lines[0].startswith(f"without the cache {closed}: ")
    app = tmp_path / "app"
    words = ["build", f"oci:{builder.image}", "-o", app, *WORDS, "--cache-to", closed]
    done = dockerc(*words, check=False)
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith(f"dockerc: {app} is built, but not all layers are cached: ")
    assert app.read_bytes() == builder.expected


def test_a_dry_run_says_where_layers_would_come_from(builder: Builder) -> None:
    name = str(builder.cache)
    builder.store(1, builder.pack(1))
    environment = os.environ | {"XDG_CACHE_HOME": str(builder.here / "none")}
    words = ["build", f"oci:{builder.image}", *WORDS, "--dry-run", "--cache-from", name]
    told = dockerc(*words, "--json", env=environment).stdout
    layers = json.loads(told)["layers"]
    assert [each["cache_from"] for each in layers] == [None, name]
    lines = dockerc(*words, env=environment).stdout.splitlines()
    assert lines[-1].endswith(f" MB, in {name}") and lines[-2].endswith(" MB")


def test_json_counts_what_was_fetched(builder: Builder) -> None:
    name = str(builder.cache)
    builder.build("--cache-to", name)
    app = builder.here / "app"
    words = [
        "build",
        "-q",
        f"oci:{builder.image}",
        "-o",
        app,
        *WORDS,
        "--json",
        "--cache-from",
        name,
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(builder.here / "none")}
    done = dockerc(*words, env=environment)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert (found["cached"], found["fetched"], found["layers"]) == (0, 2, 2)


def test_defaults(builder: Builder, tmp_path: Path) -> None:
    first, second = (f"{builder.cache}-{n}" for n in (1, 2))
    config = tmp_path / "config.toml"
    config.write_text(f'[build]\ncache-to = ["{first}", "{second}"]\n')
    builder.build(DOCKERC_CONFIG=str(config))
    for name in (first, second):
        said = builder.build(DOCKERC_CACHE_FROM=f"{builder.cache}-none {name}")[1]
        assert "2 from remote caches" in said
    config.write_text("[build]\ncache-to = [1]\n")
    told = failed("build", f"oci:{builder.image}", env=os.environ | {"DOCKERC_CONFIG": str(config)})
    assert told.endswith("cache-to must be a list of strings")


def test_a_cache_with_a_login(
    builder: Builder, password_registry: Closed, tmp_path: Path, home: Path
) -> None:
    name = f"docker://{password_registry.address}/team/cache"
    trust = ("--cert-dir", str(password_registry.trusted))
    data, said = builder.build("--cache-from", name, *trust)
    assert data == builder.expected
    assert said.count("without the cache") == 1 and f"login {password_registry.address}" in said
    words = ["build", f"oci:{builder.image}", "-o", tmp_path / "app", *WORDS, *trust]
    assert "is built, but" in dockerc(*words, "--cache-to", name, check=False).stderr
    mine = home / "logins.json"
    login = ["login", *trust, "--authfile", mine, "-u", USER, "--password-stdin"]
    dockerc(*login, password_registry.address, input=PASSWORD)
    builder.build("--cache-to", name, *trust, "--authfile", str(mine))
    said = builder.build("--cache-from", name, *trust, "--authfile", str(mine))[1]
    assert "2 from remote caches" in said


def test_the_image_s_login_is_not_shown_to_a_cache_elsewhere(
    builder: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lying_registry(tmp_path) as liar:
        challenge = answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})

        def refuse(request: BaseHTTPRequestHandler) -> None:
            liar.requests.append((request.path, request.headers.get("Authorization")))
            challenge(request)

        monkeypatch.setattr(liar, "handle", refuse)
        data, said = builder.build("--creds", "u:p", "--cache-from", f"docker://{liar.address}/app")
        assert data == builder.expected and "without the cache" in said
        assert liar.requests and all(shown is None for _, shown in liar.requests)
        words = ["build", f"docker://{liar.address}/app", "--creds", "u:p", "-o", tmp_path / "x"]
        failed(*words, "--cache-from", f"docker://{liar.address}/app")
        assert any(shown for _, shown in liar.requests), "that it is shown where it belongs"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("oci:x", "is in no registry"),
        (f"docker://r.example/x@sha256:{'0' * 64}", "a cache has a tag, not a digest"),
        (f"docker://r.example/x:{'t' * 64}", "the tag of a cache has at most 63 letters"),
    ],
)
def test_names_that_are_no_caches(name: str, told: str, tmp_path: Path) -> None:
    words = ["build", "oci:x", "-o", tmp_path / "app"]
    assert told in failed(*words, "--cache-from", name, status=2)
    assert told in failed(*words, "--cache-to", name, status=2)


def test_the_longest_tag_of_a_cache() -> None:
    assert len(pack_tag("t" * 63, "name")) == 128
    CacheNames((parse_name(f"r.example/x:{'t' * 63}"),), (), DEFAULT_ACCESS, "")
    with pytest.raises(UsageError):
        CacheNames((parse_name(f"r.example/x:{'t' * 64}"),), (), DEFAULT_ACCESS, "")


def test_a_manifest_that_lies() -> None:
    chunk = StoredChunk(0, 10, sha256(b"x"))
    assert parse_pack(StoredPack("n", (chunk,)).encode(), "it", "n").size == 10
    with pytest.raises(DockercError, match="is that of another pack: 'm'"):
        parse_pack(StoredPack("m", (chunk,)).encode(), "it", "n")
    with pytest.raises(DockercError, match="it has 8193 blobs; 1 to 8192 are read"):
        parse_pack(StoredPack("n", (chunk,) * (MAX_CHUNKS + 1)).encode(), "it", "n")
    large = StoredChunk(0, MAX_CHUNK + 1, sha256(b"x"))
    with pytest.raises(DockercError, match="it has a blob of 8388609 bytes"):
        parse_pack(StoredPack("n", (large,)).encode(), "it", "n")
    other = json.loads(StoredPack("n", (chunk,)).encode()) | {"artifactType": "application/x"}
    with pytest.raises(DockercError, match="not that of a packed layer: application/x"):
        parse_pack(json.dumps(other).encode(), "it", "n")


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_pack_that_is_too_large_for_its_layer(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MiB, and 16 bytes for each of the layer's."""
    assert (remote_cache._FREE_SIZE, remote_cache._MAX_RATIO) == (64 << 20, 16)
    monkeypatch.setattr(remote_cache, "_FREE_SIZE", 1000)
    data = builder.pack(0)
    builder.store(0, data)
    size = -(-(len(data) - 1000) // 16)
    for layer_size, is_taken in ((size, True), (size - 1, False), (None, True)):
        progress, names = Told(), CacheNames((builder.cache,), (), DEFAULT_ACCESS, "")
        layer = Layer(builder.layers[0].diff_id, layer_size)
        with closing(RemoteCaches(names, progress)) as remote, open(builder.here / "f", "w+b") as f:
            assert bool(remote.fetch(builder.name(0), layer, f, "layer")) == is_taken
        assert bool(progress.notes) != is_taken, progress.notes


@pytest.mark.parametrize(("patience", "slowest", "is_taken"), [(0, 1, True), (-1, 1 << 40, False)])
def test_a_cache_that_is_slow_is_given_up(
    builder: Builder,
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
    slowest: int,
    is_taken: bool,
) -> None:
    """Either gives it time."""
    monkeypatch.setattr(remote_cache, "_PATIENCE", patience)
    monkeypatch.setattr(remote_cache, "_SLOWEST", slowest)
    for number in (0, 1):
        builder.store(number, builder.pack(number))
    progress, names = Told(), CacheNames((builder.cache,), (), DEFAULT_ACCESS, "")
    with closing(RemoteCaches(names, progress)) as remote, open(builder.here / "f", "w+b") as file:
        for number, layer in enumerate(builder.layers):
            assert bool(remote.fetch(builder.name(number), layer, file, "layer")) == is_taken
            assert is_taken or not file.seek(0, 2), "nothing of it is left"
            file.seek(0)
    told = [f"without the cache {builder.cache}: it gives less than {slowest} bytes a second"]
    assert progress.notes == ([] if is_taken else told), "and it is not asked again"
