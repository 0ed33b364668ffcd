"""`docker://`: a real registry filled by skopeo, and a false one for what a real one never does."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from images_support import (
    AMD64,
    ARM64,
    FIXTURE,
    Layout,
    LyingRegistry,
    answer,
    docker_registry,
    free_port,
    lying_registry,
    on,
    read_image,
    run,
    skopeo_copy,
)

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access
from toolkit.images.auth.registries_conf import Endpoint
from toolkit.images.open import open_image
from toolkit.images.reference import RegistryReference
from toolkit.images.source import Platform
from toolkit.images.transports.registry import client as registry_client
from toolkit.images.transports.registry import connections, retry
from toolkit.images.transports.registry.client import RegistryClient

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a real registry that holds the fixture in both formats."""
    directory = tmp_path_factory.mktemp("registry")
    with docker_registry(directory) as address:

        def push(source: Path, tag: str, *options: str) -> None:
            target = f"docker://{address}/team/hello:{tag}"
            skopeo_copy(f"oci:{source}", target, "--dest-tls-verify=false", *options)

        push(FIXTURE, "oci", "--all")
        push(FIXTURE, "one")
        push(without_attestation(directory / "plain"), "v2s2", "--all", "--format", "v2s2")
        yield address


def without_attestation(copy: Path) -> Path:
    """The fixture as far as docker's own format can hold it."""
    layout = Layout(copy)
    shutil.copytree(FIXTURE, copy, dirs_exist_ok=True)
    top = json.loads((copy / "index.json").read_text())["manifests"][0]
    entries = json.loads(layout.blob_path(top["digest"]).read_text())["manifests"]
    layout.write(layout.index(*(entry for entry in entries if "annotations" not in entry)))
    return copy


def layer_path(layout: Layout) -> str:
    """Where a registry serves the layer of the image in `liar`."""
    for path in layout.blobs.iterdir():
        if path.read_bytes().startswith(b"\x1f\x8b"):
            return f"/v2/app/blobs/sha256:{path.name}"
    raise AssertionError


# A real registry


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=str)
def test_index_of_oci_manifests(registry: str, platform: Platform) -> None:
    expected = read_image(f"oci:{FIXTURE}", platform)
    assert read_image(f"docker://{registry}/team/hello:oci", platform) == expected
    assert read_image(f"{registry}/team/hello@{expected[0]}", platform) == expected
    with open_image(f"{registry}/team/hello:oci", platform) as image:
        assert image.reference == f"docker://{registry}/team/hello:oci"


@pytest.mark.parametrize("platform", [AMD64, ARM64], ids=str)
def test_list_of_docker_manifests(registry: str, platform: Platform) -> None:
    digest, layers = read_image(f"docker://{registry}/team/hello:v2s2", platform)
    assert layers == read_image(f"oci:{FIXTURE}", platform)[1]
    raw = run(
        "skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry}/team/hello:v2s2"
    )
    listed = {entry["platform"]["architecture"]: entry for entry in json.loads(raw)["manifests"]}
    assert listed[platform.architecture]["digest"] == digest
    assert "docker" in listed[platform.architecture]["mediaType"]


def test_plain_http_on_every_name_of_this_machine(registry: str) -> None:
    port = registry.rpartition(":")[2]
    expected = read_image(f"oci:{FIXTURE}")
    assert read_image(f"localhost:{port}/team/hello:oci") == expected


def test_missing_tag_names_those_that_exist(registry: str) -> None:
    with pytest.raises(DockercError, match="has no tag 'latest'; it has ") as caught:
        read_image(f"{registry}/team/hello")
    listed = str(caught.value).partition("it has ")[2].split(", ")
    assert sorted(listed) == ["oci", "one", "v2s2"]
    with pytest.raises(DockercError, match=f"{registry} has no image {registry}/team/none:1"):
        read_image(f"{registry}/team/none:1")
    with pytest.raises(DockercError, match="has no image sha256:"):
        read_image(f"{registry}/team/hello@sha256:{'0' * 64}")


def test_missing_architecture_names_those_that_exist(registry: str) -> None:
    s390x = Platform("linux", "s390x")
    with pytest.raises(DockercError, match="no image for linux/s390x; it has linux/amd64, linux/a"):
        read_image(f"{registry}/team/hello:oci", s390x)
    with pytest.raises(DockercError, match=r"is an image for linux/.*, not for linux/s390x"):
        read_image(f"{registry}/team/hello:one", s390x)


def test_layers_are_read_in_parallel_each_on_its_connection(registry: str) -> None:
    barrier = threading.Barrier(8)
    with open_image(f"{registry}/team/hello:oci", AMD64) as image:

        def read(number: int) -> bytes:
            with image.open_layer(image.layers[number % 2]) as stream:
                barrier.wait(10)
                return stream.read()

        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(read, range(8)))) == 2


def test_package_imports_no_http_library_until_asked() -> None:
    code = (
        "import sys, toolkit.images.open, toolkit.images.platforms, toolkit.bundle.config;"
        "sys.exit('requests' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_every_module_can_be_imported_where_there_is_no_posix() -> None:
    code = (
        "import sys;"
        "sys.modules.update(dict.fromkeys(['fcntl', 'pwd', 'grp', 'resource', 'termios']));"
        "import toolkit.bundle.config, toolkit.images.open;"
        "import toolkit.images.transports.registry.image;"
        "import toolkit.images.transports.docker_archive, toolkit.images.transports.oci_layout"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


# What goes wrong before an image is found


def test_refused_connection() -> None:
    with pytest.raises(
        DockercError, match=r"cannot reach the registry 127.0.0.1:\d+: Connection re"
    ):
        read_image(f"127.0.0.1:{free_port()}/app")


def test_unknown_host() -> None:
    with pytest.raises(DockercError, match=r"cannot reach the registry nowhere\.invalid: "):
        read_image("nowhere.invalid/app")


@pytest.mark.parametrize(
    ("status", "headers", "sentence"),
    [
        (401, {}, "denies access to .*: app does not exist there or is not public"),
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, "denies access .*log in"),
        (401, {"WWW-Authenticate": 'Bearer realm="ftp://x"'}, "denies access"),
        (403, {}, "denies access"),
        (429, {}, "limits how often it may be asked"),
        (500, {}, "answered 500 .*try again later"),
        (418, {}, "answered 418"),
        (302, {"Location": "/v2/app/manifests/latest"}, "redirects without end"),
        (302, {"Location": "gopher://x/"}, "cannot reach the registry"),
    ],
)
def test_refused_manifest(
    liar: LyingRegistry, status: int, headers: dict[str, str], sentence: str
) -> None:
    liar.answers["/v2/app/manifests/latest"] = answer(status, b"{}", headers)
    with pytest.raises(DockercError, match=sentence):
        read_image(f"{liar.address}/app")


def test_tags_that_cannot_be_listed(liar: LyingRegistry) -> None:
    with pytest.raises(DockercError, match=r"has no image 127.0.0.1:\d+/app:v9"):
        read_image(f"{liar.address}/app:v9")
    for body, sentence in {
        b'{"tags":null}': "has no tag 'v9', nor any other",
        b'{"tags":{}}': "has no image",
        json.dumps({"tags": [f"t{n}" for n in range(500)]}).encode(): r"it has t0, .*t19 and more$",
    }.items():
        liar.answers["/v2/app/tags/list"] = answer(200, body)
        with pytest.raises(DockercError, match=sentence):
            read_image(f"{liar.address}/app:v9")


def test_manifests_that_lie(liar: LyingRegistry) -> None:
    for reply, sentence in (
        (answer(200, b"x" * (5 << 20)), "larger than 4194304 bytes"),
        (answer(200, b"{}", {"Content-Length": "50"}), "did not arrive whole"),
        (answer(200, b"<html>"), "is not valid JSON"),
        (answer(200, b'{"schemaVersion":1}'), "schema 1"),
    ):
        liar.answers["/v2/app/manifests/latest"] = reply
        with pytest.raises(DockercError, match=sentence):
            read_image(f"{liar.address}/app")


def test_manifest_that_is_not_the_digest_asked_for(liar: LyingRegistry, layout: Layout) -> None:
    digest = layout.index(on(layout.manifest(), "amd64"))["digest"]
    liar.answers[f"/v2/app/manifests/{digest}"] = answer(
        200, layout.blob_path(layout.manifest()["digest"]).read_bytes()
    )
    with pytest.raises(DockercError, match="does not match its digest"):
        read_image(f"{liar.address}/app@{digest}")
    inner = layout.manifest()["digest"]
    liar.answers.clear()
    liar.answers[f"/v2/app/manifests/{inner}"] = answer(200, b"{}")
    with pytest.raises(DockercError, match=f"manifest {inner} .*does not match its digest"):
        read_image(f"{liar.address}/app")


# Blobs


def test_layers_that_lie(liar: LyingRegistry, layout: Layout) -> None:
    path = layer_path(layout)
    data = layout.blob_path(path.rpartition("/")[2]).read_bytes()
    for reply, sentence in (
        (answer(200, data, cut=5), "did not arrive whole .*the connection was cut"),
        (answer(200, data[:-5]), "is truncated"),
        (answer(200, data + b"x"), "is longer than"),
        (answer(200, data[:-1] + b"x"), "does not match its digest"),
        (answer(404), "is incomplete: .* lacks the blob sha256:"),
        (answer(503), "answered 503"),
    ):
        liar.answers[path] = reply
        with pytest.raises(DockercError, match=sentence):
            read_image(f"{liar.address}/app")
    del liar.answers[path]
    assert read_image(f"{liar.address}/app")


def test_silent_registry_is_given_up(
    liar: LyingRegistry, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.3)
    over = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        answer(200, b"x" * 100, cut=99)(request)
        request.wfile.flush()
        over.wait(20)

    def silent(request: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    for path, sentence in (
        (layer_path(layout), "did not arrive whole .*no data for"),
        ("/v2/app/manifests/latest", "did not arrive whole .*no data for"),
    ):
        liar.answers[path] = stall
        started = time.monotonic()
        with pytest.raises(DockercError, match=sentence):
            read_image(f"{liar.address}/app")
        assert time.monotonic() - started < 5
    liar.answers["/v2/app/manifests/latest"] = silent
    with pytest.raises(DockercError, match="does not answer in time"):
        read_image(f"{liar.address}/app")
    over.set()


def test_redirected_blob_is_fetched_without_the_token(layout: Layout, liar: LyingRegistry) -> None:
    """Registries send clients to their storage, which must not see the registry's token."""
    path = layer_path(layout)
    protect(liar)
    with lying_registry(layout.path) as storage:
        port = storage.address.rpartition(":")[2]
        liar.answers[path] = answer(307, b"", {"Location": f"http://localhost:{port}{path}"})
        assert read_image(f"{liar.address}/app") == read_image(f"oci:{layout.path}")
        assert storage.requests == [(path, None)]
    assert (path, "Bearer secret") in liar.requests


# Tokens


def protect(liar: LyingRegistry, grants: tuple[str, ...] = ("secret",)) -> list[str]:
    """Has the registry ask for a token, each good for the requests until the next is granted.

    Returns the queries of the token server, as they come.
    """
    queries: list[str] = []
    serve = liar._serve

    def grant(request: BaseHTTPRequestHandler) -> None:
        queries.append(request.path.partition("?")[2])
        token = grants[min(len(queries), len(grants)) - 1]
        answer(200, json.dumps({"token": token}).encode())(request)

    def guarded(request: BaseHTTPRequestHandler) -> None:
        good = grants[min(len(queries), len(grants)) - 1] if queries else None
        if good and request.headers.get("Authorization") == f"Bearer {good}":
            serve(request)
            return
        challenge = (
            f'Bearer realm="http://{liar.address}/token",service="reg.example",'
            f'scope="repository:app:pull"'
        )
        answer(401, b"{}", {"WWW-Authenticate": challenge})(request)

    liar.answers["/token"] = grant
    liar._serve = guarded  # type: ignore[method-assign]
    return queries


def test_anonymous_token(liar: LyingRegistry, layout: Layout) -> None:
    queries = protect(liar)
    assert read_image(f"{liar.address}/app") == read_image(f"oci:{layout.path}")
    assert queries == ["service=reg.example&scope=repository%3Aapp%3Apull"]


def test_expired_token_is_renewed_once_for_all_layers(liar: LyingRegistry) -> None:
    grants = ("first", "second")
    queries = protect(liar, grants)
    with open_image(f"{liar.address}/app", AMD64) as image:
        queries.append("the first token has expired")
        with ThreadPoolExecutor(6) as pool:

            def read(_: int) -> int:
                with image.open_layer(image.layers[0]) as stream:
                    return len(stream.read())

            assert len(set(pool.map(read, range(6)))) == 1
    assert len(queries) == 3


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (answer(401, b"{}"), "denies access"),
        (answer(200, b"{}"), "holds no token"),
        (answer(200, b'{"token":"a\\r\\nX: y"}'), "holds no token"),
        (answer(200, b"["), "is not valid JSON"),
        (answer(503, b""), "answered 503"),
        (answer(200, b'{"access_token":"wrong"}'), "denies access"),
    ],
)
def test_token_servers_that_fail(liar: LyingRegistry, reply: Any, sentence: str) -> None:
    protect(liar)
    liar.answers["/token"] = reply
    with pytest.raises(DockercError, match=sentence):
        read_image(f"{liar.address}/app")


def test_token_is_not_fetched_in_the_clear_for_a_remote_registry(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_client, "_is_local", lambda host: False)
    reference = RegistryReference("registry.example", "app", "1", None)
    client = RegistryClient(Endpoint(reference, insecure=False, is_mirror=False), Access())
    with pytest.raises(DockercError, match="is not https"):
        client._login.renew(None, f'Bearer realm="http://{liar.address}/token"', "it")
    assert liar.requests == []


def test_server_that_hangs_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(1 + retry.ATTEMPTS):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DockercError, match=r"cannot reach the registry 127.0.0.1:"):
            read_image(f"127.0.0.1:{server.getsockname()[1]}/app")
        thread.join()
