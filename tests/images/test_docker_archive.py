"""`docker-archive:`: what docker, podman and skopeo save, and what is said of the rest."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images_support import AMD64, ARM64, FIXTURE, Json, read_image, sha256, skopeo_copy, tar_of

from toolkit.errors import DockercError
from toolkit.images.open import open_image

TARS = [tar_of({"one": b"1"}), tar_of({"two": b"2" * 5000})]


def config_of(tars: list[bytes], architecture: str = "amd64") -> bytes:
    diff_ids = [sha256(tar) for tar in tars]
    config = {"architecture": architecture, "os": "linux", "rootfs": {"diff_ids": diff_ids}}
    return json.dumps(config).encode()


def saved(path: Path, **changes: Any) -> str:
    """A docker save of one image `a:1` of two layers, with `changes` to its manifest entry."""
    config = config_of(TARS)
    name = f"{sha256(config)[7:]}.json"
    entry = {"Config": name, "RepoTags": ["a:1"], "Layers": ["x/layer.tar", "y/layer.tar"]}
    files = {name: config, "x/layer.tar": TARS[0], "y/layer.tar": TARS[1]}
    path.write_bytes(tar_of({**files, "manifest.json": json.dumps([entry | changes]).encode()}))
    return f"docker-archive:{path}"


def rewritten(path: Path, **files: bytes | None) -> None:
    """Replaces members of a tar (None: leaves them out). Names are given with `_` for `/`."""
    with tarfile.open(path) as tar:
        members = {}
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    for name, data in files.items():
        actual = name.replace("__", "/").replace("_", ".")
        if data is None:
            del members[actual]
        else:
            members[actual] = data
    path.write_bytes(tar_of(members))


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=str)
def test_skopeos_archive_holds_what_its_source_does(tmp_path: Path, platform: Any) -> None:
    archive = f"docker-archive:{tmp_path / 'hello.tar'}:ghcr.io/dockerc/hello:1"
    skopeo_copy(f"oci:{FIXTURE}", archive, "--override-arch", platform.architecture)
    digest, layers = read_image(archive, platform)
    with open_image(f"oci:{FIXTURE}", platform) as image:
        config = (FIXTURE / "blobs" / "sha256").glob("*")
        assert digest in {sha256(path.read_bytes()) for path in config}
        with open_image(archive, platform) as archived:
            assert archived.config == image.config
    assert layers == read_image(f"oci:{FIXTURE}", platform)[1]
    with pytest.raises(DockercError, match=r"is an image for linux/.*, not for linux/"):
        read_image(archive, ARM64 if platform is AMD64 else AMD64)


def test_names(tmp_path: Path) -> None:
    name = saved(tmp_path / "a.tar")
    expected = (sha256(config_of(TARS)), TARS)
    for suffix in ("", ":a:1", ":docker.io/library/a:1", ":@0"):
        assert read_image(name + suffix) == expected
    with pytest.raises(DockercError, match=r"no image 'docker.io/library/a:latest'; it has a:1"):
        read_image(f"{name}:a")
    with pytest.raises(DockercError, match="has 1 images, counted from 0, and no @1"):
        read_image(f"{name}:@1")


def test_several_images(tmp_path: Path) -> None:
    tars = [tar_of({"other": b"3"})]
    first, second = config_of(TARS), config_of(tars)
    entries = [
        {"Config": "1.json", "RepoTags": ["a:1", "q.io/b:2"], "Layers": ["0", "1"]},
        {"Config": "2.json", "RepoTags": None, "Layers": ["2"]},
    ]
    files = {"1.json": first, "2.json": second, "0": TARS[0], "1": TARS[1], "2": tars[0]}
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({**files, "manifest.json": json.dumps(entries).encode()}))
    assert read_image(f"docker-archive:{path}:q.io/b:2") == (sha256(first), TARS)
    assert read_image(f"docker-archive:{path}:@1") == (sha256(second), tars)
    with pytest.raises(DockercError, match=r"holds 2 images; name one .*a:1, q.io/b:2"):
        read_image(f"docker-archive:{path}")


def oci_save(path: Path, spoil: bytes = b"") -> str:
    """What docker 25 and later save: manifest.json over the blobs of an OCI layout."""
    config, blobs = config_of(TARS), [gzip.compress(tar, mtime=0) for tar in TARS]
    paths = {data: f"blobs/sha256/{sha256(data)[7:]}" for data in [config, *blobs]}
    layers = [paths[blob] for blob in blobs]
    entry = {"Config": paths[config], "RepoTags": ["a:1"], "Layers": layers}
    files = {paths[data]: data for data in paths}
    files[layers[1]] += spoil
    manifest = json.dumps([entry]).encode()
    path.write_bytes(tar_of({**files, "index.json": b"{}", "manifest.json": manifest}))
    return f"docker-archive:{path}"


def test_save_over_an_oci_layout(tmp_path: Path) -> None:
    name = oci_save(tmp_path / "a.tar")
    assert read_image(name) == (sha256(config_of(TARS)), TARS)
    with pytest.raises(DockercError, match=r"not for linux/arm64 \(.* oci-archive:"):
        read_image(name, ARM64)
    with pytest.raises(DockercError, match="does not match its digest"):
        read_image(oci_save(tmp_path / "b.tar", spoil=b"\0"))


def test_compressed_archive_and_layers(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    name = saved(path)
    expected = read_image(name)
    rewritten(path, x__layer_tar=gzip.compress(TARS[0]))
    assert read_image(name) == expected
    for damaged in (gzip.compress(TARS[0])[:-20], b"\x1f\x8b\x08" + b"\xff" * 50):
        rewritten(path, x__layer_tar=damaged)
        with pytest.raises(DockercError, match="cannot read layer 'x/layer"):
            read_image(name)
    saved(path)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert read_image(name) == expected
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DockercError, match=f"cannot read {path}"):
        read_image(name)


def test_archive_from_a_pipe(tmp_path: Path) -> None:
    saved(tmp_path / "a.tar")
    os.mkfifo(tmp_path / "pipe")
    data = (tmp_path / "a.tar").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert read_image(f"docker-archive:{tmp_path / 'pipe'}")[1] == TARS
    writer.join()


def test_links_to_layers_are_followed_inside_the_archive(tmp_path: Path) -> None:
    """Docker 1.10 to 24 save a layer that occurs twice as a symbolic link."""
    config = config_of([TARS[0]] * 3)
    entry = {"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["x/l.tar", "y/l.tar", "z/l.tar"]}
    files = {"c.json": config, "manifest.json": json.dumps([entry]).encode(), "x/l.tar": TARS[0]}
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(files))
    with tarfile.open(path, "a") as tar:
        for name, kind, target in [
            ("y/l.tar", tarfile.SYMTYPE, "../x/l.tar"),
            ("z/l.tar", tarfile.LNKTYPE, "y/l.tar"),
            ("loop", tarfile.SYMTYPE, "loop"),
            ("out", tarfile.SYMTYPE, "/etc/passwd"),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            tar.addfile(member)
    assert read_image(f"docker-archive:{path}")[1] == [TARS[0]] * 3
    for name in ("loop", "out"):
        rewritten_entry = json.dumps([{**entry, "Config": name}]).encode()
        with tarfile.open(path, "a") as tar:  # the last member of a name counts
            member = tarfile.TarInfo("manifest.json")
            member.size = len(rewritten_entry)
            tar.addfile(member, io.BytesIO(rewritten_entry))
        with pytest.raises(DockercError, match=f"lacks '{name}'"):
            read_image(f"docker-archive:{path}")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"manifest_json": None}, "not a docker archive: it has no manifest.json"),
        ({"manifest_json": b"{}"}, "must be a list of images"),
        ({"manifest_json": b"[]"}, "holds no image"),
        ({"x__layer_tar": None}, "lacks the layer 'x/layer.tar'"),
        ({"x__layer_tar": TARS[1]}, "does not match its digest: expected sha256:"),
        ({"x__layer_tar": b""}, "does not match its digest"),
        ({f"{sha256(config_of(TARS))[7:]}_json": b"{}"}, "config .* does not match its digest"),
    ],
)
def test_spoilt_archives(tmp_path: Path, files: dict[str, bytes | None], sentence: str) -> None:
    name = saved(tmp_path / "a.tar")
    rewritten(tmp_path / "a.tar", **files)
    with pytest.raises(DockercError, match=sentence):
        read_image(name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"Config": None}, "lacks '"),
        ({"Config": "../../etc/passwd"}, "lacks '../../etc/passwd'"),
        ({"Config": 1}, "'Config' must be a string"),
        ({"Layers": ["x/layer.tar"]}, "2 diff_ids, 1 layers"),
        ({"Layers": ["/etc/passwd", "y/layer.tar"]}, "lacks the layer '/etc/passwd'"),
        ({"RepoTags": [1]}, "each of 'RepoTags' must be a string"),
    ],
)
def test_malformed_entries(tmp_path: Path, changes: Json, sentence: str) -> None:
    with pytest.raises(DockercError, match=sentence):
        read_image(saved(tmp_path / "a.tar", **changes))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_an_image_or_a_sentence(tmp_path: Path, draw: st.DataObject) -> None:
    """Bytes of the tar's headers and documents are overwritten, or its end is cut off."""
    path = tmp_path / "a.tar"
    name = saved(path)
    data = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 20))
        junk = draw.draw(st.binary(min_size=1, max_size=20) | st.sampled_from([b"9" * 12, b"\xff"]))
        data[place : place + len(junk)] = junk
    path.write_bytes(
        data[: draw.draw(st.integers(0, len(data)))] if draw.draw(st.booleans()) else data
    )
    try:
        layers = read_image(name)[1]
    except DockercError:
        return
    assert layers == TARS


@pytest.mark.parametrize("form", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("what", ["archive", "layers"])
def test_compressed_archives_and_layers(tmp_path: Path, form: str, what: str) -> None:
    """skopeo, whose library podman has too, takes the same."""
    compress: Any = {
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "zstd": zstandard.ZstdCompressor().compress,
    }[form]
    path = tmp_path / f"a.tar.{form}"
    name = saved(path)
    plain = read_image(name)
    if what == "archive":
        path.write_bytes(compress(path.read_bytes()))
    else:
        rewritten(path, **{"x__layer_tar": compress(TARS[0]), "y__layer_tar": compress(TARS[1])})
    assert read_image(name) == plain
    if (what, form) == ("archive", "gzip"):
        return  # its reader gives up at such a small one
    skopeo_copy(name, f"oci:{tmp_path / 'theirs'}:a")
    assert read_image(f"oci:{tmp_path / 'theirs'}:a")[1:] == plain[1:]
