"""What `inspect` tells a person: the most important first, and nothing wider than the terminal."""

from __future__ import annotations

import json
import shlex
import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from toolkit.commands.quantity import size_text
from toolkit.files.printable import printable

_KEY = 9
_LEAST, _MOST = 60, 120
_BAR = 10
_MAX_LABELS = 12
_MAX_LINES = 4
"""Lines of one value."""


@dataclass(frozen=True)
class Page:
    """What is printed on: so many columns, and whether they have more than ASCII."""

    width: int
    is_unicode: bool

    @staticmethod
    def of(columns: int, encoding: str | None) -> Page:
        """A page for a terminal."""
        is_unicode = (encoding or "").lower().replace("-", "") in ("utf8", "utf16")
        return Page(min(max(columns, _LEAST), _MOST), is_unicode)

    def fact(self, name: str, value: object) -> Iterator[str]:
        """A name and its value, on several lines if it is long; none for no value."""
        if value in (None, "", [], {}):
            return
        text = printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        lines = textwrap.wrap(text, self.width - _KEY, break_on_hyphens=False)
        if len(lines) > _MAX_LINES:
            lines = [
                *lines[: _MAX_LINES - 1],
                f"{lines[_MAX_LINES - 1][: self.width - _KEY - 3]}...",
            ]
        for number, line in enumerate(lines):
            yield f"{'' if number else name:<{_KEY}}{line}".rstrip()

    def cut(self, text: str, width: int) -> str:
        """The text, or its start."""
        text = printable(text)
        return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."

    def bar(self, part: float) -> str:
        """Ten cells, of which this part is full; a part that is not nothing shows."""
        full, empty = ("█", "·") if self.is_unicode else ("#", ".")
        cells = min(round(part * _BAR), _BAR)
        return full * cells + empty * (_BAR - cells)


def executable_report(found: dict[str, Any], size: int, page: Page) -> Iterator[str]:
    """The lines for an executable of so many bytes."""
    image, stub, squashfs, space = (found[key] for key in ("image", "stub", "squashfs", "space"))
    yield from page.fact("digest", image["digest"])
    yield from page.fact("image", image["reference"])
    yield from page.fact("command", _command(image["args"]))
    payload, runtime = size_text(squashfs["bytes_used"]), size_text(stub["size"])
    yield from page.fact("size", f"{size_text(size)}: payload {payload}, runtime {runtime}")
    yield from page.fact("platform", _platform(image))
    files = f"{space['files']:,} files of {size_text(space['size'])}"
    yield from page.fact("files", f"{files}, stored in {size_text(space['stored'])}")
    yield from _settings(image, page)
    yield from page.fact("volumes", image["baked_volumes"])
    yield from page.fact("options", image["baked_options"])
    yield from page.fact("rootfull", "yes" if image["rootfull"] else "")
    yield from page.fact("runtime", _runtime(stub))
    created = time.strftime("%F %T UTC", time.gmtime(squashfs["created"]))
    packed = f"{squashfs['compression']}, blocks of {squashfs['block_size'] >> 10} KiB"
    offset = found["footer"]["offset"]
    yield from page.fact("squashfs", f"{packed}, at offset {offset}, {created}")
    yield from page.fact("sha256", squashfs["sha256"])
    yield from _signed(found["signed"] or {}, page)
    if profile := found["profile"]:
        programs = [start["program"] for start in profile["starts"]]
        yield from page.fact("profile", f"{profile['digest']} for {' '.join(programs)}")
    yield from _labels(image["labels"], page)
    yield from _layers(space["layers"] or [], page, "stored")
    yield from _tree(space, page)
    yield from _largest(space["largest"], page)
    if image["built_by"] is None:
        yield ""
        yield from textwrap.wrap(
            "The payload was not made by this dockerc: entrypoint, cmd and layers are unknown.",
            page.width,
        )


def image_report(found: dict[str, Any], page: Page) -> Iterator[str]:
    """The lines for an image, whose layers were not read."""
    image = found["image"]
    yield from page.fact("digest", image["digest"])
    yield from page.fact("image", image["reference"])
    yield from page.fact("command", _command([*(image["entrypoint"] or []), *(image["cmd"] or [])]))
    count = len(found["layers"])
    layers = f"{count} layer{'' if count == 1 else 's'}, compressed {size_text(image['size'])}"
    yield from page.fact("size", layers)
    yield from page.fact("platform", _platform(image))
    yield from _settings(image, page)
    yield from page.fact("ports", " ".join(image["ports"]))
    yield from page.fact("volumes", image["volumes"])
    yield from page.fact("stop", image["stop_signal"])
    yield from _labels(image["labels"], page)
    yield from _layers(found["layers"], page, "compressed")


def pushed_report(found: dict[str, Any], page: Page) -> Iterator[str]:
    """The lines for an executable in a registry, and what is attached to it."""
    executable = found["executable"]
    yield from page.fact("digest", executable["digest"])
    yield from page.fact("name", executable["reference"])
    size = f"{size_text(executable['size'])} in {executable['chunks']} chunks"
    yield from page.fact("size", size)
    yield from page.fact("file", executable["file_digest"])
    for each in found["referrers"]:
        yield from page.fact("attached", f"{each['artifact_type'] or '?'} {each['digest']}")


def _command(words: object) -> str:
    if not isinstance(words, list):
        return ""
    return shlex.join(word for word in words if isinstance(word, str))


def _platform(image: dict[str, Any]) -> str:
    parts = (image[name] for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)


def _settings(image: dict[str, Any], page: Page) -> Iterator[str]:
    yield from page.fact("created", image["created"])
    yield from page.fact("author", image["author"])
    yield from page.fact("workdir", image["workdir"])
    user = image["user"]
    if isinstance(user, dict):
        more = "".join(f",{gid}" for gid in user["additional_gids"] or [])
        user = None if user["uid"] is None else f"{user['uid']}:{user['gid']}{more}"
    yield from page.fact("user", user)
    for number, entry in enumerate(image["env"] or []):
        if isinstance(entry, str):
            yield from page.fact("" if number else "env", entry)


def _runtime(stub: dict[str, Any]) -> str:
    told = [stub["architecture"], stub["linkage"]]
    told += [f"of this version ({stub['version']})" if stub["current"] else "of another version"]
    return ", ".join(text for text in told if text)


def _signed(signed: dict[str, Any], page: Page) -> Iterator[str]:
    """The root of the hash tree, and a line for each signature."""
    yield from page.fact("root", signed.get("root_hash"))
    for number, each in enumerate(signed.get("signatures", [])):
        what = "payload and runtime" if each["runtime"] else "payload"
        said = f"{each['key']}: {what}{'' if each['valid'] else ' (WRONG)'}"
        yield from page.fact("" if number else "signed", said)


def _labels(labels: dict[str, Any] | None, page: Page) -> Iterator[str]:
    listed = sorted((labels or {}).items())
    for number, (name, value) in enumerate(listed[:_MAX_LABELS]):
        yield from page.fact("" if number else "labels", f"{name}={value}")
    if len(listed) > _MAX_LABELS:
        yield from page.fact("", f"and {len(listed) - _MAX_LABELS} more")


def _layers(layers: list[Any], page: Page, stored: str) -> Iterator[str]:
    """Their annotation is the payload's word, so nothing is expected of it."""
    listed = [layer for layer in layers if isinstance(layer, dict)]
    if not listed:
        return
    has_files = stored == "stored"
    files = f"{'files':>8}{'size':>10}" if has_files else ""
    yield ""
    yield f"{'layer':<12}{files}{stored:>12}  created by"
    for layer in listed:
        digest = printable(str(layer.get("diff_id"))[7:19])
        told = f"{digest:<12}"
        if has_files:
            told += f"{printable(str(layer.get('files')))[:8]:>8}{_size(layer.get('bytes')):>10}"
        told += f"{_size(layer.get('stored' if has_files else 'size')):>12}"
        made = str(layer.get("created_by") or "")
        yield f"{told}  {page.cut(made, page.width - len(told) - 2)}".rstrip()


def _tree(space: dict[str, Any], page: Page) -> Iterator[str]:
    """Directories with what they hold, each deeper by two columns than the one that it is in."""
    if not space["tree"]:
        return
    yield ""
    yield f"{'size':>9}{'stored':>10}{'':17}{'files':>9}  directory"
    for share in _above_the_smallest(space["tree"]):
        depth = max(share["path"].count("/") - 1, 0)
        name = share["path"] if not depth else share["path"].rpartition("/")[2]
        yield _row(share, space["stored"], "  " * depth + name, page)


def _above_the_smallest(tree: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """So many lines as a terminal has, those of the largest directories."""
    listed = list(tree)
    most = sorted((share["stored"] for share in listed), reverse=True)[:_MAX_ROWS]
    return [share for share in listed if share["stored"] >= most[-1]][:_MAX_ROWS]


_MAX_ROWS = 20


def _largest(shares: list[dict[str, Any]], page: Page) -> Iterator[str]:
    if shares:
        yield ""
        yield f"{'size':>9}{'stored':>10}  largest files"
    for share in shares:
        told = f"{_size(share['size']):>9}{_size(share['stored']):>10}  "
        yield told + _end_of(share["path"], page.width - len(told))


def _row(share: dict[str, Any], whole: int, name: str, page: Page) -> str:
    part = share["stored"] / whole if whole else 0.0
    told = f"{_size(share['size']):>9}{_size(share['stored']):>10}{100 * part:>5.0f}% "
    told += f"{page.bar(part)}{share['files']:>9,}  "
    return told + page.cut(name, page.width - len(told))


def _end_of(path: str, width: int) -> str:
    """A path whose end says more than its start."""
    return path if len(path) <= width else f"...{path[3 - width :]}"


def _size(size: object) -> str:
    """`?` for what is none: layers are the payload's word."""
    return size_text(size) if isinstance(size, int) and 0 <= size < 1 << 63 else "?"
