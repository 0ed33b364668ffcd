"""Registries that mean harm: answers without end or bound, detours, stalls, and interrupts."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from bounds_support import MEMORY, MOMENT, ended_by, measured, started
from false_server import Answer
from images_support import INDEX, Layout, LyingRegistry, answer, lying_registry, read_image
from registry_support import Authority

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access
from toolkit.images.transports.registry import client as registry_client
from toolkit.images.transports.registry import connections, wire

pytestmark = pytest.mark.usefixtures("home")

MANIFEST = "/v2/app/manifests/latest"
ZEROS = bytes(1 << 20)


def raw(*pieces: bytes, then: bytes = b"", pause: float = 0) -> Answer:
    """These very bytes, and the last without end, until whoever reads has gone."""

    def send(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True
        with suppress(OSError):
            for piece in pieces:
                request.wfile.write(piece)
            while then:
                request.wfile.write(then)
                request.wfile.flush()
                time.sleep(pause)

    return send


def head(status: str = "200 OK", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()


CHUNKED = head(Transfer_Encoding="chunked")
ENDLESS: dict[str, Answer] = {
    "a chunk of -1 bytes": raw(CHUNKED, b"-1\r\n", then=ZEROS),
    "a chunk of -0x1 bytes": raw(CHUNKED, b"-0x1\r\n", then=ZEROS),
    "a chunk of 1_0 bytes": raw(CHUNKED, b"1_0\r\n", then=ZEROS),
    "a chunk of 16 exbibytes": raw(CHUNKED, b"ffffffffffffffff\r\n", then=ZEROS),
    "a chunk of more digits": raw(CHUNKED, b"f" * 60_000, then=ZEROS),
    "a body to the end": raw(head(), then=ZEROS),
    "an error's body": raw(head("500 No"), then=ZEROS),
    "a refusal's body": raw(head("401 No", WWW_Authenticate="Basic"), then=ZEROS),
    "a redirect's body": raw(head("302 Found", Location="/elsewhere"), then=ZEROS),
    "a redirect's body in chunks": raw(
        head("307 Found", Location="/elsewhere", Transfer_Encoding="chunked"), b"-1\r\n", then=ZEROS
    ),
    "a redirect's gzip": raw(
        head("302 Found", Location="/elsewhere", Content_Encoding="gzip"), then=ZEROS
    ),
    "a gzip of the manifest": raw(head(Content_Encoding="gzip"), then=ZEROS),
    "headers": raw(b"HTTP/1.1 200 OK\r\n", then=b"A: b\r\n" * 1000),
    "a header": raw(b"HTTP/1.1 200 OK\r\nA: ", then=ZEROS),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_answers_without_end(liar: LyingRegistry, tmp_path: Path, what: str) -> None:
    """Each is given up, by one sentence and at a bounded price."""
    liar.answers[MANIFEST] = ENDLESS[what]
    done = measured("build", "-q", f"{liar.address}/app", "-o", tmp_path / "app")
    assert done.status == 1 and done.is_bounded(), done
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("size", [b"-1", b"+5", b"0x5", b"1_0", b" ", b"5 5", b"g"])
def test_sizes_of_chunks_that_are_none(liar: LyingRegistry, size: bytes) -> None:
    liar.answers[MANIFEST] = raw(CHUNKED, size + b"\r\nhello\r\n0\r\n\r\n")
    with pytest.raises(DockercError, match="did not arrive whole"):
        read_image(f"{liar.address}/app")


def test_chunks_that_are_right(liar: LyingRegistry, layout: Layout) -> None:
    """With an extension, in either case, and with trailers, as RFC 9112 allows."""
    digest = read_image(f"{liar.address}/app")[0]
    data = layout.blob_path(digest).read_bytes()
    first, rest = data[:10], data[10:]
    body = b"A;ext=1\r\n" + first + b"\r\n" + f"{len(rest):x}\r\n".encode() + rest + b"\r\n"
    typed = head(Transfer_Encoding="chunked", Content_Type="application/json")
    path = f"/v2/app/manifests/{digest}"
    liar.answers[path] = raw(typed, body, b"0\r\nTrailer: x\r\n\r\n")
    assert read_image(f"{liar.address}/app@{digest}")[0] == digest


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second stands for a minute."""
    for module in (wire, connections):
        monkeypatch.setattr(module, "READ_TIMEOUT", 1.0)


@pytest.mark.parametrize(
    "spoil",
    [
        raw(then=b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.001),
        raw(b"HTTP/1.1 200 OK\r\nA: ", then=b"b", pause=0.05),
        raw(head(Content_Length="100000"), then=b" ", pause=0.05),
        raw(CHUNKED, then=b"1\r\nx\r\n", pause=0.05),
        raw(CHUNKED, b"0\r\n", then=b"A: b\r\n", pause=0.05),
    ],
    ids=["interim answers", "a header", "a body", "chunks", "trailers"],
)
def test_what_drips_is_given_up(liar: LyingRegistry, impatient: None, spoil: Answer) -> None:
    """A byte now and then keeps no reader: it is the whole that must come in time."""
    liar.answers[MANIFEST] = spoil
    before = time.monotonic()
    with pytest.raises(DockercError, match=r"did not arrive whole|does not answer"):
        read_image(f"{liar.address}/app")
    assert time.monotonic() - before < 20


def test_a_document_that_takes_its_time(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece comes in time, and there is no end of them."""
    monkeypatch.setattr(connections, "_DOCUMENT_TIMEOUT", 1.0)
    monkeypatch.setattr(connections, "PIECE", 1)
    liar.answers[MANIFEST] = raw(head(Content_Length="100000"), then=b" ", pause=0.01)
    before = time.monotonic()
    with pytest.raises(DockercError, match="takes longer than 1 seconds"):
        read_image(f"{liar.address}/app")
    assert time.monotonic() - before < 20


def test_a_handshake_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS record of sixteen kilobytes, a byte now and then."""
    monkeypatch.setattr(wire, "CONNECT_TIMEOUT", 1.0)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not over.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    threading.Thread(target=drip, args=(connection,), daemon=True).start()

        def drip(connection: socket.socket) -> None:
            with suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x3f\x00")
                while not over.wait(0.1):
                    connection.sendall(b"\x02")

        threading.Thread(target=serve, daemon=True).start()
        before = time.monotonic()
        asked = Access(tls_verify=True)
        with pytest.raises(DockercError):
            read_image(f"127.0.0.1:{server.getsockname()[1]}/app", access=asked)
        assert time.monotonic() - before < 20
        over.set()


def test_a_blob_that_is_sent_anew_for_ever(
    liar: LyingRegistry, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without Range that brings a little more each time sends a square of the size."""
    monkeypatch.setattr(registry_client, "_PROGRESS", 1)
    monkeypatch.setattr(registry_client, "_FREE_REPEATS", 1000)
    data = bytes(100_000)
    entry = layout.blob("application/vnd.oci.image.layer.v1.tar", data)
    layout.write(layout.manifest(layers=[entry]))
    sent = [0]

    def more(request: BaseHTTPRequestHandler) -> None:
        sent[0] += 1000
        answer(200, data, cut=len(data) - sent[0])(request)

    liar.answers[f"/v2/app/blobs/{entry['digest']}"] = more
    with pytest.raises(DockercError, match="again and again"):
        read_image(f"{liar.address}/app")
    assert sent[0] < 50_000


# Detours


def test_no_redirect_from_https_to_http(
    layout: Layout, liar: LyingRegistry, authority: Authority
) -> None:
    """The plain registry would serve the very same image."""
    with lying_registry(layout.path, authority.server_tls("false-registry")) as tls:
        target = {"Location": f"http://{liar.address}{MANIFEST}"}
        tls.answers[MANIFEST] = answer(302, b"", target)
        trusted = Access(certificates=authority.directory)
        with pytest.raises(DockercError, match="redirects from https to plain http"):
            read_image(f"{tls.address}/app", access=trusted)
        assert not liar.requests
        asked = Access(tls_verify=False)
        assert read_image(f"{tls.address}/app", access=asked) == read_image(f"oci:{layout.path}")


@pytest.mark.parametrize(
    "realm", ["http://[/x", "https://[::1/", "http://\x7f/", "https:///", "http://a:b/"]
)
def test_token_servers_that_are_no_address(liar: LyingRegistry, realm: str) -> None:
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
    liar.answers[MANIFEST] = answer(401, b"", challenge)
    with pytest.raises(DockercError):
        read_image(f"{liar.address}/app")


@pytest.mark.parametrize(
    "target", ["http://[/x", "//[", "https://", "file:///etc/passwd", "http://a:b/"]
)
def test_redirects_that_are_no_address(liar: LyingRegistry, target: str) -> None:
    liar.answers[MANIFEST] = answer(302, b"", {"Location": target})
    with pytest.raises(DockercError):
        read_image(f"{liar.address}/app")


# Interrupts


@pytest.fixture
def stalled(liar: LyingRegistry, layout: Layout) -> Iterator[Callable[[], None]]:
    """A registry whose layer stops after its first bytes; what waits until it does so."""
    reached, over = threading.Event(), threading.Event()
    entry = layout.blob("application/vnd.oci.image.layer.v1.tar", bytes(1 << 20))
    layout.write(layout.manifest(layers=[entry]))

    def stall(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(head(Content_Length=str(1 << 20)) + b"x" * 100)
        request.wfile.flush()
        reached.set()
        over.wait(60)

    liar.answers[f"/v2/app/blobs/{entry['digest']}"] = stall
    yield lambda: None if reached.wait(30) else pytest.fail("the layer was not asked for")
    over.set()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_layer_that_stalls_can_be_interrupted(
    liar: LyingRegistry, stalled: Callable[[], None], tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = started("build", f"{liar.address}/app", "-o", out / "app", env=cache)
    stalled()
    time.sleep(0.2)
    assert ended_by(process, number) < MOMENT
    assert list(out.iterdir()) == []
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_manifest_that_stalls_can_be_interrupted(liar: LyingRegistry, tmp_path: Path) -> None:
    asked = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        asked.set()
        time.sleep(5)

    liar.answers[MANIFEST] = stall
    process = started("build", f"{liar.address}/app", "-o", tmp_path / "app")
    assert asked.wait(30)
    assert ended_by(process, signal.SIGINT) < MOMENT


# Files that are pipes


def spoilt_layout(layout: Layout, what: str) -> None:
    digest = read_image(f"oci:{layout.path}")[0]
    paths = {"index": layout.path / "index.json", "manifest": layout.blob_path(digest)}
    paths["layer"] = max(layout.blobs.iterdir(), key=lambda path: path.read_bytes()[:1] == b"\x1f")
    paths[what].unlink()
    os.mkfifo(paths[what])


@pytest.mark.parametrize("what", ["index", "manifest", "layer"])
def test_pipes_in_a_layout(layout: Layout, tmp_path: Path, what: str) -> None:
    """Whoever opens one waits for its other end."""
    spoilt_layout(layout, what)
    done = measured("build", f"oci:{layout.path}", "-o", tmp_path / "app")
    assert done.status == 1 and "regular file" in done.stderr, done


def test_a_pipe_in_the_cache(layout: Layout, tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    words = ("build", f"oci:{layout.path}", "-o", tmp_path / "app")
    assert measured(*words, env=env).status == 0
    (pack,) = (tmp_path / "cache" / "dockerc" / "packs").iterdir()
    pack.unlink()
    os.mkfifo(pack)
    assert measured(*words, env=env).status == 0
    assert pack.is_file()


def test_a_document_of_the_layout_that_is_too_large(layout: Layout, tmp_path: Path) -> None:
    with (layout.path / "index.json").open("ab") as index:
        index.truncate(1 << 30)
    done = measured("build", f"oci:{layout.path}", "-o", tmp_path / "app")
    assert done.status == 1 and "more than 4194304 bytes" in done.stderr
    assert done.memory < MEMORY


def test_manifest_that_is_not_the_digest_that_the_registry_states(
    liar: LyingRegistry, layout: Layout
) -> None:
    """Of a tag; what a registry states of an answer that is no manifest says nothing."""
    index = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    data = layout.blob_path(index["digest"]).read_bytes()
    for stated, media_type, is_read in (
        (index["digest"], INDEX, True),
        ("sha256:" + "0" * 64, INDEX, False),
        ("sha256:" + "0" * 64, f"{INDEX}; charset=utf-8", False),
        ("sha256:" + "0" * 64, "text/plain", True),
        ("md5:0", INDEX, True),
        ("nonsense", INDEX, True),
    ):
        headers = {"Docker-Content-Digest": stated, "Content-Type": media_type}
        liar.answers["/v2/app/manifests/latest"] = answer(200, data, headers)
        if is_read:
            assert read_image(f"{liar.address}/app")
        else:
            with pytest.raises(DockercError, match="does not match its digest"):
                read_image(f"{liar.address}/app")
