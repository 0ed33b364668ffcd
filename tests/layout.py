"""Makes OCI layouts out of tar bytes, as the tests' own way to any layer they like."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def tar_of(
    *entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT
) -> bytes:
    """A tar of these entries."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for entry in entries:
            info, data = entry if isinstance(entry, tuple) else (entry, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """One header; mode 0755 for directories and 0644 else, mtime a fixed one, unless told."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_700_000_000
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def file(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file with its content."""
    return entry(name, **fields), data


def directory(name: str, **fields: Any) -> tarfile.TarInfo:
    """A directory."""
    return entry(name, tarfile.DIRTYPE, **fields)


def symlink(name: str, target: str, **fields: Any) -> tarfile.TarInfo:
    """A symlink."""
    return entry(name, tarfile.SYMTYPE, linkname=target, mode=0o777, **fields)


def hard_link(name: str, target: str) -> tarfile.TarInfo:
    """A hard link."""
    return entry(name, tarfile.LNKTYPE, linkname=target)


def noise(size: int, seed: int) -> bytes:
    """Bytes that do not compress, the same each time."""
    return random.Random(seed).randbytes(size)


def write_layout(
    path: Path,
    layers: Sequence[bytes],
    config: dict[str, Any] | None = None,
    compress: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1, mtime=0),
    history: Sequence[str] = (),
    architecture: str = "amd64",
) -> Path:
    """An OCI layout with one image, tagged `latest`, for linux and that architecture.

    `history` tells of each layer what made it.
    """
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    prefix = "application/vnd.oci.image"
    stored = [store(compress(layer), f"{prefix}.layer.v1.tar+gzip") for layer in layers]
    image = {
        "os": "linux",
        "architecture": architecture,
        "config": config if config is not None else {"Cmd": ["true"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
        },
        "history": [{"created_by": step} for step in history],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{prefix}.manifest.v1+json",
        "config": store(json.dumps(image).encode(), f"{prefix}.config.v1+json"),
        "layers": stored,
    }
    listed = store(json.dumps(manifest).encode(), f"{prefix}.manifest.v1+json")
    listed["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [listed]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return path


def on_top(base: Path, path: Path, layer: bytes, config: dict[str, Any]) -> Path:
    """An OCI layout of another's image with one layer more, and other members of its config."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def load(descriptor: dict[str, Any]) -> dict[str, Any]:
        name = descriptor["digest"].partition(":")[2]
        loaded: dict[str, Any] = json.loads((base / "blobs" / "sha256" / name).read_text())
        return loaded

    def store(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    index = json.loads((base / "index.json").read_text())
    (listed,) = index["manifests"]
    manifest = load(listed)
    image = load(manifest["config"])
    for below in manifest["layers"]:
        name = below["digest"].partition(":")[2]
        (blobs / name).symlink_to((base / "blobs" / "sha256" / name).resolve())
    image["config"] = {**image.get("config", {}), **config}
    image["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
    manifest["layers"].append(
        store(gzip.compress(layer, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
    )
    manifest["config"] = store(json.dumps(image).encode(), manifest["config"]["mediaType"])
    listed.update(store(json.dumps(manifest).encode(), listed["mediaType"]))
    (path / "index.json").write_text(json.dumps(index))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return path


def pax(name: str, records: dict[str, str], kind: bytes = b"0") -> tarfile.TarInfo:
    """An entry with records of its own; tarfile writes them as they are."""
    made = entry(name, kind)
    made.pax_headers = records
    return made
