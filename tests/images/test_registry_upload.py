"""Uploads to a registry that fails, sends us elsewhere, or lies."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from false_server import serving_port
from images_support import MANIFEST, answer, sha256
from registry_support import Authority

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access, Credentials
from toolkit.images.reference import RegistryReference
from toolkit.images.transports.registry.upload import Uploads

pytestmark = pytest.mark.usefixtures("home")
DATA = bytes(300_000)
DIGEST = sha256(DATA)
START, SESSION = "/v2/app/blobs/uploads/", "/v2/app/upload/1?state=x"


class Registry:
    """Takes blobs as the distribution-spec says. `answers` are what it says instead, each once: by
    method and path, without the query."""

    def __init__(self) -> None:
        self.address = ""
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.location = SESSION
        self.answers: dict[str, list[tuple[int, dict[str, str]]]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.queries: list[str] = []

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        path, _, query = request.path.partition("?")
        asked = f"{request.command} {path}"
        self.queries.append(query)
        self.requests.append((asked, request.headers.get("Authorization")))
        if waiting := self.answers.get(asked):
            status, headers = waiting.pop(0)
            answer(status, b"", headers)(request)
            return
        status, headers = self.take(request.command, path, query, body)
        answer(status, b"", headers)(request)

    def take(self, method: str, path: str, query: str, body: bytes) -> tuple[int, dict[str, str]]:
        name = path.rpartition("/")[2]
        if method == "HEAD":
            return (200 if name in self.blobs else 404), {}
        if method == "POST":
            return 202, {"Location": self.location}
        if "/manifests/" in path:
            self.manifests[name] = body
            return 201, {"Docker-Content-Digest": sha256(body)}
        given = urllib.parse.parse_qs(query)
        if given.get("state") != ["x"] or sha256(body) != given["digest"][0]:
            return 400, {}
        self.blobs[sha256(body)] = body
        return 201, {}


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    with serving_port(registry.handle) as port:
        registry.address = f"127.0.0.1:{port}"
        yield registry


def reference(address: str, repository: str = "app") -> RegistryReference:
    return RegistryReference(address, repository, "latest", None)


@pytest.fixture
def uploads(registry: Registry) -> Iterator[Uploads]:
    with closing(Uploads(reference(registry.address), Access(), None)) as uploads:
        yield uploads


def test_a_blob_and_a_manifest(registry: Registry, uploads: Uploads) -> None:
    assert not uploads.has_blob(DIGEST)
    assert uploads.put_blob(DATA, DIGEST)
    assert uploads.has_blob(DIGEST) and registry.blobs == {DIGEST: DATA}
    uploads.put_manifest(b"{}", MANIFEST)
    assert registry.manifests == {"latest": b"{}"}


def test_a_blob_that_is_kept_elsewhere(registry: Registry, uploads: Uploads) -> None:
    there = {"Location": "http://127.0.0.1:9/blob"}
    registry.answers[f"HEAD /v2/app/blobs/{DIGEST}"] = [(307, there)]
    assert uploads.has_blob(DIGEST)


@pytest.mark.parametrize("status", [502, 429, 400, 404, 416])
def test_what_may_pass_is_done_again(registry: Registry, uploads: Uploads, status: int) -> None:
    registry.answers["PUT /v2/app/upload/1"] = [(status, {})] * 2
    registry.answers[f"POST {START}"] = [(503, {})]
    assert uploads.put_blob(DATA, DIGEST)
    assert registry.blobs == {DIGEST: DATA}
    registry.answers["PUT /v2/app/manifests/latest"] = [(502, {})]
    uploads.put_manifest(b"{}", MANIFEST)
    assert registry.manifests == {"latest": b"{}"}


def test_it_is_not_done_for_ever(registry: Registry, uploads: Uploads) -> None:
    registry.answers["PUT /v2/app/upload/1"] = [(404, {})] * 100
    with pytest.raises(DockercError, match="answered 404"):
        uploads.put_blob(DATA, DIGEST)
    assert len(registry.answers["PUT /v2/app/upload/1"]) >= 90


@pytest.mark.parametrize("status", [405, 413, 301, 507])
def test_what_does_not_pass(registry: Registry, uploads: Uploads, status: int) -> None:
    elsewhere = {"Location": "/v2/app/other"}
    registry.answers[f"POST {START}"] = [(status, elsewhere)]
    with pytest.raises(DockercError, match=f"answered {status} .*blob {DIGEST}"):
        uploads.put_blob(DATA, DIGEST)
    registry.answers["PUT /v2/app/manifests/latest"] = [(status, elsewhere)]
    with pytest.raises(DockercError, match=f"answered {status} .*manifest of"):
        uploads.put_manifest(b"{}", MANIFEST)
    registry.answers[f"HEAD /v2/app/blobs/{DIGEST}"] = [(405, {})]
    with pytest.raises(DockercError, match="answered 405"):
        uploads.has_blob(DIGEST)


def test_a_manifest_that_is_stored_as_another(registry: Registry, uploads: Uploads) -> None:
    other = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    registry.answers["PUT /v2/app/manifests/latest"] = [(201, other)]
    with pytest.raises(DockercError, match=r"stored the manifest of .* as sha256:000"):
        uploads.put_manifest(b"{}", MANIFEST)


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("", "does not say where"),
        ("ftp://127.0.0.1/x", "does not say where"),
        ("file:///etc/passwd", "does not say where"),
        ("http://[::1/x", "does not say where"),
        ("http://127.0.0.1:99999/x", "no web address"),
    ],
)
def test_places_that_are_none(
    registry: Registry, uploads: Uploads, location: str, told: str
) -> None:
    registry.location = location
    with pytest.raises(DockercError, match=told):
        uploads.put_blob(DATA, DIGEST)
    assert registry.blobs == {}


def test_another_host_is_shown_no_password(registry: Registry) -> None:
    other = Registry()
    with serving_port(other.handle) as port:
        registry.location = f"http://127.0.0.1:{port}{SESSION}"
        asks = {"WWW-Authenticate": 'Basic realm="x"'}
        registry.answers[f"POST {START}"] = [(401, asks)]
        other.answers["PUT /v2/app/upload/1"] = [(401, asks)]
        access = Access(Credentials("anna", "secret"))
        with closing(Uploads(reference(registry.address), access, None)) as uploads:
            with pytest.raises(DockercError, match=r"refuses the login|denies access"):
                uploads.put_blob(DATA, DIGEST)
            assert uploads.put_blob(DATA, DIGEST)
    assert {shown for _, shown in other.requests} == {None}
    assert registry.requests[1][1] and other.blobs == {DIGEST: DATA}


def test_no_upload_goes_from_https_to_http(registry: Registry, tmp_path: Path) -> None:
    authority, tls = Authority(tmp_path / "authority"), Registry()
    with serving_port(tls.handle, authority.server_tls("registry")) as port:
        tls.location = f"http://{registry.address}{SESSION}"
        access = Access(certificates=authority.directory)
        uploads = Uploads(reference(f"localhost:{port}"), access, None)
        with closing(uploads), pytest.raises(DockercError, match="from https to plain http"):
            uploads.put_blob(DATA, DIGEST)
    assert registry.requests == []


def test_mounting(registry: Registry) -> None:
    def put(other: RegistryReference) -> bool:
        with closing(Uploads(reference(registry.address), Access(), other)) as uploads:
            return uploads.put_blob(DATA, DIGEST)

    other = reference(registry.address, "other")
    registry.answers[f"POST {START}"] = [(201, {})]
    assert not put(other) and registry.blobs == {}
    # What cannot be mounted is sent, in the session that was given instead, or in another.
    assert put(other) and registry.blobs == {DIGEST: DATA}
    registry.requests.clear()
    for status in (405, 401, 404):
        registry.answers[f"POST {START}"] = [(status, {})]
        assert put(other)
    assert f"mount={DIGEST}&from=other" in registry.queries
    # A repository of another registry is of no use.
    registry.requests.clear()
    registry.queries.clear()
    assert put(reference("127.0.0.1:9", "other"))
    assert [asked for asked, _ in registry.requests] == [f"POST {START}", "PUT /v2/app/upload/1"]
    assert not any("mount" in query for query in registry.queries)
