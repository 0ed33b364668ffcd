"""OCI layouts for the benchmark: an image with one more layer, and an image as a single tar."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def with_file(image: Path, output: Path, name: str, data: bytes) -> Path:
    """The image with a layer on top of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return with_layers(image, output, [buffer.getvalue()])


def with_layers(image: Path, output: Path, layers: list[bytes], below: int | None = None) -> Path:
    """The image, or its first `below` layers, with these tars on top."""
    manifest, config = read(image)
    blobs = output / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for blob in (image / "blobs" / "sha256").iterdir():
        (blobs / blob.name).symlink_to(blob.resolve())
    template = manifest["layers"][-1]
    if below is not None:
        del manifest["layers"][below:], config["rootfs"]["diff_ids"][below:]
    for layer in layers:
        config["rootfs"]["diff_ids"].append(_digest(layer))
        manifest["layers"].append(template | store(output, gzip.compress(layer, 1)))
    manifest["config"] |= store(output, config)
    index = json.loads((image / "index.json").read_text())
    index["manifests"][0] |= store(output, manifest)
    (output / "index.json").write_text(json.dumps(index))
    (output / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return output


def synthetic(layout: Path, size: int, files: int) -> Path:
    """An image of so many files, together of `size` bytes that do not compress."""
    (layout / "blobs" / "sha256").mkdir(parents=True)
    layer = layout / "layer"
    with tarfile.open(layer, "w") as archive:
        for number in range(files):
            info = tarfile.TarInfo(f"d{number // 100}/f{number}")
            info.size = size // files
            archive.addfile(info, _Noise(info.size))
            archive.members.clear()  # type: ignore[attr-defined]  # else it remembers all
    stored = store(layout, layer)
    config = {
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [stored["digest"]]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | store(layout, config),
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar"} | stored],
    }
    listed = {"mediaType": "application/vnd.oci.image.manifest.v1+json"} | store(layout, manifest)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def merged_tar(image: Path, output: Path) -> Path:
    """The layers as a single tar, later entries in the place of earlier ones of the same name.

    Whiteouts are dropped: near enough for a rival's time, as these images hardly have any.
    """
    manifest, _ = read(image)
    entries: dict[str, tuple[tarfile.TarFile, tarfile.TarInfo]] = {}
    with ExitStack() as stack:
        for layer in manifest["layers"]:
            archive = stack.enter_context(tarfile.open(blob_path(image, layer["digest"])))
            for member in archive:
                entries.pop(member.name, None)
                entries[member.name] = (archive, member)
        with tarfile.open(output, "w") as merged:
            for archive, member in entries.values():
                merged.addfile(member, archive.extractfile(member) if member.isreg() else None)
    return output


def read(image: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its manifest and its config."""
    index = json.loads((image / "index.json").read_text())
    manifest = json.loads(blob_path(image, index["manifests"][0]["digest"]).read_text())
    return manifest, json.loads(blob_path(image, manifest["config"]["digest"]).read_text())


def blob_path(image: Path, digest: str) -> Path:
    return image / "blobs" / digest.replace(":", "/")


def store(layout: Path, content: Path | bytes | dict[str, Any]) -> dict[str, Any]:
    """Put a blob into a layout, a file by moving it; returns its digest and size."""
    if isinstance(content, dict):
        content = json.dumps(content).encode()
    if isinstance(content, bytes):
        digest = _digest(content)
        blob_path(layout, digest).write_bytes(content)
        return {"digest": digest, "size": len(content)}
    hasher = hashlib.sha256()
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    digest = f"sha256:{hasher.hexdigest()}"
    size = content.stat().st_size
    content.rename(blob_path(layout, digest))
    return {"digest": digest, "size": size}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class _Noise(io.RawIOBase):
    """Random bytes, so many of them."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return random.randbytes(size)
