"""Registries that lie about an executable: nothing of it takes the place of what was there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from images_support import MANIFEST, Json, Layout, LyingRegistry, answer, sha256

from toolkit.commands.progress_display import Silent
from toolkit.errors import DockercError
from toolkit.executable.executable import open_executable
from toolkit.images import artifact
from toolkit.images.artifact import Artifact, parse_artifact
from toolkit.images.auth.access import DEFAULT_ACCESS
from toolkit.images.reference import RegistryReference
from toolkit.limits import MAX_CHUNK, MAX_CHUNKS
from toolkit.services.transfer.push import describe
from toolkit.services.transfer.rebuild import Pulled, pull, update

pytestmark = pytest.mark.usefixtures("home")
WHERE = "the manifest of it"


@pytest.fixture
def stored(hello: Path, layout: Layout) -> Artifact:
    """The fixture, built, in the layout that the false registry serves."""
    with open_executable(hello) as executable:
        described = describe(executable)
    data = hello.read_bytes()
    for chunk in described.chunks:
        layout.blob("", data[chunk.offset : chunk.offset + chunk.size])
    tell(layout, json.loads(described.encode()))
    return described


def tell(layout: Layout, manifest: Json) -> str:
    """Have the registry serve this manifest; returns its digest."""
    entry = layout.document(MANIFEST, manifest)
    layout.write(entry)
    return str(entry["digest"])


def fetch(liar: LyingRegistry, output: Path) -> Pulled:
    name = RegistryReference(liar.address, "app", "latest", None)
    return pull(name, output, [], DEFAULT_ACCESS, Silent())


def refused(liar: LyingRegistry, here: Path, told: str) -> None:
    """Neither a new file comes to be, nor is an old one touched."""
    there = here / "there"
    there.write_bytes(b"what was there")
    for output in (here / "new", there):
        with pytest.raises(DockercError, match=told) as caught:
            fetch(liar, output)
        assert "\n" not in str(caught.value)
    assert there.read_bytes() == b"what was there"
    assert not [path for path in here.iterdir() if path.name.startswith((".", "new"))]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_the_truth(stored: Artifact, liar: LyingRegistry, hello: Path, here: Path) -> None:
    assert fetch(liar, here / "app").fetched == stored.size
    assert (here / "app").read_bytes() == hello.read_bytes()


def test_what_is_there_twice_is_fetched_once(
    stored: Artifact, layout: Layout, liar: LyingRegistry, hello: Path, here: Path
) -> None:
    """Four times the stub before the rest: a file without sense, but a footer is found."""
    first, *rest = stored.chunks
    data = [layout.blob_path(chunk.digest).read_bytes() for chunk in (first, *rest)]
    twice = data[0] + data[0]
    manifest = json.loads(stored.encode())
    manifest["layers"] = [manifest["layers"][0], *manifest["layers"]]
    told = {"digest": sha256(twice + b"".join(data[1:])), "size": str(stored.size + first.size)}
    manifest["annotations"] |= {f"dev.dockerc.executable.{k}": v for k, v in told.items()}
    tell(layout, manifest)
    # The footer leads to the first half of it: whole, to the byte, and still no executable.
    refused(liar, here, "not a dockerc executable")
    asked = [path for path, _ in liar.requests if path.endswith(first.digest)]
    assert len(asked) == 2  # once for each attempt of ours
    # And copied to both places, if it is here.
    (here / "app").write_bytes(hello.read_bytes())
    with pytest.raises(DockercError, match="not a dockerc executable"):
        fetch(liar, here / "app")
    assert (here / "app").read_bytes() == hello.read_bytes()


@pytest.mark.parametrize("changed", [b"", b"x", bytes(MAX_CHUNK)])
def test_a_blob_of_other_bytes(
    stored: Artifact, liar: LyingRegistry, here: Path, changed: bytes
) -> None:
    for chunk in (stored.chunks[0], stored.chunks[-1]):
        liar.answers[f"/v2/app/blobs/{chunk.digest}"] = answer(200, changed)
        refused(liar, here, f"{chunk.digest}.*(truncated|does not match|longer|arrive whole)")
        liar.answers.clear()


def test_a_blob_of_the_right_size(stored: Artifact, liar: LyingRegistry, here: Path) -> None:
    chunk = stored.chunks[1]
    liar.answers[f"/v2/app/blobs/{chunk.digest}"] = answer(200, bytes(chunk.size))
    refused(liar, here, "does not match its digest")


def test_a_blob_that_is_not_there(stored: Artifact, liar: LyingRegistry, here: Path) -> None:
    liar.answers[f"/v2/app/blobs/{stored.chunks[1].digest}"] = answer(404)
    refused(liar, here, f"is incomplete: .* lacks the blob {stored.chunks[1].digest}")


def test_another_manifest_than_that_of_the_digest(
    stored: Artifact, liar: LyingRegistry, here: Path
) -> None:
    digest = f"sha256:{'0' * 64}"
    path = f"/v2/app/manifests/{digest}"
    liar.answers[path] = answer(200, stored.encode(), {"Content-Type": MANIFEST})
    name = RegistryReference(liar.address, "app", None, digest)
    with pytest.raises(DockercError, match="does not match its digest"):
        pull(name, here / "new", [], DEFAULT_ACCESS, Silent())


def test_blobs_that_are_not_the_file(
    stored: Artifact, layout: Layout, liar: LyingRegistry, here: Path
) -> None:
    """Each is what its digest says; the whole is not."""
    manifest = json.loads(stored.encode())
    manifest["layers"].reverse()
    tell(layout, manifest)
    refused(liar, here, "the whole file does not match its digest")


def test_an_update_that_fails_leaves_the_file(
    stored: Artifact, layout: Layout, liar: LyingRegistry, hello: Path, here: Path
) -> None:
    app = here / "app"
    app.write_bytes(hello.read_bytes())
    manifest = json.loads(stored.encode())
    manifest["layers"].reverse()
    tell(layout, manifest)
    # Of the same size, and with no byte to fetch.
    manifest["annotations"]["dev.dockerc.executable.digest"] = f"sha256:{'1' * 64}"
    tell(layout, manifest)
    name = RegistryReference(liar.address, "app", "latest", None)
    with pytest.raises(DockercError, match="the whole file does not match"):
        update(app, name, DEFAULT_ACCESS, Silent())
    assert app.read_bytes() == hello.read_bytes()


def test_more_than_the_disk_has(
    stored: Artifact, liar: LyingRegistry, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toolkit.files import disk_space

    class Full:
        free = stored.size - 1

    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: Full)
    refused(liar, here, "free some space")
    assert not [path for path, _ in liar.requests if "/blobs/" in path]


# What a manifest may say

Change = Callable[[Json], Any]
DIGEST = f"sha256:{'0' * 64}"
CHUNK = {"mediaType": artifact.CHUNK_TYPE, "digest": DIGEST, "size": 5}
EXECUTABLE = "dev.dockerc.executable"


def manifest() -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.dockerc.executable.v1",
        "layers": [{**CHUNK}, {**CHUNK}],
        "annotations": {
            f"{EXECUTABLE}.digest": DIGEST,
            f"{EXECUTABLE}.size": "10",
            f"{EXECUTABLE}.chunk-size": "262144",
        },
    }


def parsed(changed: Json) -> Artifact:
    return parse_artifact(json.dumps(changed).encode(), WHERE, "")


def test_a_manifest_as_it_should_be() -> None:
    read = parsed(manifest())
    assert [chunk.offset for chunk in read.chunks] == [0, 5] and read.size == 10
    assert parse_artifact(read.encode(), WHERE, "") == read


SIZES = ("", "-1", "0", "1_0", " 10", "1e1", "\u0661\u0660", "9" * 30, str(1 << 40))


def size_of(text: str) -> Change:
    """Says that the file has so many bytes."""
    return lambda m: m["annotations"].update({f"{EXECUTABLE}.size": text})


LIES: dict[str, tuple[Change, str]] = {
    "no chunks": (lambda m: m.update(layers=[]), "has 0 blobs"),
    "a chunk of no bytes": (lambda m: m["layers"][0].update(size=0), "a blob of 0 bytes"),
    "a negative one": (lambda m: m["layers"][0].update(size=-5), "without a proper size"),
    "no size": (lambda m: m["layers"][0].pop("size"), "without a proper size"),
    "a text": (lambda m: m["layers"][0].update(size="5"), "'size' must be an integer"),
    "one too large": (lambda m: m["layers"][0].update(size=MAX_CHUNK + 1), "a blob of 8388609"),
    "missing bytes": (lambda m: m["layers"].pop(), "its blobs have 5 bytes, the file 10"),
    "bytes too many": (lambda m: m["layers"].append(CHUNK), "its blobs have 15 bytes, the file 10"),
    "no digest": (lambda m: m["layers"][0].pop("digest"), "neither sha256 nor sha512"),
    "a path": (lambda m: m["layers"][0].update(digest="sha256:../x"), "neither sha256 nor"),
    "layers": (lambda m: m["layers"][0].update(mediaType="x"), "a blob that is no part of a file"),
    "an index": (lambda m: m.update(manifests=[]), "an executable has no index"),
    "another kind": (lambda m: m.update(artifactType="x/y"), "not that of an executable .*: x/y"),
    "no annotations": (lambda m: m.pop("annotations"), "neither sha256 nor sha512"),
    "a list": (lambda m: m.update(annotations=[]), "'annotations' must be an object"),
    "no digest of all": (lambda m: m["annotations"].pop(f"{EXECUTABLE}.digest"), "neither sha256"),
    "another hash": (
        lambda m: m["annotations"].update({f"{EXECUTABLE}.digest": f"sha512:{'0' * 128}"}),
        "is not sha256",
    ),
    **{f"size {text!r}": (size_of(text), "is no size") for text in SIZES},
    "a mean of 0": (
        lambda m: m["annotations"].update({f"{EXECUTABLE}.chunk-size": "0"}),
        "chunk-size is no size",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_manifests_that_lie(lie: str) -> None:
    changed = manifest()
    change, told = LIES[lie]
    change(changed)
    with pytest.raises(DockercError, match=told) as caught:
        parsed(changed)
    assert WHERE in str(caught.value) and str(caught.value).isprintable()


def test_a_manifest_of_more_blobs_than_are_read() -> None:
    changed = manifest()
    changed["layers"] = [CHUNK] * MAX_CHUNKS
    changed["annotations"][f"{EXECUTABLE}.size"] = str(5 * MAX_CHUNKS)
    assert len(parsed(changed).chunks) == MAX_CHUNKS
    changed["layers"].append(CHUNK)
    with pytest.raises(DockercError, match=f"has {MAX_CHUNKS + 1} blobs; 1 to {MAX_CHUNKS}"):
        parsed(changed)


@pytest.mark.parametrize("mean", [1, 1 << 30])
def test_a_mean_that_nobody_uses(
    stored: Artifact, layout: Layout, liar: LyingRegistry, hello: Path, here: Path, mean: int
) -> None:
    """It finds fewer chunks in what is here, or cuts it at each block; the bytes are right."""
    app = here / "app"
    app.write_bytes(hello.read_bytes())
    changed = json.loads(stored.encode())
    changed["annotations"][f"{EXECUTABLE}.chunk-size"] = str(mean)
    tell(layout, changed)
    fetch(liar, app)
    assert app.read_bytes() == hello.read_bytes()
