"""Archives that ask for more than they are worth."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from bounds_support import measured
from images_support import read_image, sha256, tar_of
from layout import entry, file, symlink, write_layout
from layout import tar_of as layer_of
from support import failed

from toolkit.errors import DockercError
from toolkit.limits import MAX_LAYERS


def config_of(tars: list[bytes]) -> bytes:
    diff_ids = [sha256(tar) for tar in tars]
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]},
                       "rootfs": {"diff_ids": diff_ids}}).encode()  # fmt: skip


def saved(layers: dict[str, bytes], config: bytes, listed: list[str] | None = None) -> bytes:
    """What `docker save` writes, of these layers."""
    manifest = [{"Config": "config.json", "RepoTags": [], "Layers": listed or list(layers)}]
    return tar_of({**layers, "config.json": config, "manifest.json": json.dumps(manifest).encode()})


def extended(size: int, data: bytes, kind: bytes = b"x") -> bytes:
    """An extended header that claims so many bytes."""
    info = entry("x", kind)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT if size < 1 << 33 else tarfile.GNU_FORMAT) + data


def build_archive(path: Path, env: dict[str, str] | None = None) -> Any:
    return measured("build", "-q", f"docker-archive:{path}", "-o", path.with_name("app"), env=env)


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
@pytest.mark.parametrize("kind", ["x", "g", "L", "K"])
def test_extended_headers_that_claim_gigabytes(tmp_path: Path, transport: str, kind: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(extended(8 << 30, b"", kind.encode()))
    os.truncate(path, (8 << 30) + 4096)
    done = measured("build", "-q", f"{transport}:{path}", "-o", tmp_path / "app")
    assert done.status == 1 and "an extended tar header claims" in done.stderr, done
    assert done.is_bounded() and done.seconds < 3


@pytest.mark.parametrize(
    "data",
    [b"9" * 400_000 + b" path=x\n", b"10 size=" + b"9" * 400_000, b"x=" * 200_000,
     b"400020 GNU.sparse.map=" + b"1" * 400_000 + b"\n"],
    ids=["length", "size", "no length", "map"],
)  # fmt: skip
def test_extended_headers_of_many_digits(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.tar"
    padded = data + bytes(-len(data) % 512)
    path.write_bytes(extended(len(data), padded) + layer_of(file("f", b"1")))
    done = build_archive(path)
    assert done.status == 1 and done.is_bounded() and done.seconds < 3, done


@pytest.mark.parametrize("form", ["xz", "gzip", "bzip2", "zstd"])
def test_archives_that_expand_without_end(tmp_path: Path, form: str) -> None:
    """The rest of it is never unpacked, and nothing of it stays."""
    path, temporary = tmp_path / "a.tar", tmp_path / "tmp"
    temporary.mkdir()
    program = {"xz": ["xz", "-0"], "gzip": ["gzip", "-9"], "bzip2": ["bzip2", "-1"]}.get(form)
    program = program or ["zstd", "-q"]
    with path.open("wb") as out:
        source = subprocess.Popen(["head", "-c", "1G", "/dev/zero"], stdout=subprocess.PIPE)
        subprocess.run([*program, "-c"], stdin=source.stdout, stdout=out, check=True)
    done = build_archive(path, {"TMPDIR": str(temporary)})
    assert done.status == 1 and "taken for an attack" in done.stderr, done
    assert done.is_bounded() and list(temporary.iterdir()) == []


def test_room_is_left_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=(64 << 20) + 50_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    for size, fits in ((20_000, True), (60_000, False)):
        layer = layer_of(file("f", bytes(size)))
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(saved({"layer.tar": layer}, config_of([layer]))))
        if fits:
            read_image(f"docker-archive:{path}")
        else:
            with pytest.raises(DockercError, match="there is no room to unpack"):
                read_image(f"docker-archive:{path}")


def test_an_archive_that_wants_more_memory_than_its_unpacker_may_have(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 << 20}]
    path = tmp_path / "a.tar"
    path.write_bytes(lzma.compress(saved({}, config_of([])), filters=filters))
    done = build_archive(path)
    assert done.status == 1 and "emory" in done.stderr and done.is_bounded(), done


@pytest.mark.parametrize(("window", "is_read"), [(27, True), (28, False)])
def test_archives_with_large_windows(tmp_path: Path, window: int, is_read: bool) -> None:
    layer = layer_of(file("f", b"1"))
    parameters = zstandard.ZstdCompressionParameters(window_log=window)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    path = tmp_path / "a.tar"
    data = saved({"layer.tar": layer}, config_of([layer]))
    path.write_bytes(compressor.compress(data) + compressor.flush())
    done = build_archive(path)
    assert done.status == (0 if is_read else 1) and done.is_bounded(), done
    assert is_read or "cannot read" in done.stderr


@pytest.mark.parametrize("parts", [1, 3])
def test_archives_of_several_streams_are_read(tmp_path: Path, parts: int) -> None:
    layer = layer_of(file("f", b"1"))
    data = saved({"layer.tar": layer}, config_of([layer]))
    step = len(data) // parts + 1
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    path = tmp_path / "a.tar"
    path.write_bytes(b"".join(lzma.compress(piece) + bytes(8) for piece in pieces))
    assert build_archive(path).status == 0


@pytest.mark.slow
def test_a_layer_that_is_compressed_twice(tmp_path: Path) -> None:
    """A thousand times a thousand."""
    once = gzip.compress(bytes(64 << 20))
    layer = gzip.compress(once)
    path = tmp_path / "a.tar"
    path.write_bytes(saved({"layer.tar": layer}, config_of([once])))
    done = build_archive(path)
    assert done.status == 1 and "compressed twice" in done.stderr and done.is_bounded()


@pytest.mark.slow
@pytest.mark.parametrize("count", [MAX_LAYERS, 50_000])
def test_layers_without_end(tmp_path: Path, count: int) -> None:
    layer = layer_of(file("f", b"1"))
    path = tmp_path / "a.tar"
    path.write_bytes(saved({"l": layer}, config_of([layer] * count), ["l"] * count))
    done = build_archive(path)
    assert done.is_bounded() and done.status == (0 if count == MAX_LAYERS else 1), done
    assert count == MAX_LAYERS or f"{count} layers; at most {MAX_LAYERS} are read" in done.stderr


@pytest.mark.slow
def test_archives_of_long_names(tmp_path: Path) -> None:
    """A name that says the same again and again compresses to nothing."""
    path = tmp_path / "a.tar.xz"
    name = "/".join(["d" * 200] * 20_000)
    data = layer_of(*(file(f"{name}/{n}", b"") for n in range(12)))
    path.write_bytes(lzma.compress(data, preset=0))
    done = build_archive(path)
    assert done.status == 1 and "or long names" in done.stderr and done.is_bounded(), done


def test_extended_headers_in_a_row(tmp_path: Path) -> None:
    layer = extended(12, b"12 path=abc\n".ljust(512, b"\0")) * 17 + layer_of(file("f", b""))
    layout = write_layout(tmp_path / "layout", [layer])
    told = failed("build", "-q", f"oci:{layout}", "-o", tmp_path / "app")
    assert "extended headers without end" in told


@pytest.mark.slow
def test_archives_of_many_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(layer_of(file("f", b""))[:512] * 100_001)
    done = build_archive(path)
    assert done.status == 1 and "more than 100000 members" in done.stderr and done.is_bounded()


@pytest.mark.parametrize(("links", "is_read"), [(7, True), (8, False)])
def test_chains_of_links(tmp_path: Path, links: int, is_read: bool) -> None:
    layer = layer_of(file("f", b"1"))
    path = tmp_path / "a.tar"
    chain = layer_of(*(symlink(f"l{n}", f"l{n + 1}") for n in range(links)))[: 512 * links]
    path.write_bytes(chain + saved({f"l{links}": layer}, config_of([layer]), ["l0"]))
    done = build_archive(path)
    assert (done.status == 0) is is_read, done
    assert is_read or "lacks the layer 'l0'" in done.stderr
