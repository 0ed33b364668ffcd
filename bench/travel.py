"""What the next version of an executable costs to fetch: ours, zsync, and the whole file."""

from __future__ import annotations

import filecmp
import io
import os
import random
import struct
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from figures import Figure, note
from layers import blob_path, read, with_layers
from served import Meter, registry, web

APP = 30_000_000
"""Bytes of the files of the layer that changes."""
CHANGED = 0.1
"""Part of its files that a version changes."""
UPGRADED = 40
"""Files of the base that its update changes."""
BAR = 1.1
_TRAILER = struct.Struct("<8sQQ32s")
"""Of a cached pack (toolkit/layers/packfile.py): the second field is the bytes of its blocks."""


def bench_travel(images: dict[str, Path], work: Path, dockerc: str) -> None:
    """Print bytes and seconds of each step from a version to the next."""
    cache = work / "cache"
    base = images["debian"]
    files = list(_app_files(images["python"]))
    layouts = {"debian": base}
    for number in (1, 2, 3):
        layouts[f"app {number}"] = with_layers(base, work / f"app{number}", [_app(files, number)])
    newer = work / "newer"
    layouts["newer debian, app 3"] = with_layers(
        base, newer, [_upgraded(base), _app(files, 3)], below=0
    )
    built = {}
    for name, layout in layouts.items():
        app = work / name.replace(" ", "-").replace(",", "")
        known = set(cache.rglob("*.pack"))
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        words = [dockerc, "build", "-q", f"oci:{layout}", "--arch", "amd64", "-o", app]
        subprocess.run(words, check=True, env=environment)
        built[name] = app, sum(_blocks(pack) for pack in set(cache.rglob("*.pack")) - known)
    print(f"\n{'from ... to':36} {'fetched':>22} {'MB':>7} {'s':>6} {'of packs':>9}")
    with registry(work) as stored, web(work) as served:
        for name, (app, _) in built.items():
            _tool(dockerc, "push", "-q", app, _name(stored, name))
        for old, new in zip(built, list(built)[1:], strict=False):
            _step(work, dockerc, (old, new), built, stored, served)


def _step(
    work: Path,
    dockerc: str,
    names: tuple[str, str],
    built: dict[str, tuple[Path, int]],
    stored: Meter,
    served: Meter,
) -> None:
    old, new = names
    (before, _), (after, packs) = built[old], built[new]
    out = work / "out"
    control = work / f"{after.name}.zsync"
    subprocess.run(["zsyncmake", "-u", f"http://{served.address}/{after.name}", "-o", control,
                    after], check=True, capture_output=True)  # fmt: skip
    ways: dict[str, tuple[Meter, Callable[[], object]]] = {
        "dockerc pull --base": (
            stored,
            lambda: _tool(dockerc, "pull", _name(stored, new), "-o", out, "--base", before),
        ),
        "zsync -i": (
            served,
            lambda: _tool("zsync", "-i", before, "-o", out,
                          f"http://{served.address}/{control.name}"),
        ),
        "the whole file (curl)": (
            served,
            lambda: _tool("curl", "-s", "-o", out, f"http://{served.address}/{after.name}"),
        ),
    }  # fmt: skip
    for way, (meter, work_it) in ways.items():
        out.unlink(missing_ok=True)
        meter.bytes, start = 0, time.perf_counter()
        work_it()
        seconds = time.perf_counter() - start
        assert filecmp.cmp(out, after, shallow=False), f"{way}: another file"
        figure = Figure(
            f"{old} to {new}", way, "changed packs", "MB", meter.bytes / 1e6, packs / 1e6,
            BAR if way.startswith("dockerc") else None,
        )  # fmt: skip
        note(figure)
        print(f"{figure.subject:36} {way:>22} {meter.bytes / 1e6:7.1f} {seconds:6.1f}"
              f" {figure.ratio:8.2f}x {figure.verdict}")  # fmt: skip


def _tool(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def _name(stored: Meter, name: str) -> str:
    return f"docker://{stored.address}/app:{name.replace(' ', '-').replace(',', '')}"


def _blocks(pack: Path) -> int:
    """Bytes of compressed files in a cached pack."""
    with pack.open("rb") as file:
        file.seek(-_TRAILER.size, os.SEEK_END)
        size: int = _TRAILER.unpack(file.read())[1]
    return size


def _members(image: Path, number: int) -> Iterator[tuple[tarfile.TarInfo, bytes | None]]:
    manifest, _ = read(image)
    with tarfile.open(blob_path(image, manifest["layers"][number]["digest"])) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            yield member, content.read() if content else None


def _app_files(python: Path) -> Iterator[tuple[str, bytes]]:
    """Libraries in Python and C, as applications have them."""
    size = 0
    for member, data in _members(python, 1):
        if data and "/python3/" in member.name and size + len(data) <= APP:
            size += len(data)
            yield member.name, data


def _app(files: list[tuple[str, bytes]], version: int) -> bytes:
    """A layer of an application, all of which each version copies anew, as `COPY . /app` does."""
    chance, buffer = random.Random(version), io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files:
            if chance.random() < CHANGED:
                data = b"# %d\n" % version + data
            info = tarfile.TarInfo(f"app/{name}")
            info.size, info.mtime = len(data), 1_700_000_000 + version
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _upgraded(base: Path) -> bytes:
    """The base's layer as made anew some weeks later: some files are others, of other sizes."""
    members = list(_members(base, 0))
    regular = [member.name for member, data in members if data]
    others = set(random.Random(0).sample(regular, UPGRADED))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            if data is None:
                archive.addfile(member)
                continue
            if member.name in others:
                data += b"newer"
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
