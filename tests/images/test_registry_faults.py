"""Registries and networks that fail: what is tried again, how often, and what is told."""

from __future__ import annotations

import email.utils
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from false_server import Answer
from images_support import (
    AMD64,
    Layout,
    LyingRegistry,
    answer,
    lying_registry,
    read_image,
    sha256,
    tar_of,
)

from toolkit.errors import DockercError
from toolkit.images.open import open_image
from toolkit.images.transports.registry import client as registry_client
from toolkit.images.transports.registry import connections, retry

TAR = tar_of({"noise": random.Random(1).randbytes(1_000_000)})
PATH = f"/v2/app/blobs/{sha256(TAR)}"
MANIFEST_PATH = "/v2/app/manifests/latest"


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[LyingRegistry]:
    """A false registry with an image of one layer, a megabyte that does not compress."""
    layout = Layout(tmp_path / "layout")
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(TAR)]},
    }
    layer = layout.blob("application/vnd.oci.image.layer.v1.tar", TAR)
    config_blob = layout.document("application/vnd.oci.image.config.v1+json", config)
    layout.write(layout.manifest(config=config_blob, layers=[layer]))
    with lying_registry(layout.path) as registry:
        yield registry


def layer_of(liar: LyingRegistry) -> bytes:
    (layer,) = read_image(f"{liar.address}/app")[1]
    return layer


def in_turn(*answers: Answer) -> Answer:
    """One answer after the other; the last for ever."""
    left = list(answers)

    def send(request: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(request)

    return send


def start_of(request: BaseHTTPRequestHandler) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "bytes=0-"))
    assert match
    return int(match[1])


def ranged(
    at_most: int = len(TAR), shift: int = 0, data: bytes = TAR, told: int | None = None
) -> Answer:
    """Honours Range, but cuts after so many bytes; `shift` and `told` make it lie about where."""

    def send(request: BaseHTTPRequestHandler) -> None:
        start = start_of(request)
        part = data[start + shift if start else 0 :]
        first = start if told is None else told
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        cut = max(0, len(part) - at_most)
        answer(206 if start else 200, part, headers if start else {}, cut)(request)

    return send


def ignoring(*lengths: int) -> Answer:
    """Knows no Range, and cuts after so many bytes, each time another number."""
    return in_turn(*(answer(200, TAR, cut=len(TAR) - length) for length in lengths))


# What may pass


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("path", [PATH, MANIFEST_PATH])
def test_refusals_that_pass(liar: LyingRegistry, path: str, status: int) -> None:
    refusals = [answer(status)] * (retry.ATTEMPTS - 1)
    liar.answers[path] = in_turn(*refusals, liar._serve)
    assert layer_of(liar) == TAR


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_that_stay_are_given_up(liar: LyingRegistry, status: int) -> None:
    liar.answers[MANIFEST_PATH] = answer(status)
    with pytest.raises(DockercError, match="try again later"):
        layer_of(liar)
    assert len(liar.requests) == retry.ATTEMPTS


def test_refusals_that_mean_it_are_not_repeated(liar: LyingRegistry) -> None:
    liar.answers[MANIFEST_PATH] = answer(403)
    with pytest.raises(DockercError, match="denies access"):
        layer_of(liar)
    assert len(liar.requests) == 1


def test_retry_after_is_waited_for(liar: LyingRegistry) -> None:
    liar.answers[MANIFEST_PATH] = in_turn(answer(429, headers={"Retry-After": "1"}), liar._serve)
    started = time.monotonic()
    assert layer_of(liar) == TAR
    assert 1 <= time.monotonic() - started < 3


@pytest.mark.parametrize("after", ["3600", "9" * 400, "a date"])
def test_retry_after_beyond_patience(liar: LyingRegistry, after: str) -> None:
    if after == "a date":
        after = email.utils.formatdate(time.time() + 9999, usegmt=True)
    liar.answers[MANIFEST_PATH] = answer(429, headers={"Retry-After": after})
    started = time.monotonic()
    with pytest.raises(DockercError, match="limits how often"):
        layer_of(liar)
    assert time.monotonic() - started < 3
    assert len(liar.requests) == 1


@pytest.mark.parametrize("after", ["-5", "soon", "٣", "Thu, 99 Foo 2026", ""])
def test_retry_after_that_says_nothing(liar: LyingRegistry, after: str) -> None:
    headers = {"Retry-After": after.encode().decode("latin-1")}
    liar.answers[MANIFEST_PATH] = in_turn(answer(503, headers=headers), liar._serve)
    assert layer_of(liar) == TAR


def hang_up(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def test_connections_that_close_without_an_answer(liar: LyingRegistry) -> None:
    liar.answers[MANIFEST_PATH] = in_turn(hang_up, hang_up, liar._serve)
    liar.answers[PATH] = in_turn(hang_up, liar._serve)
    assert layer_of(liar) == TAR


def test_manifest_that_is_cut_is_asked_for_again(liar: LyingRegistry) -> None:
    liar.answers[MANIFEST_PATH] = in_turn(answer(200, b"{}", {"Content-Length": "50"}), liar._serve)
    assert layer_of(liar) == TAR


def test_stalled_manifest_is_asked_for_again(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.2)
    over = threading.Event()
    liar.answers[MANIFEST_PATH] = in_turn(lambda _: bool(over.wait(20)), liar._serve)
    assert layer_of(liar) == TAR
    over.set()


# Blobs that break off


def test_cut_blob_goes_on_where_it_stopped(liar: LyingRegistry) -> None:
    liar.answers[PATH] = ranged(at_most=300_000)
    assert layer_of(liar) == TAR
    assert liar.ranges == ["bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_stalled_blob_goes_on_where_it_stopped(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.3)
    over = threading.Event()

    def stall(request: BaseHTTPRequestHandler) -> None:
        answer(200, TAR, cut=len(TAR) - 600_000)(request)
        request.wfile.flush()
        over.wait(20)

    liar.answers[PATH] = in_turn(stall, ranged())
    assert layer_of(liar) == TAR
    (asked,) = liar.ranges
    assert 300_000 < int(asked[6:-1]) <= 600_000  # what was in a buffer when it stalled is lost
    over.set()


def test_blob_without_a_length_goes_on_too(liar: LyingRegistry) -> None:
    """Where only the closed connection ends a body, an early end looks like a good one."""

    def lengthless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(TAR[:7000])

    liar.answers[PATH] = in_turn(lengthless, ranged())
    assert layer_of(liar) == TAR
    assert liar.ranges == ["bytes=7000-"]


def test_server_that_ignores_range(liar: LyingRegistry) -> None:
    liar.answers[PATH] = ignoring(400_000, 700_000, 700_000, len(TAR))
    assert layer_of(liar) == TAR
    assert liar.ranges == ["bytes=400000-", "bytes=700000-", "bytes=700000-"]


def test_server_that_ignores_range_and_cuts_sooner(liar: LyingRegistry) -> None:
    liar.answers[PATH] = ignoring(400_000, 100_000, 300_000, len(TAR))
    assert layer_of(liar) == TAR


@pytest.mark.parametrize("told", [0, 1, 10**18])
def test_server_that_answers_another_range(liar: LyingRegistry, told: int) -> None:
    """It is asked for the whole; what it sent of elsewhere is not looked at."""
    liar.answers[PATH] = in_turn(
        ranged(at_most=400_000), ranged(shift=-99, told=told), answer(200, TAR)
    )
    assert layer_of(liar) == TAR


def test_server_that_lies_about_the_range(liar: LyingRegistry) -> None:
    liar.answers[PATH] = in_turn(ranged(at_most=400_000), ranged(shift=1))
    with pytest.raises(DockercError, match="is truncated"):
        layer_of(liar)
    liar.answers[PATH] = in_turn(ranged(at_most=400_000), ranged(shift=-1))
    with pytest.raises(DockercError, match="is longer than"):
        layer_of(liar)
    other = TAR[:-1] + bytes([TAR[-1] ^ 1])
    liar.answers[PATH] = in_turn(ranged(at_most=400_000), ranged(data=other))
    with pytest.raises(DockercError, match="does not match its digest"):
        layer_of(liar)


def test_blob_that_always_breaks_off_is_given_up(liar: LyingRegistry) -> None:
    for reply in (answer(200, TAR, cut=len(TAR) - 1000), ranged(at_most=1000)):
        liar.requests.clear()
        liar.answers[PATH] = reply
        with pytest.raises(DockercError, match=r"did not arrive whole .*connection was cut"):
            layer_of(liar)
        assert [path for path, _ in liar.requests].count(PATH) == retry.ATTEMPTS


def test_progress_is_worth_new_attempts(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large layer over a bad line: more cuts than attempts, each after a good part."""
    monkeypatch.setattr(registry_client, "_PROGRESS", 50_000)
    liar.answers[PATH] = ranged(at_most=60_000)
    assert layer_of(liar) == TAR
    assert len(liar.ranges) > 3 * retry.ATTEMPTS


def test_blob_that_vanishes_meanwhile(liar: LyingRegistry) -> None:
    for gone in (404, 416):
        liar.answers[PATH] = in_turn(ranged(at_most=400_000), answer(gone))
        with pytest.raises(DockercError, match=r"is truncated: 400000 of \d+ bytes"):
            layer_of(liar)


def test_resumed_blob_is_asked_of_the_registry_again(tmp_path: Path, liar: LyingRegistry) -> None:
    """The address of the storage, where the first part came from, may have expired."""
    with lying_registry(tmp_path / "layout") as storage:
        location = {"Location": f"http://localhost:{storage.address.rpartition(':')[2]}{PATH}"}
        liar.answers[PATH] = answer(307, b"", location)
        storage.answers[PATH] = ranged(at_most=600_000)
        assert layer_of(liar) == TAR
    assert [path for path, _ in liar.requests].count(PATH) == 2
    assert storage.ranges == ["bytes=600000-"]


def test_closing_the_image_ends_the_pauses(
    liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 30.0)
    failures: list[DockercError] = []
    with open_image(f"{liar.address}/app", AMD64) as image:

        def read() -> None:
            try:
                with image.open_layer(image.layers[0]) as stream:
                    stream.read()
            except DockercError as error:
                failures.append(error)

        asked = threading.Event()
        liar.answers[PATH] = signalling(asked, answer(503))
        thread = threading.Thread(target=read)
        thread.start()
        assert asked.wait(5)
        time.sleep(0.1)
    thread.join(5)
    assert not thread.is_alive() and len(failures) == 1


def signalling(event: threading.Event, reply: Answer) -> Callable[[BaseHTTPRequestHandler], None]:
    def send(request: BaseHTTPRequestHandler) -> None:
        reply(request)
        event.set()

    return send
