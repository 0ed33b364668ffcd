"""JSON from outside, read without trust: whatever its shape, it gives a value or a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from toolkit.errors import DamagedError, RefusedError
from toolkit.limits import MAX_NESTING

T = TypeVar("T")

_KIND_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True)
class Document:
    """A JSON object, and `where` it stands, for the sentences of errors.

    As in Go, whose tools write these files, null and an absent member mean the same. Every
    method raises DockercError when the member is of another type than asked for.
    """

    members: Mapping[str, Any]
    where: str

    def _member(self, key: str, kind: type[T]) -> T | None:
        value = self.members.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise DamagedError(f"{self.where} is malformed: '{key}' must be {_KIND_NAMES[kind]}")
        return value

    def text(self, key: str) -> str:
        """A string; empty when absent."""
        return self._member(key, str) or ""

    def integer(self, key: str) -> int | None:
        return self._member(key, int)

    def boolean(self, key: str) -> bool:
        """True or false; false when absent."""
        return self._member(key, bool) or False

    def object(self, key: str) -> Document:
        """A member object; empty when absent."""
        return Document(self._member(key, dict) or {}, self.where)

    def objects(self, key: str) -> list[Document]:
        return [Document(item, self.where) for item in self._items(key, dict)]

    def texts(self, key: str) -> list[str]:
        return self._items(key, str)

    def text_map(self, key: str) -> dict[str, str]:
        members = self._member(key, dict) or {}
        if not all(isinstance(value, str) for value in members.values()):
            raise DamagedError(f"{self.where} is malformed: '{key}' must hold strings only")
        return members

    def _items(self, key: str, kind: type[T]) -> list[T]:
        items = self._member(key, list) or []
        if not all(isinstance(item, kind) for item in items):
            raise DamagedError(
                f"{self.where} is malformed: each of '{key}' must be {_KIND_NAMES[kind]}"
            )
        return items


def parse_json(data: bytes, where: str) -> Any:
    """Reads UTF-8 JSON. Raises DockercError when it is not, or is nested too deeply."""
    try:
        value = json.loads(data.decode("utf-8-sig"))
        if b"\\u" in data:
            # A lone surrogate (`\ud800`) passes json.loads and would break whoever encodes it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{where} is not valid JSON: {error}") from None
    if nests_deeper(value, MAX_NESTING):
        raise RefusedError(f"{where} is malformed: it is nested too deeply")
    return value


def parse_document(data: bytes, where: str) -> Document:
    """Reads a JSON object. Raises DockercError when the data is not one."""
    value = parse_json(data, where)
    if not isinstance(value, dict):
        raise DamagedError(f"{where} is malformed: it must be a JSON object")
    return Document(value, where)


def nests_deeper(value: Any, limit: int) -> bool:
    """Whether lists and objects stand in one another more than `limit` times."""
    level = [value]
    for _ in range(limit + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return False
        level = inner
    return True
