"""`oci:` and `oci-archive:`: what is chosen, what is checked, and what is said of the rest."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images_support import (
    AMD64,
    ARM64,
    CONFIG,
    FIXTURE,
    INDEX,
    LAYER,
    MANIFEST,
    Json,
    Layout,
    layer_contents,
    named,
    on,
    read_image,
    sha256,
    skopeo_copy,
    tar_of,
)

from toolkit.errors import DockercError
from toolkit.images.open import open_image
from toolkit.images.source import Platform
from toolkit.images.verified import verified


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """One that is still empty."""
    return Layout(tmp_path / "layout")


# The fixture, and archives of it


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=str)
def test_fixture_holds_both_architectures(platform: Platform) -> None:
    with open_image(f"oci:{FIXTURE}:latest", platform) as image:
        assert image.reference == f"oci:{FIXTURE}:latest"
        assert image.platform == platform
        assert image.config["architecture"] == platform.architecture
        manifest = json.loads((FIXTURE / "blobs" / image.digest.replace(":", "/")).read_bytes())
        assert [layer.size for layer in image.layers] == [
            layer["size"] for layer in manifest["layers"]
        ]
        assert b"app:x:1000" in layer_contents(image)[0]


def test_archive_by_skopeo_equals_directory(tmp_path: Path) -> None:
    archive = f"oci-archive:{tmp_path / 'hello.tar'}:v1"
    skopeo_copy(f"oci:{FIXTURE}:latest", archive, "--all")
    expected = read_image(f"oci:{FIXTURE}", ARM64)
    assert read_image(archive, ARM64) == expected
    assert read_image(f"oci-archive:{tmp_path / 'hello.tar'}@{expected[0]}", ARM64) == expected


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_archive_may_be_compressed(tmp_path: Path, mode: Any) -> None:
    with tarfile.open(tmp_path / "a.tar", mode) as tar:
        tar.add(FIXTURE, arcname=".")
    assert read_image(f"oci-archive:{tmp_path / 'a.tar'}") == read_image(f"oci:{FIXTURE}")


def test_archive_layers_can_be_read_in_parallel(tmp_path: Path, layout: Layout) -> None:
    tars = [tar_of({f"f{n}": bytes([n]) * 300_000}) for n in range(8)]
    diff_ids = [sha256(tar) for tar in tars]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": diff_ids}}
    layers = [layout.blob(LAYER.removesuffix("+gzip"), tar) for tar in tars]
    layout.write(layout.manifest(config=layout.document(CONFIG, config), layers=layers))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(layout.path, arcname=".")
    barrier = threading.Barrier(len(tars))
    with open_image(f"oci-archive:{tmp_path / 'a.tar'}", AMD64) as image:

        def read(layer: Any) -> bytes:
            barrier.wait(10)
            with image.open_layer(layer) as stream:
                return b"".join(iter(lambda: stream.read(4096), b""))

        with ThreadPoolExecutor(len(tars)) as pool:
            assert list(pool.map(read, image.layers)) == tars


# Names


def test_a_name_is_chosen(layout: Layout) -> None:
    one, two = layout.manifest(), layout.manifest({"architecture": "amd64", "author": "two"})
    name = layout.write(named(one, "v1"), named(two, "docker.io/library/two:v2"))
    assert read_image(f"{name}:v1")[0] == one["digest"]
    assert read_image(f"{name}:docker.io/library/two:v2")[0] == two["digest"]
    assert read_image(f"{name}@{two['digest']}")[0] == two["digest"]
    with pytest.raises(DockercError, match=r"no image named 'v3'; it has .*two:v2, v1"):
        read_image(f"{name}:v3")
    with pytest.raises(DockercError, match=r"several images; name one of them: .*two:v2, v1"):
        read_image(name)


def test_a_digest_may_be_that_of_an_index(layout: Layout) -> None:
    image = layout.manifest()
    inner = layout.index(on(image, "amd64"))
    assert read_image(f"{layout.write(inner)}@{inner['digest']}")[0] == image["digest"]


def test_what_is_no_layout(tmp_path: Path, layout: Layout) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3000)
    (tmp_path / "other.tar").write_bytes(tar_of({"other": b""}))
    for name, sentence in {
        f"oci:{tmp_path / 'absent'}": "absent does not exist",
        f"oci:{tmp_path}": "not an OCI image layout: it has no index.json",
        f"oci:{tmp_path / 'file'}": "oci-archive:FILE",
        f"oci-archive:{tmp_path}": "is a directory; name it oci:DIR",
        f"oci-archive:{tmp_path / 'file'}": "not a readable tar",
        f"oci-archive:{tmp_path / 'other.tar'}": "not an OCI image layout",
        f"oci:{layout.path}@sha256:{'0' * 64}": "has no image sha256:0000",
        layout.write(): "holds no image",
    }.items():
        with pytest.raises(DockercError, match=sentence):
            read_image(name)


# Blobs that are not what was promised


def spoil(change: Callable[[bytes], bytes], size: int = 0) -> Callable[[Layout], str]:
    """A layout whose layer is changed on disk, and its promised size by `size`."""

    def make(layout: Layout) -> str:
        descriptor = layout.blob(LAYER, gzip.compress(tar_of({"platform": b""}), 1, mtime=0))
        descriptor["size"] += size
        path = layout.blob_path(descriptor["digest"])
        path.write_bytes(change(path.read_bytes()))
        return layout.write(layout.manifest(layers=[descriptor]))

    return make


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (spoil(lambda data: data[:-1]), "is truncated: .* bytes of sha256:"),
        (spoil(lambda data: b""), "is truncated: 0 of"),
        (spoil(lambda data: data + b"x"), "is longer than the"),
        (spoil(lambda data: data[:-1] + b"x"), "does not match its digest: expected sha256:"),
        (spoil(lambda data: data, size=1), "is truncated"),
        (spoil(lambda data: data, size=-1), "is longer than the"),
    ],
)
def test_spoilt_layer_is_never_read_to_its_end(
    layout: Layout, make: Callable[[Layout], str], sentence: str
) -> None:
    with (
        open_image(make(layout), AMD64) as image,
        image.open_layer(image.layers[0]) as stream,
        pytest.raises(DockercError, match=sentence),
    ):
        while stream.read(7):
            pass


@given(st.binary(max_size=300), st.lists(st.integers(1, 90), min_size=1, max_size=9), st.data())
def test_verified_stream_passes_right_bytes_and_no_others(
    data: bytes, steps: list[int], draw: st.DataObject
) -> None:
    stream = verified(io.BytesIO(data), sha256(data), len(data), "it")
    parts: list[bytes] = []
    while part := stream.read(steps[len(parts) % len(steps)]):
        parts.append(part)
    assert b"".join(parts) == data
    other = draw.draw(st.binary(max_size=300).filter(lambda other: other != data))
    for size in (len(data), None):
        with pytest.raises(DockercError):
            verified(io.BytesIO(other), sha256(data), size, "it").read()


def test_absent_blobs(layout: Layout) -> None:
    manifest = layout.manifest()
    name = layout.write(manifest)
    for path in layout.blobs.iterdir():
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(DockercError, match="is incomplete: it lacks the blob sha256:"):
            read_image(name)
        path.write_bytes(data)
    foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    absent = {"mediaType": foreign, "digest": sha256(b"absent"), "size": 6, "urls": ["https://x/"]}
    with pytest.raises(DockercError, match="a foreign layer"):
        read_image(layout.write(layout.manifest(layers=[absent])))


def test_foreign_layer_that_is_there_is_read(layout: Layout) -> None:
    manifest = json.loads(layout.blob_path(layout.manifest()["digest"]).read_bytes())
    layer = {
        **manifest["layers"][0],
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
    assert read_image(layout.write(layout.manifest(layers=[layer])))


# Manifests of the wrong kind or shape


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"schemaVersion": 1}, "schema 1"),
        ({"schemaVersion": None}, "schemaVersion is not 2"),
        ({"manifests": []}, "both a manifest and an index"),
        ({"mediaType": INDEX}, "does not hold what its media type says"),
        ({"config": None}, "without a proper size"),
        ({"config": {"mediaType": CONFIG, "digest": "sha256:1", "size": 1}}, "neither sha256"),
        ({"config": {"mediaType": CONFIG, "digest": sha256(b""), "size": -1}}, "proper size"),
        ({"config": {"mediaType": CONFIG, "digest": sha256(b""), "size": 5 << 20}}, "at most"),
        (
            {
                "config": {
                    "mediaType": "application/vnd.cncf.helm",
                    "digest": sha256(b""),
                    "size": 0,
                }
            },
            "not a container image but an artifact: application/vnd.cncf.helm",
        ),
        ({"layers": []}, "does not fit its manifest: 1 diff_ids, 0 layers"),
        ({"layers": {}}, "'layers' must be a list"),
        ({"layers": [1]}, "each of 'layers' must be an object"),
        (
            {"layers": [{"mediaType": LAYER, "digest": sha256(b""), "size": True}]},
            "'size' must be an integer",
        ),
        (
            {"layers": [{"mediaType": LAYER + "+encrypted", "digest": sha256(b""), "size": 0}]},
            "encrypted",
        ),
        (
            {"layers": [{"mediaType": "text/plain", "digest": sha256(b""), "size": 0}]},
            "no file system: text/plain",
        ),
        (
            {"layers": [{"mediaType": LAYER, "digest": sha256(b""), "size": 0}] * 1001},
            "1001 layers",
        ),
    ],
)
def test_refused_manifests(layout: Layout, changes: Json, sentence: str) -> None:
    with pytest.raises(DockercError, match=sentence):
        read_image(layout.write(layout.manifest(**changes)))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"os":"\\ud800"}', b"1" * 5000],
    ids=["empty", "not-utf8", "list", "null", "deep", "surrogate", "number"],
)
def test_documents_that_are_no_json_objects(layout: Layout, data: bytes) -> None:
    for entry in (
        layout.blob(MANIFEST, data),
        layout.blob(INDEX, data),
        layout.manifest(config=layout.blob(CONFIG, data)),
    ):
        with pytest.raises(DockercError, match=r"is not valid JSON|must be a JSON object"):
            read_image(layout.write(entry))


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 70) | st.text(max_size=3) | st.just("x" * 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape_is_an_image_or_a_sentence(tmp_path: Path, draw: st.DataObject) -> None:
    """One member anywhere in index.json, index, manifest or config is replaced by anything."""
    shutil.rmtree(tmp_path / "layout", ignore_errors=True)
    layout = Layout(tmp_path / "layout")
    victim = draw.draw(st.integers(0, 3))

    def mutated(place: int, value: Any) -> Any:
        if place != victim:
            return value
        node, copy = None, json.loads(json.dumps(value))
        inner = copy
        while isinstance(inner, dict | list) and inner and draw.draw(st.integers(0, 3)):
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            node, key = inner, draw.draw(st.sampled_from(keys))
            inner = node[key]
        if node is None:
            return draw.draw(_values)
        node[key] = draw.draw(_values)
        return copy

    tar = tar_of({"a": b""})
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [sha256(tar)]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": layout.document(CONFIG, mutated(0, config)),
        "layers": [layout.blob(LAYER, gzip.compress(tar, 1, mtime=0))],
    }
    entry = on(layout.document(MANIFEST, mutated(1, manifest)), "amd64")
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    top = {"schemaVersion": 2, "manifests": [layout.document(INDEX, mutated(2, index))]}
    (layout.path / "index.json").write_text(json.dumps(mutated(3, top)))
    try:
        with open_image(f"oci:{layout.path}", AMD64) as image:
            assert len(image.layers) == 1
    except DockercError as error:
        assert "\n" not in str(error)
