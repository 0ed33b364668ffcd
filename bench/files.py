"""Taking apart: extract and replace beside cp and dd on 1 GB, inspect on 1 MB, 200 MB and 2 GB."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from measure import User

RUNS = 7
_OCI = "application/vnd.oci.image"


class _Hashed:
    """A file that knows the digest of what went into it."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)


def random_image(path: Path, megabytes: int) -> None:
    """An OCI layout of one layer with so many megabytes that no compression makes smaller."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(value: dict[str, Any], kind: str) -> dict[str, Any]:
        data = json.dumps(value).encode()
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    with (blobs / "layer").open("wb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w|") as archive:  # type: ignore[call-overload]
            for number in range(max(1, megabytes // 10)):
                info = tarfile.TarInfo(f"f{number}")
                info.size = min(megabytes, 10) * 1_000_000
                with open("/dev/urandom", "rb") as random:
                    archive.addfile(info, random)
    digest, size = hashed.digest.hexdigest(), (blobs / "layer").stat().st_size
    (blobs / "layer").rename(blobs / digest)
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    layer = {"mediaType": f"{_OCI}.layer.v1.tar", "digest": f"sha256:{digest}", "size": size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": store(config, f"{_OCI}.config.v1+json"),
        "layers": [layer],
    }
    index = {"schemaVersion": 2, "manifests": [store(manifest, f"{_OCI}.manifest.v1+json")]}
    (path / "index.json").write_text(json.dumps(index))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def bench_files(work: Path, dockerc: str) -> None:
    """Print medians and the least of RUNS, interleaved, everything in the page cache."""
    user = User(None)
    apps = {}
    for megabytes in (1, 200, 1000, 2000):
        layout, apps[megabytes] = work / f"layout{megabytes}", work / f"app{megabytes}"
        random_image(layout, megabytes)
        build = ("build", "-q", "--no-cache", "--level", "1")
        user.timed(dockerc, *build, f"oci:{layout}", "-o", apps[megabytes])
    print(f"\ninspect, {RUNS} runs each")
    print(f"{'payload':>8} {'median s':>9} {'least s':>8} {'rss MB':>7}")
    for megabytes in (1, 200, 2000):
        rows = [user.timed(dockerc, "inspect", apps[megabytes]) for _ in range(RUNS)]
        walls = [row.wall for row in rows]
        rss = max(row.rss for row in rows) / 1e6
        print(
            f"{megabytes:5} MB {statistics.median(walls):9.2f} {min(walls):8.2f} {rss:7.0f}",
        )
    app, out = apps[1000], work / "out"
    contenders = {
        "cp": ["cp", app, out],
        "dd bs=1M": ["dd", f"if={app}", f"of={out}", "bs=1M", "status=none"],
        "dockerc extract": [dockerc, "extract", app, out],
        "dockerc replace": [dockerc, "replace", app, out],
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(RUNS):
        for name, command in contenders.items():
            out.unlink(missing_ok=True)
            os.sync()
            times[name].append(user.timed(*command).wall)
    print(f"\n1 GB copied, {RUNS} runs each, interleaved")
    print(f"{'contender':16} {'median s':>9} {'least s':>8}")
    for name, walls in times.items():
        print(f"{name:16} {statistics.median(walls):9.2f} {min(walls):8.2f}")
