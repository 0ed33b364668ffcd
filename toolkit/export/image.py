"""Back to an image: an OCI layout, or the archive that `docker load` takes, of one layer.

Formats: OCI image-spec (image-layout.md, config.md), and docker's image-spec v1.2 for the archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from toolkit.atomic import atomic_file
from toolkit.errors import DockercError
from toolkit.executable import Executable
from toolkit.export.image_config import image_config
from toolkit.export.layer import write_layer
from toolkit.export.place import atomic_directory
from toolkit.payload import config_of, filesystem_of, rootfs_of
from toolkit.squashfs.survey import survey

_OCI = "application/vnd.oci.image"
_GZIP = 31
"""zlib's window bits for a gzip header and trailer."""
_LEVEL = 1
"""The layer is a parcel, not an archive: it will be built or loaded next."""
_TAG = "latest"


def write_oci_layout(executable: Executable, path: Path) -> None:
    """The image as the OCI layout `path`, tagged `latest`."""
    with atomic_directory(path) as directory:
        blobs = directory / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def store(data: bytes, kind: str) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

        layer, diff_id = _store_layer(executable, blobs)
        config = image_config(config_of(executable), executable.machine, diff_id)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": store(_json(config), f"{_OCI}.config.v1+json"),
            "layers": [layer],
        }
        listed = store(_json(manifest), f"{_OCI}.manifest.v1+json")
        listed["platform"] = {key: config[key] for key in ("os", "architecture")}
        listed["annotations"] = {"org.opencontainers.image.ref.name": _TAG}
        index = {"schemaVersion": 2, "manifests": [listed]}
        (directory / "index.json").write_bytes(_json(index))
        (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
        directory.chmod(0o755)


def write_docker_archive(executable: Executable, path: Path) -> str:
    """The image as the archive `path`; returns the name that it will have when loaded."""
    name = f"{_repository(executable.path)}:{_TAG}"
    _check_room(executable, path.resolve().parent)
    with atomic_file(path, 0o644) as file, tempfile.TemporaryFile(dir=path.resolve().parent) as raw:
        layer = cast(BinaryIO, raw)
        digest = hashlib.sha256()

        def write(data: bytes) -> None:
            digest.update(data)
            layer.write(data)

        _write_layer(executable, write)
        size = layer.tell()
        layer.seek(0)
        diff_id = digest.hexdigest()
        config = _json(image_config(config_of(executable), executable.machine, f"sha256:{diff_id}"))
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        layer_name = f"{diff_id}/layer.tar"
        manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(_member(layer_name, size), layer)
            for member, data in ((config_name, config), ("manifest.json", _json(manifest))):
                archive.addfile(_member(member, len(data)), io.BytesIO(data))
    return name


def _check_room(executable: Executable, directory: Path) -> None:
    """The archive holds every file in full, holes too, and its layer once more while it is made."""
    needed = 2 * survey(filesystem_of(executable)).total.size
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise DockercError(
            f"its archive takes {needed} bytes to make and {directory} has {free} left; "
            "free some space or choose another place"
        )


def _write_layer(executable: Executable, write: Callable[[bytes], Any]) -> None:
    filesystem = filesystem_of(executable)
    write_layer(filesystem, rootfs_of(filesystem), write)


def _store_layer(executable: Executable, blobs: Path) -> tuple[dict[str, Any], str]:
    """The layer's descriptor, and the digest of its tar."""
    diff, blob, size = hashlib.sha256(), hashlib.sha256(), 0
    unnamed = blobs / "layer"
    compressor = _compressor()
    with unnamed.open("wb") as file:

        def put(data: bytes) -> None:
            nonlocal size
            blob.update(data)
            size += file.write(data)

        def write(data: bytes) -> None:
            diff.update(data)
            put(compressor.compress(data))

        _write_layer(executable, write)
        put(compressor.flush())
    unnamed.rename(blobs / blob.hexdigest())
    descriptor = {
        "mediaType": f"{_OCI}.layer.v1.tar+gzip",
        "digest": f"sha256:{blob.hexdigest()}",
        "size": size,
    }
    return descriptor, f"sha256:{diff.hexdigest()}"


def _compressor() -> Any:
    """isal-l where it has a wheel for this processor: several times as fast as zlib."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _GZIP)


def _repository(path: Path) -> str:
    """The executable's name as a repository's: lower case, and only what one may hold."""
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower()).strip("-")
    return name or "app"


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
