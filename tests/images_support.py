"""Helpers of the tests of image sources and bundles: tools, hand-made layouts, a lying registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from false_server import Answer, serving_port
from support import TESTS

from toolkit.files.lock import lock
from toolkit.images.auth import certificates, registries_conf
from toolkit.images.auth.access import Access
from toolkit.images.open import open_image
from toolkit.images.platforms import host_platform
from toolkit.images.source import Image, Platform
from toolkit.images.transports.registry import retry

FIXTURE = Path(__file__).parent.parent / "fixtures" / "hello"
AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")

OCI = "application/vnd.oci.image"
INDEX = f"{OCI}.index.v1+json"
MANIFEST = f"{OCI}.manifest.v1+json"
CONFIG = f"{OCI}.config.v1+json"
LAYER = f"{OCI}.layer.v1.tar+gzip"

Json = dict[str, Any]


def tool(name: str) -> str:
    """The path of a program. Skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(name: str, *arguments: str | Path) -> str:
    """Runs an installed program and returns its standard output."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def skopeo_copy(source: str, target: str, *options: str) -> None:
    run("skopeo", "copy", "--quiet", "--insecure-policy", *options, source, target)


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_contents(image: Image) -> list[bytes]:
    """Every layer as a plain tar, checked against its diff-id."""
    contents = []
    for layer in image.layers:
        with image.open_layer(layer) as stream:
            data = stream.read()
        assert layer.size in (None, len(data))
        plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        assert sha256(plain) == layer.diff_id
        contents.append(plain)
    return contents


def hello_program() -> bytes:
    """The fixture's program for this machine, out of its last layer."""
    with open_image(f"oci:{FIXTURE}", host_platform()) as image:
        layer = layer_contents(image)[-1]
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        program = archive.extractfile("bin/hello")
        assert program is not None
        return program.read()


def isolate(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """No configuration but what a test writes below `home`, and no long pauses."""
    home.mkdir(exist_ok=True)
    for name in os.environ:
        if re.match(r"(?i)XDG_|DOCKER_|CONTAINERS_|REGISTRY_|\w+_proxy$", name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setattr(registries_conf, "_SYSTEM", home / "system")
    monkeypatch.setattr(certificates, "_SYSTEM", (home / "certs.d",))
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)


def read_image(
    name: str, platform: Platform = AMD64, access: Access | None = None
) -> tuple[str, list[bytes]]:
    """Opens an image, reads all of it, and returns its digest and layers."""
    with open_image(name, platform, access or Access()) as image:
        assert image.platform == platform
        return image.digest, layer_contents(image)


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@contextmanager
def common(places: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A directory of all processes that run these tests, for one after the other."""
    place = places.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    directory = place / name
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as file:
        lock(file.fileno(), wait=True)
        yield directory


def made_images(places: pytest.TempPathFactory) -> Path:
    """A directory with the images that make_images.sh makes if none is named."""
    with common(places, "images") as directory:
        subprocess.run([TESTS / "make_images.sh", directory], check=True)
    return directory


class Layout:
    """An OCI image layout written blob by blob, as right or as wrong as a test wants it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = path / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, media_type: str, data: bytes) -> Json:
        digest = sha256(data)
        self.blob_path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def blob_path(self, digest: str) -> Path:
        return self.blobs / digest.partition(":")[2]

    def document(self, media_type: str, value: Any) -> Json:
        return self.blob(media_type, json.dumps(value).encode())

    def manifest(self, platform: Json | None = None, **changes: Any) -> Json:
        """An image of one layer, whose content tells platforms apart; `changes` to its manifest."""
        platform = {"architecture": "amd64", "os": "linux"} if platform is None else platform
        tar = tar_of({"platform": json.dumps(platform).encode()})
        config = {**platform, "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.document(CONFIG, config),
            "layers": [self.blob(LAYER, gzip.compress(tar, 1, mtime=0))],
        }
        return self.document(MANIFEST, {**manifest, **changes})

    def index(self, *entries: Json) -> Json:
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}
        return self.document(INDEX, value)

    def write(self, *entries: Json) -> str:
        """Writes index.json and returns the layout's name."""
        (self.path / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "manifests": list(entries)})
        )
        return f"oci:{self.path}"


def named(entry: Json, name: str) -> Json:
    return {**entry, "annotations": {"org.opencontainers.image.ref.name": name}}


def on(entry: Json, architecture: str, variant: str = "", os: str = "linux") -> Json:
    platform = {"architecture": architecture, "os": os, "variant": variant}
    return {**entry, "platform": {key: value for key, value in platform.items() if value}}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def docker_registry(directory: Path, http: str = "", auth: str = "{}") -> Iterator[str]:
    """A real registry on 127.0.0.1, with more of its settings in YAML. Yields HOST:PORT."""
    program = tool("docker-registry")
    port = free_port()
    settings = directory / "registry.yml"
    settings.write_text(
        "version: 0.1\nlog: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory / 'storage'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}', {http}}}\n"
        f"auth: {auth}\n"
    )
    command = [program, "serve", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


class LyingRegistry:
    """An HTTP server that serves a layout as a registry, save the paths a test has it spoil.

    `answers` maps a path to what answers in its stead; `requests` lists (path, Authorization),
    `ranges` what Range headers asked for.
    """

    def __init__(self, layout: Path) -> None:
        self.address = ""
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges: list[str] = []
        self._layout = layout

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.requests.append((request.path, request.headers.get("Authorization")))
        if asked := request.headers.get("Range"):
            self.ranges.append(asked)
        (self.answers.get(path) or self._serve)(request)

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        kind, _, name = request.path.removeprefix("/v2/app/").partition("/")
        top = json.loads((self._layout / "index.json").read_text())["manifests"][0]
        digest = top["digest"] if name == "latest" else name
        blob = self._layout / "blobs" / digest.replace(":", "/")
        if kind not in ("manifests", "blobs") or not blob.is_file():
            answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')(request)
            return
        data = blob.read_bytes()
        media_type = json.loads(data)["mediaType"] if kind == "manifests" else "application/octet"
        answer(200, data, {"Content-Type": media_type})(request)


def answer(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: int = 0
) -> Answer:
    """An answer whose body lacks its last `cut` bytes, though Content-Length promises them."""

    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body[: len(body) - cut])

    return send


@contextmanager
def lying_registry(layout: Path, tls: ssl.SSLContext | None = None) -> Iterator[LyingRegistry]:
    """Serves `layout` on 127.0.0.1 as repository `app`, tag `latest`, through `tls` if given."""
    registry = LyingRegistry(layout)
    # Looked up at each request: tests put other answers in its place.
    with serving_port(lambda request: registry.handle(request), tls) as port:
        registry.address = f"127.0.0.1:{port}"
        yield registry
