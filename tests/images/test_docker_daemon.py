"""`docker-daemon:` and `containers-storage:`: podman's engine and storage, and false engines."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from false_server import Answer, serving_socket
from images_support import (
    AMD64,
    ARM64,
    FIXTURE,
    answer,
    lying_registry,
    read_image,
    run,
    sha256,
    skopeo_copy,
    tar_of,
    tool,
)
from registry_support import Authority, relay

from toolkit.errors import DockercError
from toolkit.images.platforms import MissingPlatform
from toolkit.images.transports.docker_engine import find_engine

NAME = "localhost/dockerc-test/hello"


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def stored() -> Iterator[str]:
    """The fixture in podman's own storage. Yields its id."""
    if os.geteuid() != 0:
        pytest.skip("another user's storage would be needed for each test")
    run("podman", "--version")
    skopeo_copy(f"oci:{FIXTURE}", f"containers-storage:{NAME}:1")
    try:
        yield run("podman", "image", "inspect", "--format", "{{.Id}}", f"{NAME}:1").strip()
    finally:
        run("podman", "rmi", f"{NAME}:1")


@pytest.fixture(scope="module")
def engine(stored: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """podman's server of docker's API. Yields its address."""
    path = tmp_path_factory.mktemp("engine") / "engine.sock"
    command = [tool("podman"), "system", "service", "--time=0", f"unix://{path}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while not path.exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            yield f"unix://{path}"
        finally:
            process.terminate()


# podman's engine


def test_image_of_an_engine(engine: str, stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    layers = read_image(f"oci:{FIXTURE}")[1]
    digests = set()
    for name in (f"{NAME}:1", "dockerc-test/hello:1", f"sha256:{stored}"):
        digest, found = read_image(f"docker-daemon:{name}")
        assert found == layers
        digests.add(digest)
    assert len(digests) == 1
    with pytest.raises(MissingPlatform, match="is an image for linux/amd64, not for linux/arm64"):
        read_image(f"docker-daemon:{NAME}:1", ARM64)


def test_engine_without_the_image(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine)
    for name in (f"{NAME}:none", f"sha256:{'0' * 64}"):
        with pytest.raises(DockercError, match=f"has no image '{name}'; 'docker images' lists"):
            read_image(f"docker-daemon:{name}")


def test_image_that_buildah_built(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a Dockerfile to the stream, as a user goes."""
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY Dockerfile /\nCMD ["x"]\n')
    name = "localhost/dockerc-test/built"
    run("buildah", "bud", "--isolation=chroot", "-q", "-t", name, tmp_path)
    try:
        monkeypatch.setenv("DOCKER_HOST", engine)
        (layer,) = read_image(f"docker-daemon:{name}")[1]
        assert b"COPY Dockerfile" in layer
        assert read_image(f"containers-storage:{name}")[1] == [layer]
    finally:
        run("podman", "rmi", name)


def test_engine_over_tcp_and_ssh(engine: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh is a stand-in that joins its two ends as `docker system dial-stdio` does."""
    layers = read_image(f"oci:{FIXTURE}")[1]
    path = engine.removeprefix("unix://")
    with bridge(path) as port:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
        assert read_image(f"docker-daemon:{NAME}:1")[1] == layers
    ssh = home / "ssh"
    ssh.write_text(f"#!{sys.executable}\n{_SSH.format(log=str(home / 'log'), path=path)}")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "ssh://anna@far.example:2222")
    assert read_image(f"docker-daemon:{NAME}:1")[1] == layers
    words = ["-l", "anna", "-p", "2222", "--", "far.example", "docker", "system", "dial-stdio"]
    assert json.loads((home / "log").read_text())[-len(words) :] == words
    monkeypatch.setenv("DOCKER_HOST", "ssh://far.example/run/podman.sock")
    assert read_image(f"docker-daemon:{NAME}:1")[1] == layers
    words = [
        "--",
        "far.example",
        "docker",
        "--host",
        "unix:///run/podman.sock",
        "system",
        "dial-stdio",
    ]
    assert json.loads((home / "log").read_text())[-len(words) :] == words


_SSH = """
import json, os, shutil, socket, sys, threading
open({log!r}, "w").write(json.dumps(sys.argv[1:]))
engine = socket.socket(socket.AF_UNIX)
engine.connect({path!r})
def send():
    while data := os.read(0, 65536):
        engine.sendall(data)
    os._exit(0)
threading.Thread(target=send, daemon=True).start()
while data := engine.recv(65536):
    os.write(1, data)
"""


@contextmanager
def bridge(path: str) -> Iterator[int]:
    """Serves a unix socket on a TCP port of this machine."""

    def connect(_: socket.socket) -> socket.socket:
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(path)
        return upstream

    with relay(connect) as port:
        yield port


# Where an engine is looked for


def test_addresses_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("podman/podman.sock", "docker.sock"):
        path = home / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        found = find_engine().url
        if not Path("/var/run/docker.sock").exists():
            assert found == f"unix://{path}"
    key = hashlib.sha256(b"far").hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Endpoints": {"docker": {"Host": "tcp://far:1"}}}))
    (home / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    assert find_engine().url == "tcp://far:1"
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert find_engine().url == found
    monkeypatch.setenv("DOCKER_CONTEXT", "none")
    with pytest.raises(DockercError, match="docker's context 'none' does not exist"):
        find_engine()
    monkeypatch.setenv("DOCKER_HOST", "unix:///x")
    assert find_engine().url == "unix:///x"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("unix:///none/engine.sock", r"no container engine answers at unix:.*No such.*start it"),
        ("tcp://127.0.0.1:9", r"no container engine answers at tcp:.*refused.*docker-archive:FILE"),
        ("npipe:////./pipe/docker_engine", "is not one that dockerc can use"),
        ("ssh://", "is not one that dockerc can use"),
        ("nonsense", "is not one that dockerc can use"),
        ("tcp://127.0.0.1:x", "is not one that dockerc can use"),
        ("ssh://-oProxyCommand=x:x", "is not one that dockerc can use"),
    ],
)
def test_engines_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(DockercError, match=sentence):
        read_image("docker-daemon:app")


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "authority")
    (tmp_path / "layout").mkdir()
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    with lying_registry(tmp_path / "layout", authority.server_tls("engine")) as server:
        server.answers["/images/app:latest/get"] = answer(200, archive())
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{server.address}")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
        with pytest.raises(DockercError, match=r"cannot use ca.pem, cert.pem and key.pem in"):
            read_image("docker-daemon:app")
        shutil.copy(authority.certificate, certificates / "ca.pem")
        for file, name in zip(authority.issue("anna"), ("cert.pem", "key.pem"), strict=True):
            shutil.copy(file, certificates / name)
        assert read_image("docker-daemon:app")[1] == [TAR]
        other = Authority(tmp_path / "other").certificate
        shutil.copy(other, certificates / "ca.pem")
        with pytest.raises(DockercError, match="does not speak TLS as it should"):
            read_image("docker-daemon:app")


# Engines that fail

TAR = tar_of({"a": b"1"})


def archive() -> bytes:
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [sha256(TAR)]}}
    manifest = [{"Config": "c.json", "RepoTags": ["app:latest"], "Layers": ["l.tar"]}]
    return tar_of(
        {
            "l.tar": TAR,
            "c.json": json.dumps(config).encode(),
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


@contextmanager
def false_engine(path: Path, reply: Answer) -> Iterator[list[str]]:
    """Yields the paths that are asked for."""
    asked: list[str] = []

    def note(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        reply(request)

    with serving_socket(note, path):
        yield asked


def error(status: int, message: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return answer(status, json.dumps({"message": message}).encode())


def test_engine_is_told_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with false_engine(path, answer(200, archive())) as asked:
        assert read_image("docker-daemon:q.io/a/b:1", AMD64)[1] == [TAR]
        with pytest.raises(MissingPlatform):
            read_image("docker-daemon:app", ARM64)
    urls = [urlsplit(text) for text in asked]
    assert [url.path for url in urls] == ["/images/q.io/a/b:1/get", "/images/app:latest/get"]
    platforms = [json.loads(parse_qs(url.query)["platform"][0]) for url in urls]
    assert [platform["architecture"] for platform in platforms] == ["amd64", "arm64"]


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (error(500, "disk\non\x1b[31mfire"), r"does not give app:latest: disk on \[31mfire$"),
        (answer(500, b"<html>"), "does not give app:latest: 500 Internal"),
        (error(404, "No such image: app"), "has no image 'app:latest'"),
        (error(404, "it does not provide the specified platform"), "specified platform"),
        (answer(200, b""), "is not a readable tar archive"),
        (answer(200, b"x" * 2000), "is not a readable tar archive"),
        (answer(200, archive()[:1000], cut=0), "truncated|readable|not a docker archive"),
        (answer(200, tar_of({"manifest.json": b"[]"})), "gave 0 images where one was asked for"),
        (
            lambda request: request.wfile.write(b"nonsense\r\n\r\n"),
            "no container engine answers",
        ),
        (
            lambda request: request.wfile.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nabc"
            ),
            "did not arrive whole",
        ),
    ],
)
def test_engines_that_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[BaseHTTPRequestHandler], None],
    sentence: str,
) -> None:
    path = tmp_path / "s"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with false_engine(path, reply), pytest.raises(DockercError, match=sentence) as caught:
        read_image("docker-daemon:app")
    assert str(caught.value).isprintable()


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    full = Path("/dev/full")
    monkeypatch.setattr(
        "toolkit.images.transports.docker_daemon.temporary_file", lambda: full.open("r+b")
    )
    with (
        false_engine(path, answer(200, archive())),
        pytest.raises(DockercError, match=r"cannot copy docker-daemon:app:latest .*No space left"),
    ):
        read_image("docker-daemon:app")


# The storage of podman


def only(place: Path, monkeypatch: pytest.MonkeyPatch, *tools: str) -> None:
    """Leaves no programs but these on the PATH."""
    place.mkdir()
    for name in tools:
        (place / name).symlink_to(tool(name))
    monkeypatch.setenv("PATH", str(place))


@pytest.mark.parametrize("program", ["podman", "skopeo"])
def test_storage(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    expected = read_image(f"oci:{FIXTURE}")[1]
    only(tmp_path / "bin", monkeypatch, program)
    assert read_image(f"containers-storage:{NAME}:1")[1] == expected
    assert read_image(f"containers-storage:{stored}")[1] == expected
    with pytest.raises(DockercError, match=rf"^{program} does not give containers-storage:{NAME}"):
        read_image(f"containers-storage:{NAME}:none")


def test_storage_by_a_short_name_and_by_its_place(stored: str) -> None:
    expected = read_image(f"oci:{FIXTURE}")[1]
    assert read_image("containers-storage:dockerc-test/hello:1")[1] == expected
    place = run("podman", "info", "--format", "[{{.Store.GraphDriverName}}@{{.Store.GraphRoot}}+"
                "{{.Store.RunRoot}}]").strip()  # fmt: skip
    assert read_image(f"containers-storage:{place}{NAME}:1")[1] == expected


def test_storage_without_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(tmp_path / "bin", monkeypatch)
    with pytest.raises(DockercError, match="podman or skopeo, and neither is installed"):
        read_image("containers-storage:app")


def test_name_is_never_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(tmp_path / "bin", monkeypatch, "podman")
    with pytest.raises(DockercError, match="podman does not give containers-storage:--help"):
        read_image("containers-storage:--help")
