"""JSON from outside: a value of the kind that is asked for, or a sentence."""

from __future__ import annotations

import pytest

from toolkit.errors import DamagedError, RefusedError
from toolkit.files.json_document import Document, parse_document, parse_json
from toolkit.limits import MAX_NESTING


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "1" + closing * depth).encode()

    assert parse_json(nested(MAX_NESTING), "it")
    with pytest.raises(RefusedError, match="nested too deeply"):
        parse_json(nested(MAX_NESTING + 1), "it")


@pytest.mark.parametrize(
    "data",
    [b'"\\ud800"', b'{"\\udfff": 1}', b'"\xff"', b"", b"{", b"[" * 100_000, b"1 2"],
    ids=repr,
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(DamagedError, match="it is not valid JSON"):
        parse_json(data[:20_000], "it")


def test_what_is_json() -> None:
    assert parse_json('\ufeff["é", "\\ud83d\\ude00"]'.encode(), "it") == ["é", "\U0001f600"]
    with pytest.raises(DamagedError, match="it must be a JSON object"):
        parse_document(b"[]", "it")


def test_members() -> None:
    document = parse_document(b'{"t": "x", "n": 5, "b": true, "l": ["x"], "o": {"k": "v"}}', "it")
    assert (document.text("t"), document.integer("n"), document.boolean("b")) == ("x", 5, True)
    assert (document.texts("l"), document.text_map("o")) == (["x"], {"k": "v"})
    assert document.object("o").text("k") == "v"
    assert (document.text("-"), document.integer("-"), document.texts("-")) == ("", None, [])
    for read, key in (
        (document.text, "n"), (document.integer, "b"), (document.integer, "t"),
        (document.boolean, "n"), (document.texts, "t"), (document.objects, "l"),
        (document.object, "l"), (document.text_map, "t"),
    ):  # fmt: skip
        with pytest.raises(DamagedError, match=f"'{key}' must be"):
            read(key)
    with pytest.raises(DamagedError, match="must hold strings only"):
        Document({"o": {"k": 1}}, "it").text_map("o")
