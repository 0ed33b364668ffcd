"""Sockets that are shut: by who closes the image, and when what was to be done in time was not."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from images_support import Layout, LyingRegistry, answer, read_image

from toolkit.errors import DockercError
from toolkit.images.auth.access import Access
from toolkit.images.auth.registries_conf import Endpoint
from toolkit.images.reference import RegistryReference, parse_name
from toolkit.images.transports.registry import connections, sockets, wire
from toolkit.images.transports.registry.client import RegistryClient
from toolkit.images.transports.registry.sockets import Sockets
from toolkit.images.transports.strict_http import StrictResponse

pytestmark = pytest.mark.usefixtures("home")
LONG = 60.0


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets; whoever reads longer than is good ends the test."""
    monkeypatch.setattr(sockets, "_TICK", 0.01)
    ours, theirs = socket.socketpair()
    ours.settimeout(LONG)
    with ours, theirs:
        yield ours, theirs


def test_what_does_not_end_in_time_is_shut(pair: tuple[socket.socket, socket.socket]) -> None:
    held = Sockets()
    handle = held.hold(pair[0])
    with held.limit(handle, 0.05) as limit:
        assert pair[0].recv(1) == b""
    assert limit.expired
    handle.close()
    held.stop()


def test_what_ends_in_time_is_not(pair: tuple[socket.socket, socket.socket]) -> None:
    held = Sockets()
    handle = held.hold(pair[0])
    with held.limit(handle, 0.05) as limit:
        pair[1].send(b"x")
        assert pair[0].recv(1) == b"x"
    with held.limit(handle, LONG) as other:
        time.sleep(0.1)
    assert not limit.expired and not other.expired and held._limits == {}
    pair[1].send(b"y")
    assert pair[0].recv(1) == b"y"
    handle.close()
    held.stop()


def test_stopping_shuts_all_and_those_that_come(pair: tuple[socket.socket, socket.socket]) -> None:
    held = Sockets()
    handles = [held.hold(each) for each in pair]
    threads = {thread.name for thread in threading.enumerate()}
    assert "stalls" in threads
    held.stop()
    assert [each.recv(1) for each in pair] == [b"", b""]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(LONG)
        handles.append(held.hold(ours))
        assert ours.recv(1) == b""
    for handle in handles:
        handle.close()
    held.stop()


def test_one_thread_watches_and_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    def watching() -> set[threading.Thread]:
        """Those of other tests may end meanwhile."""
        return {thread for thread in threading.enumerate() if thread.name == "stalls"}

    before = watching()
    held = Sockets()
    handles = [held.hold(pair[0]) for _ in range(3)]
    (ours,) = watching() - before
    held.stop()
    ours.join(LONG)
    assert not ours.is_alive()
    for handle in handles:
        handle.close()


# A client


def client_of(address: str) -> RegistryClient:
    reference = parse_name(f"{address}/app:latest")
    assert isinstance(reference, RegistryReference)
    return RegistryClient(Endpoint(reference, insecure=False, is_mirror=False), Access())


def test_closing_ends_who_waits(liar: LyingRegistry) -> None:
    """For an answer, from another thread."""
    waiting, go_on = threading.Event(), threading.Event()

    def stall(request: object) -> None:
        waiting.set()
        go_on.wait(LONG)

    liar.answers["/v2/app/manifests/latest"] = stall
    client = client_of(liar.address)

    def close() -> None:
        waiting.wait(LONG)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(DockercError):
        client.read("manifests/latest", "it")
    assert waiting.is_set()
    go_on.set()
    closer.join()
    assert client._connections._stopped.is_set() and client._connections._sockets._stopped.is_set()
    closed = []
    for session in client._connections._sessions:
        session.close = lambda: closed.append(1)  # type: ignore[method-assign]
    client.close()
    assert closed == [1]


def test_each_thread_has_its_session(liar: LyingRegistry, layout: Layout) -> None:
    client = client_of(liar.address)
    for _ in range(2):
        client.read("manifests/latest", "it")
    assert len(client._connections._sessions) == 1
    thread = threading.Thread(target=client.read, args=("manifests/latest", "it"))
    thread.start()
    thread.join()
    assert len(client._connections._sessions) == 2
    client.close()


@pytest.mark.parametrize(("size", "is_read"), [(99, True), (100, True), (101, False)])
def test_the_size_of_a_document(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch, size: int, is_read: bool
) -> None:
    monkeypatch.setattr(connections, "MAX_DOCUMENT", 100)
    liar.answers["/v2/app/x"] = answer(200, b"x" * size)
    client = client_of(liar.address)
    if is_read:
        assert client.read("x", "it")[1] == b"x" * size
    else:
        with pytest.raises(DockercError, match="larger than 100 bytes"):
            client.read("x", "it")
    client.close()


@pytest.mark.parametrize(("count", "is_followed"), [(5, True), (6, False)])
def test_redirects_in_a_row(liar: LyingRegistry, count: int, is_followed: bool) -> None:
    for number in range(count):
        target = {"Location": f"/v2/app/{number + 1}"}
        liar.answers[f"/v2/app/{number}"] = answer(
            (301, 302, 303, 307, 308)[number % 5], b"", target
        )
    liar.answers[f"/v2/app/{count}"] = answer(200, b"there")
    client = client_of(liar.address)
    if is_followed:
        assert client.read("0", "it")[1] == b"there"
    else:
        with pytest.raises(DockercError, match="redirects without end"):
            client.read("0", "it")
    client.close()


@pytest.mark.parametrize("status", [300, 304, 305, 306])
def test_what_is_no_redirect(liar: LyingRegistry, status: int) -> None:
    liar.answers["/v2/app/0"] = answer(status, b"", {"Location": "/v2/app/1"})
    client = client_of(liar.address)
    with pytest.raises(DockercError, match=f"answered {status}"):
        client.read("0", "it")
    client.close()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 400, 401, 403, 404, 501, 505])
def test_which_answers_are_asked_for_again(liar: LyingRegistry, status: int) -> None:
    liar.answers["/v2/app/x"] = answer(status)
    client = client_of(liar.address)
    with contextlib.suppress(DockercError):
        client.read("x", "it")
    client.close()
    again = 5 if status in (408, 429, 500, 502, 503, 504) else 1
    assert len([path for path, _ in liar.requests if path == "/v2/app/x"]) == again


@pytest.mark.parametrize(("status", "told"), [(499, "499 "), (500, "500 "), (418, "418 ")])
def test_later_is_said_of_servers_that_fail(liar: LyingRegistry, status: int, told: str) -> None:
    liar.answers["/v2/app/x"] = answer(status)
    client = client_of(liar.address)
    with pytest.raises(DockercError, match=f"answered {told}") as caught:
        client.read("x", "it")
    assert ("try again later" in str(caught.value)) is (status >= 500)
    client.close()


def test_pieces_are_not_larger_than_what_must_come_in_time(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar.answers["/v2/app/x"] = answer(200, b"x" * (2 * wire.PIECE))
    client = client_of(liar.address)
    attempts = client._connections.attempts()
    with client._open("x", "it", attempts) as response:
        assert len(client.read_part(response, 1 << 30, "it")) == wire.PIECE
        assert len(client.read_part(response, 10, "it")) == 10
    client.close()


# Chunks


class Lines:
    """What a chunked body begins with."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def readline(self, limit: int) -> bytes:
        line, newline, _ = self._data.partition(b"\n")
        whole = (line + newline)[:limit]
        self._data = self._data[len(whole) :]
        return whole


def chunk_size(line: bytes) -> int:
    response = StrictResponse.__new__(StrictResponse)
    response.fp = Lines(line)  # type: ignore[assignment]
    response._close_conn = lambda: None  # type: ignore[method-assign]
    return response._read_next_chunk_size()


def test_sizes_of_chunks() -> None:
    assert [chunk_size(line) for line in (b"0\r\n", b"fF\r\n", b"10;a=b\r\n", b" 1 \r\n")] == [
        0, 255, 16, 1
    ]  # fmt: skip
    assert chunk_size(b"f" * 16 + b"\r\n") == (1 << 64) - 1
    assert chunk_size(b"1;" + b"x" * (4096 - 4) + b"\r\n") == 1
    for wrong in (b"", b"-1\r\n", b"0x1\r\n", b"1" * 17, b"1;" + b"x" * (4096 - 3) + b"\r\n"):
        with pytest.raises(ValueError, match="without a proper size"):
            chunk_size(wrong)


@pytest.mark.parametrize(("count", "is_read"), [(0, True), (99, True), (100, False)])
def test_trailers(count: int, is_read: bool) -> None:
    response = StrictResponse.__new__(StrictResponse)
    response.fp = Lines(b"a: b\r\n" * count + b"\r\n")  # type: ignore[assignment]
    if is_read:
        response._read_and_discard_trailer()
    else:
        with pytest.raises(http.client.HTTPException, match="trailers without end"):
            response._read_and_discard_trailer()


# Causes


@pytest.mark.parametrize(
    ("error", "sentence", "may_pass"),
    [
        (requests.TooManyRedirects(), "redirects without end", False),
        (requests.exceptions.ProxyError(OSError(111, "refused")), "the proxy for", False),
        (requests.Timeout(), "does not answer in time", True),
        (requests.ConnectionError(TimeoutError()), "does not answer in time", True),
        (requests.ConnectionError(ConnectionResetError(104, "reset")), "reset", True),
        (requests.ConnectionError(ConnectionRefusedError(111, "refused")), "refused", False),
        (requests.ConnectionError(OSError(101, "unreachable")), "unreachable", False),
        (ValueError("bad"), "bad", False),
    ],
)
def test_what_may_pass(
    liar: LyingRegistry, error: Exception, sentence: str, may_pass: bool, tmp_path: Path
) -> None:
    client = client_of(liar.address)
    failure = client._connections._failure(error)
    assert sentence in str(failure)
    assert isinstance(failure, connections.Interrupted) is may_pass
    client.close()


def test_as_many_tags_are_asked_for_as_tell_that_there_are_more(liar: LyingRegistry) -> None:
    with pytest.raises(DockercError):
        read_image(f"{liar.address}/app:v9")
    assert "/v2/app/tags/list?n=21" in [path for path, _ in liar.requests]
