"""Packs in a registry that are signed: by a key that is trusted, by others, by none."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cache_support import WORDS, Builder
from images_support import run
from support import dockerc, failed

from toolkit.commands.progress_display import Silent
from toolkit.errors import DockercError
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.stored_pack import MAX_SIGNATURES
from toolkit.images.transports.registry.pack_store import PackStore
from toolkit.services.key_files import read_private_key, read_public_key
from toolkit.services.remote_cache import CacheNames, RemoteCaches

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two keys, `a` and `b`, and `locked`, which has a password."""
    builder = tmp_path_factory.mktemp("keys")
    for name in ("a", "b", "locked"):
        password = "secret" if name == "locked" else ""
        run("ssh-keygen", "-q", "-t", "ed25519", "-f", builder / name, "-N", password)
    return builder


def without_layers(builder: Builder) -> Builder:
    """The image without its layers' blobs, which a build that reads none does not miss."""
    for blob in (builder.image / "blobs" / "sha256").iterdir():
        if blob.stat().st_size > 10_000:
            blob.unlink()
    return builder


def test_what_a_trusted_key_has_signed_is_used_without_the_layer(
    builder: Builder, keys: Path
) -> None:
    name = str(builder.cache)
    builder.build("--cache-to", name, "--cache-sign", str(keys / "a"))
    said = builder.build("--cache-from", name)[1]
    assert said.count(", from the cache: ") == 2 and "\nlayer 1/2: " in said
    without_layers(builder)
    words = ["--cache-from", name, "--cache-key", str(keys / "b.pub"), "--cache-key"]
    home = str(builder.here / "mine")
    data, said = builder.build(*words, str(keys / "a.pub"), XDG_CACHE_HOME=home)
    assert data == builder.expected and "0 of 2 layers cached, 2 from remote caches" in said
    assert "\nlayer 1/2: " not in said
    data, said = builder.build(XDG_CACHE_HOME=home)
    assert data == builder.expected and "2 of 2 layers cached" in said
    data, said = builder.build(*words, str(keys / "a.pub"), XDG_CACHE_HOME=str(keys / "a"))
    assert data == builder.expected, "where there can be no cache"
    words = [
        "build",
        f"oci:{builder.image}",
        "-o",
        builder.here / "x",
        *WORDS,
        *words,
        keys / "b.pub",
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(builder.here / "other")}
    assert dockerc(*words, check=False, env=environment).returncode == 1


def test_a_signature_is_for_one_pack(builder: Builder, keys: Path) -> None:
    """That of another layer's pack, or of the same blobs under another name, is none."""
    builder.build("--cache-to", str(builder.cache), "--cache-sign", str(keys / "a"))
    with closing(PackStore(builder.cache, DEFAULT_ACCESS)) as store:
        first, second = (store.find(builder.name(number)) for number in (0, 1))
        assert first and second
        trusted, signer = (read_public_key(keys / "a.pub"),), read_private_key(keys / "a", bytes)
        names = CacheNames((builder.cache,), (), DEFAULT_ACCESS, "", trusted, signer)
        caches = [first, replace(first, signatures=second.signatures)]
        caches += [replace(second, name=first.name), replace(first, signatures={})]
        garbled = {trusted[0].data: bytes(64)}
        caches += [replace(first, signatures=garbled), replace(first, chunks=first.chunks * 2)]
        found = []
        for pack in caches:
            store.put(pack)
            with closing(RemoteCaches(names, Silent())) as remote:
                with open(builder.here / "f", "w+b") as file:
                    fetched = remote.fetch(first.name, builder.layers[0], file, "layer")
                found.append(fetched and fetched.is_trusted)
        assert found == [True, False, False, False, False, False]
        store.put(replace(second, name=first.name))
    words = ["--cache-from", str(builder.cache), "--cache-key", str(keys / "a.pub")]
    data, said = builder.build(*words)
    assert data == builder.expected
    assert "layer 1/2: without the cache" in said and "1 from remote caches" in said


def test_signatures_of_others_stay(builder: Builder, keys: Path) -> None:
    name = str(builder.cache)
    for options in (["--cache-sign", str(keys / "a")], ["--cache-sign", str(keys / "b")], []):
        builder.build("--cache-to", name, *options)
    with closing(PackStore(builder.cache, DEFAULT_ACCESS)) as store:
        pack = store.find(builder.name(0))
        assert pack
        wanted = {read_public_key(keys / f"{each}.pub").data for each in "ab"}
        assert set(pack.signatures) == wanted
        many = {bytes([number] * 32): bytes(64) for number in range(MAX_SIGNATURES + 1)}
        store.put(replace(pack, signatures=many))
        with pytest.raises(DockercError, match="has 17 signatures; at most 16 are read"):
            store.find(builder.name(0))
        del many[bytes(32)]
        store.put(replace(pack, signatures=many))
        builder.build("--cache-to", name, "--cache-sign", str(keys / "a"))
        pack = store.find(builder.name(0))
        assert pack and set(pack.signatures) == {read_public_key(keys / "a.pub").data}


def test_keys_that_cannot_be_used(keys: Path, tmp_path: Path) -> None:
    words = ["build", "oci:x", "-o", tmp_path / "app", "--cache-to", "localhost:1/x"]
    told = failed(*words, "--cache-sign", keys / "a.pub")
    assert told.endswith("no private key in PEM, OpenSSH or minisign form")
    told = failed(*words, "--cache-sign", keys / "locked", status=2, stdin=subprocess.DEVNULL)
    assert "it has a password; " in told
    assert "no public Ed25519 key" in failed(*words, "--cache-key", keys / "a")
    told = failed("build", "oci:x", "--cache-sign", keys / "a", status=2)
    assert told == "dockerc: --cache-sign goes with --cache-to"
