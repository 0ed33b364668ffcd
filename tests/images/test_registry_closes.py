"""Whatever a registry answers, the answer is closed: else its connection stays open."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from false_server import Answer
from images_support import Layout, LyingRegistry, answer, read_image
from test_registry_faults import in_turn

from toolkit.errors import DockercError

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The addresses of answers that were had and not closed."""
    had: list[requests.Response] = []
    closed: list[requests.Response] = []
    send, close = requests.Session.send, requests.Response.close

    def note(self: requests.Session, *words: Any, **options: Any) -> requests.Response:
        had.append(send(self, *words, **options))
        return had[-1]

    def note_close(self: requests.Response) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(requests.Session, "send", note)
    monkeypatch.setattr(requests.Response, "close", note_close)
    return lambda: [f"{each.status_code} {each.url}" for each in had if each not in closed]


def challenging(liar: LyingRegistry, token: Answer) -> Answer:
    liar.answers["/token"] = token
    realm = f'Bearer realm="http://{liar.address}/token"'
    return answer(401, b"body", {"WWW-Authenticate": realm})


GRANTED = answer(200, b'{"token": "t"}')
CUT = answer(200, b"x" * 50, cut=1)
SPOILED: dict[str, Callable[[LyingRegistry, Answer], Answer]] = {
    "nothing": lambda _, serve: serve,
    "absent": lambda *_: answer(404, b"body"),
    "unknown": lambda *_: answer(418, b"body"),
    "denied": lambda *_: answer(403, b"body"),
    "busy once": lambda _, serve: in_turn(answer(500, b"body"), serve),
    "busy": lambda *_: answer(503, b"body"),
    "token": lambda liar, serve: in_turn(challenging(liar, GRANTED), serve),
    "token that is not enough": lambda liar, _: challenging(liar, GRANTED),
    "token refused": lambda liar, _: challenging(liar, answer(404, b"body")),
    "token server that fails": lambda liar, _: challenging(liar, answer(418, b"body")),
    "redirect": lambda *_: answer(302, b"body", {"Location": "/v2/elsewhere"}),
    "redirect to no web address": lambda *_: answer(302, b"body", {"Location": "ftp://x"}),
    "cut": lambda _, serve: in_turn(CUT, serve),
    "cut, and no more of it": lambda *_: in_turn(CUT, answer(416, b"body")),
    "cut, and then another range": lambda _, serve: in_turn(
        CUT, answer(206, b"x", {"Content-Range": "bytes 9-9/50"}), serve
    ),
}


@pytest.mark.parametrize("of_layer", [False, True])
@pytest.mark.parametrize("what", SPOILED)
def test_answers_are_closed(
    layout: Layout,
    liar: LyingRegistry,
    left_open: Callable[[], list[str]],
    what: str,
    of_layer: bool,
) -> None:
    (layer,) = read_layers(layout)
    path = f"/v2/app/blobs/{layer}" if of_layer else "/v2/app/manifests/latest"
    liar.answers[path] = SPOILED[what](liar, liar._serve)
    with contextlib.suppress(DockercError):
        read_image(f"{liar.address}/app")
    assert path in [asked for asked, _ in liar.requests] and left_open() == []


def read_layers(layout: Layout) -> list[str]:
    """Their digests."""
    top = json.loads((layout.path / "index.json").read_text())["manifests"][0]
    index = json.loads(layout.blob_path(top["digest"]).read_text())
    manifest = json.loads(layout.blob_path(index["manifests"][0]["digest"]).read_text())
    return [layer["digest"] for layer in manifest["layers"]]
