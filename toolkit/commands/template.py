"""Templates as `docker inspect --format` takes them: Go's, as far as looking up fields."""

from __future__ import annotations

import json
import re
from typing import Any

from toolkit.errors import UsageError

_FIELD = r"(?:\.[A-Za-z0-9_]+)+|\."
_ACTION = re.compile(
    rf"""\{{\{{-?\s*(?:
        (?P<json>json\s+)?(?P<field>{_FIELD})
        | index\s+(?P<map>{_FIELD})\s+"(?P<key>[^"]*)"
    )\s*-?\}}\}}""",
    re.VERBOSE,
)


def render(template: str, facts: dict[str, Any]) -> str:
    """The template with `{{.Part.Field}}`, `{{json .Part}}`, `{{index .Part "key"}}` filled in.

    Names are the JSON object's, without underscores and in any case: `.Footer.RequireMappedUids`.
    Raises UsageError on any other action and on names that there are not.
    """
    rest = _ACTION.sub("", template)
    if "{{" in rest or "}}" in rest:
        raise UsageError(
            f"--format {template}: only {{{{.A.B}}}}, {{{{json .A}}}} and"
            ' {{index .A "key"}} are understood'
        )

    def fill(action: re.Match[str]) -> str:
        if action["map"]:
            found = _look_up(facts, action["map"])
            return _text(found.get(action["key"], "") if isinstance(found, dict) else "")
        found = _look_up(facts, action["field"])
        return json.dumps(found, ensure_ascii=False) if action["json"] else _text(found)

    return _ACTION.sub(fill, template)


def _look_up(facts: Any, field: str) -> Any:
    for name in filter(None, field.split(".")):
        members = facts if isinstance(facts, dict) else {}
        known = {_plain(member): member for member in members}
        if _plain(name) not in known:
            choices = ", ".join(f".{member}" for member in members) or "nothing"
            raise UsageError(f"--format: there is no .{name}; there is {choices}")
        facts = facts[known[_plain(name)]]
    return facts


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
