"""An image to build with caches in registries, and what it becomes without any."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from images_support import sha256
from layout import directory, file, noise, tar_of, write_layout
from support import dockerc

from toolkit.images.artifact import StoredChunk
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.reference import RegistryReference, parse_name
from toolkit.images.source import Layer
from toolkit.images.stored_pack import StoredPack
from toolkit.images.transports.registry.pack_store import PackStore
from toolkit.limits import MAX_CHUNK
from toolkit.services.pack_layers import Parameters, remote_name

PARAMETERS = Parameters(block_size=4096)
WORDS = ("--block-size", "4K", "--arch", "amd64")


def text(size: int, seed: int) -> bytes:
    """Bytes that compress to a half."""
    return noise(size // 2, seed).hex().encode()


@dataclass(frozen=True)
class Builder:
    """An image of two layers, what it becomes without any cache, and an empty remote cache."""

    image: Path
    expected: bytes
    layers: tuple[Layer, ...]
    cache: RegistryReference
    here: Path

    def build(self, *options: str, **environment: str) -> tuple[bytes, str]:
        """As on another machine, which has nothing cached."""
        home = self.here / f"cache{len(list(self.here.iterdir()))}"
        variables = os.environ | {"XDG_CACHE_HOME": str(home)} | environment
        output = self.here / "app"
        words = ["build", f"oci:{self.image}", "-o", output, *WORDS, *options]
        said = dockerc(*words, env=variables).stderr
        return output.read_bytes(), said

    def store(self, number: int, data: bytes) -> None:
        """Put this file into the remote cache, as the pack of a layer."""
        chunks = [
            StoredChunk(at, len(piece), sha256(piece))
            for at in range(0, len(data), MAX_CHUNK)
            if (piece := data[at : at + MAX_CHUNK])
        ]
        with closing(PackStore(self.cache, DEFAULT_ACCESS)) as store:
            for chunk in chunks:
                store.put_chunk(data[chunk.offset : chunk.offset + chunk.size], chunk.digest)
            store.put(StoredPack(self.name(number), tuple(chunks)))

    def name(self, number: int) -> str:
        return remote_name(PARAMETERS, self.layers[number])

    def pack(self, number: int) -> bytes:
        """The right one, which some build on this machine has made."""
        name = self.name(number).rpartition("-")[0]
        return (self.here / "warm" / "dockerc" / "packs" / f"{name}.pack").read_bytes()


def make_builder(registry: str, tmp_path: Path) -> Builder:
    """Two layers of 200 blocks and more, of which a few do not compress or are holes."""
    tars = [
        tar_of(
            directory("d"),
            *(file(f"d/{n}", text(9_000 * n, n) + bytes(4096 * n)) for n in range(1, 14)),
            file("d/noise", noise(20_000, 1)),
            file("d/empty"),
        ),
        tar_of(file("top", text(400_000, 99)), *(file(f"s{n}", text(900, n)) for n in range(60))),
    ]
    image = write_layout(tmp_path / "layout", tars)
    here = tmp_path / "here"
    here.mkdir()
    layers = tuple(Layer(sha256(tar), None) for tar in tars)
    cache = parse_name(f"{registry}/{tmp_path.name.lower().strip('_')}/cache:main")
    made = Builder(image, b"", layers, cache, here)
    expected, _ = made.build(XDG_CACHE_HOME=str(here / "warm"))
    return Builder(image, expected, layers, cache, here)
