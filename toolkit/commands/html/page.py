"""`inspect --html`: one file that needs nothing else, and runs nothing that an image brings.

What comes from an image is data: compressed and in base64, it has no character that HTML knows, and
the program puts it on the page as text. A policy (CSP) lets the browser run that program only and
load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from importlib.resources import files
from typing import Any

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{summary}</p></header>
<noscript><p>The rest of this page needs JavaScript.</p></noscript>
<p id="status" role="status">Reading…</p>
<main id="main"></main>
<script id="data" type="application/octet-stream">{data}</script>
<script>{program}</script>
</body>
</html>
"""


def page(title: str, summary: str, data: dict[str, Any]) -> bytes:
    """The file; `title` and `summary` are texts, `data` is what page.js reads."""
    room = files("toolkit.commands.html")
    style, program = (
        room.joinpath(name).read_text("utf-8").strip() for name in ("page.css", "page.js")
    )
    policy = (
        f"default-src 'none'; script-src '{_hash(program)}'; style-src '{_hash(style)}';"
        " base-uri 'none'; form-action 'none'"
    )
    text = _PAGE.format(
        policy=policy,
        title=html.escape(title),
        summary=html.escape(summary),
        style=style,
        program=program,
        data=_packed(data),
    )
    return text.encode("utf-8", "backslashreplace")


def _packed(data: dict[str, Any]) -> str:
    # JSON's escapes of lone surrogates are kept: no encoding has them.
    text = json.dumps(data, separators=(",", ":")).encode()
    compressor = zlib.compressobj(6, wbits=-15)
    return base64.b64encode(compressor.compress(text) + compressor.flush()).decode()


def _hash(text: str) -> str:
    """As the Content Security Policy has it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
