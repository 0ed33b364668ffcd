"""Registries and archives made up by chance: an image, or a sentence, in bounded time and memory.

DOCKERC_SOURCES=N makes so many of each kind instead of some; DOCKERC_SOURCES_SEED=N starts
elsewhere, and a failure names the seed that it came from.
"""

from __future__ import annotations

import gc
import io
import json
import os
import random
import resource
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from false_server import Answer
from hostile_support import bounded
from images_support import Layout, LyingRegistry, on, read_image, sha256, tar_of
from layout import entry

from toolkit.errors import DockercError
from toolkit.images.transports.registry import connections, retry, wire

ROUNDS = int(os.environ.get("DOCKERC_SOURCES", "300"))
SEED = int(os.environ.get("DOCKERC_SOURCES_SEED", "1"))
_MEMORY = 200 << 20
ZEROS = bytes(1 << 16)


def attempts(what: str, one: Callable[[random.Random], None], rounds: int = ROUNDS) -> set[str]:
    """Each seed gives an image or a DockercError; returns the sentences."""
    told = set()
    for seed in range(SEED, SEED + rounds):
        try:
            with bounded(what):
                one(random.Random(seed))
        except DockercError as error:
            told.add(str(error))
        except BaseException as error:
            raise AssertionError(f"DOCKERC_SOURCES_SEED={seed}, {what}: {error!r}") from error
    return told


# Registries


class Script:
    """Answers by chance: mostly the truth, else what no registry should say."""

    def __init__(self, registry: LyingRegistry, choose: random.Random) -> None:
        self._registry, self._choose = registry, choose

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        if self._choose.random() < 0.5:
            self._registry._serve(request)
            return
        request.close_connection = True
        with suppress(OSError):
            self._send(request.wfile)

    def _send(self, out: Any) -> None:
        choose = self._choose
        status = choose.choice(["200 OK", "206 Partial", "301 Moved", "302 Found", "307 Found",
                                "308 Found", "401 No", "403 No", "404 No", "416 No", "429 Slow",
                                "500 No", "100 Continue", "200", "999 \x1b[2J",
                                "-1 x"])  # fmt: skip
        lines = [f"HTTP/1.{choose.choice('019')} {status}"]
        lines += [self._header() for _ in range(choose.randrange(5))]
        out.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n")
        for _ in range(choose.randrange(4)):
            out.write(self._piece())
        if choose.random() < 0.1:  # a stall or a drip
            for _ in range(20):
                out.write(b"1")
                out.flush()
                time.sleep(0.03)
        if choose.random() < 0.1:
            for _ in range(3000):
                out.write(ZEROS)

    def _header(self) -> str:
        choose, here = self._choose, self._registry.address
        number = choose.choice(["0", "1", "100", "-1", "+5", "1e9", "9" * 30, "5, 5", "", "0x5"])
        target = choose.choice([
            "/v2/app/manifests/latest", "http://[/x", "//", "", "https://", f"//{here}/x", "?",
            f"http://{here}/v2/app/manifests/latest", "file:///etc/passwd", "\x7f", "http://a:b/",
        ])  # fmt: skip
        realm = choose.choice(
            [f"http://{here}/token", "http://[/x", "ftp://x", "https://", "x" * 9000]
        )
        return choose.choice([
            f"Content-Length: {number}", "Transfer-Encoding: chunked", "Content-Encoding: gzip",
            "Transfer-Encoding: gzip, chunked", f"Location: {target}",
            f'WWW-Authenticate: Bearer realm="{realm}",service="x"', "WWW-Authenticate: Basic",
            "WWW-Authenticate: " + '="\\' * 2000, f"Content-Range: bytes {number}-9/{number}",
            "Retry-After: 0", f"Retry-After: {number}", "Connection: keep-alive", "no colon",
            f"Docker-Content-Digest: sha256:{number}", "Content-Type: \xff", "A: " + "b" * 70_000,
            "Content-Type: application/vnd.oci.image.index.v1+json", "Set-Cookie: a=b",
        ])  # fmt: skip

    def _piece(self) -> bytes:
        choose = self._choose
        size = choose.choice([b"-1", b"5", b"ffffffffffffffff", b"0", b"5;x", b"", b"+5", b"5_0"])
        return choose.choice([
            size + b"\r\n", b"hello\r\n", b'{"schemaVersion":2,"manifests":[]}', b"{}", b"[" * 5000,
            b'{"token":"\\ud800"}', b'{"token":5}', ZEROS, b"\x1f\x8b" + ZEROS, b"\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n", choose.randbytes(50),
        ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_registries(liar: LyingRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (wire, connections):
        monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("toolkit.images.transports.registry.sockets._TICK", 0.05)

    def one(choose: random.Random) -> None:
        script: Answer = Script(liar, choose)
        monkeypatch.setattr(liar, "handle", script)
        read_image(f"{liar.address}/app")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = attempts("a registry", one)
    gc.collect()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < _MEMORY
    assert ROUNDS < 100 or len(told) > 15, "answers so tame prove nothing"


# Archives


def lied(choose: random.Random, value: Any) -> Any:
    """The document with one of its values, at any depth, changed for another."""
    if isinstance(value, dict) and value and choose.random() < 0.9:
        key = choose.choice(list(value))
        return {**value, key: lied(choose, value[key])}
    if isinstance(value, list) and value and choose.random() < 0.9:
        at = choose.randrange(len(value))
        return [*value[:at], lied(choose, value[at]), *value[at + 1 :]]
    return choose.choice([
        None, True, -1, 1 << 70, 1.5, "", "x" * 5000, "../../etc/passwd", "\x1b[2J", "\0", [], {},
        [[[]]], {"": {}}, "sha256:" + "0" * 64, "sha256:..", value, [value] * 3,
    ])  # fmt: skip


def lying_tar(choose: random.Random, files: dict[str, bytes]) -> bytes:
    """The files in a tar, with headers that lie here and there, their checksums right."""
    out = io.BytesIO()
    for name, data in files.items():
        info = entry(name)
        info.size = len(data)
        if choose.random() < 0.1:
            info.pax_headers = {
                choose.choice(["size", "path", "linkpath", "mtime", "GNU.sparse.map", "uid",
                               "GNU.sparse.major", "GNU.sparse.realsize", "x"]):
                choose.choice(["-1", "9" * 5000, "0,5,3", "1", "..", "a" * 5000, "1.5.5", "\0"])
            }  # fmt: skip
        header = bytearray(info.tobuf(tarfile.PAX_FORMAT))
        if choose.random() < 0.3:
            fields = [(124, 12), (156, 1), (0, 100), (157, 100), (257, 8), (345, 155), (136, 12),
                      (386, 97), (482, 1), (483, 12)]  # fmt: skip
            at, size = choose.choice(fields)
            junk = choose.choice([
                b"7" * 11, b"\x80" + bytes(9) + b"\xff", b"\xff" * 12, b"x", b"g", b"L", b"S", b"2",
                b"1", b"9" * 12, b"", choose.randbytes(size), b"a/" * 50, b"../x",
            ])  # fmt: skip
            header[-512 + at : -512 + at + size] = junk[:size].ljust(size, b"\0")
            header[-512 + 148 : -512 + 156] = b" " * 8
            header[-512 + 148 : -512 + 156] = b"%06o\0 " % sum(header[-512:])
        out.write(bytes(header) + data + bytes(-len(data) % 512))
        if choose.random() < 0.03:
            out.write(bytes(512))
    tar = out.getvalue() + bytes(1024 * choose.randrange(2))
    return tar[: choose.randrange(len(tar))] if choose.random() < 0.1 else tar


def documents(choose: random.Random, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files, some of those that are JSON with a lie."""
    changed = dict(files)
    for name, data in files.items():
        if data[:1] in b"[{" and choose.random() < 0.3:
            changed[name] = json.dumps(lied(choose, json.loads(data))).encode()
    return changed


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_archives(layout: Layout, tmp_path: Path, transport: str) -> None:
    layout.write(on(layout.manifest(), "amd64"))
    tar = tar_of({"one": b"1"})
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [sha256(tar)]}}
    saved = [{"Config": "config.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]}]
    files = {
        "l.tar": tar, "config.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(saved).encode(),
    }  # fmt: skip
    if transport == "oci-archive":
        paths = [path for path in layout.path.rglob("*") if path.is_file()]
        files = {str(path.relative_to(layout.path)): path.read_bytes() for path in paths}
    path = tmp_path / "a.tar"

    def one(choose: random.Random) -> None:
        path.write_bytes(lying_tar(choose, documents(choose, files)))
        read_image(f"{transport}:{path}")

    told = attempts(transport, one, 10 * ROUNDS)
    assert ROUNDS < 100 or len(told) > 15, "archives so tame prove nothing"
