"""Back to an image: an OCI layout, or the archive that `docker load` takes, of one layer.

Formats: OCI image-spec (image-layout.md, config.md), and docker's image-spec v1.2 for the archive.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.executable.executable import Executable
from toolkit.executable.payload import config_of, filesystem_of, rootfs_of
from toolkit.files.atomic import atomic_file
from toolkit.files.atomic_directory import atomic_directory
from toolkit.files.disk_space import check_room
from toolkit.files.open_directory import OpenDirectory
from toolkit.services.export.image_config import image_config
from toolkit.services.export.layer import write_layer
from toolkit.squashfs.read.space_usage import space_of

_OCI = "application/vnd.oci.image"
_GZIP = 31
"""zlib's window bits for a gzip header and trailer."""
_LEVEL = 1
"""The layer is a parcel, not an archive: it will be built or loaded next."""
_TAG = "latest"
_LAYER = "layer.tar"
_MAX_NAME = 128
"""Of a repository, with room for a registry's name and a namespace: 255 is the limit for all."""


def write_oci_layout(executable: Executable, path: Path) -> None:
    """The image as the OCI layout `path`, tagged `latest`.

    A layer has no holes: the tars that could tell them are not taken by every reader, or not
    given back by it as they were. So what a hole costs there is time, and room when unpacked.
    """
    space = space_of(filesystem_of(executable))
    with atomic_directory(path) as directory:
        check_room("its layer's files", space.total.stored + space.holes, directory.target)
        blobs = _make_directories(directory, "blobs", "sha256")

        def store(data: bytes, kind: str) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            blobs.write(digest, data)
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
        directory.write("index.json", _json(index))
        directory.write("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        blobs.close()
        directory.set_mode(0o755)


def write_docker_archive(executable: Executable, path: Path) -> str:
    """The image as the archive `path`; returns the name that it will have when loaded."""
    name = f"{_repository(executable.path)}:{_TAG}"
    size = space_of(filesystem_of(executable)).total.size
    with atomic_file(path, 0o644) as file:
        check_room("its archive's files", size, file.fileno())
        digest = hashlib.sha256()

        def write(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        # Its header comes when its size is known.
        file.seek(tarfile.BLOCKSIZE)
        _write_layer(executable, write)
        end = file.tell()
        file.seek(0)
        file.write(_header(_LAYER, end - tarfile.BLOCKSIZE))
        file.seek(end)
        diff_id = f"sha256:{digest.hexdigest()}"
        config = _json(image_config(config_of(executable), executable.machine, diff_id))
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [_LAYER]}]
        for member, data in ((config_name, config), ("manifest.json", _json(manifest))):
            file.write(_header(member, len(data)) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        file.write(bytes(2 * tarfile.BLOCKSIZE))
    return name


def _make_directories(directory: OpenDirectory, outer: str, inner: str) -> OpenDirectory:
    """Both, mode 0755, the inner one opened."""
    above = directory.make(outer)
    try:
        made = above.make(inner)
        for each in (above, made):
            each.set_mode(0o755)
        return made
    finally:
        above.close()


def _write_layer(executable: Executable, write: Callable[[bytes], Any]) -> None:
    filesystem = filesystem_of(executable)
    write_layer(filesystem, rootfs_of(filesystem), write)


def _store_layer(executable: Executable, blobs: OpenDirectory) -> tuple[dict[str, Any], str]:
    """The layer's descriptor, and the digest of its tar."""
    diff, blob, size = hashlib.sha256(), hashlib.sha256(), 0
    compressor = _compressor()
    with open(blobs.create(_LAYER, 0o644), "wb") as file:

        def put(data: bytes) -> None:
            nonlocal size
            blob.update(data)
            size += file.write(data)

        def write(data: bytes) -> None:
            diff.update(data)
            put(compressor.compress(data))

        _write_layer(executable, write)
        put(compressor.flush())
    blobs.rename(_LAYER, blob.hexdigest())
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
    name = re.sub(r"[^a-z0-9]+", "-", path.name.lower())[:_MAX_NAME].strip("-")
    return name or "app"


def _header(name: str, size: int) -> bytes:
    """One block; GNU's form has room in it for any size."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
