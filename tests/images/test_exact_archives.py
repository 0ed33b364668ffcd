"""Archives and engines at their limits, at each value and one beyond."""

from __future__ import annotations

import bz2
import gzip
import http.client
import io
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from false_server import serving_socket
from images_support import answer
from layout import entry, file, hard_link, symlink, tar_of
from registry_support import Authority

from toolkit.errors import AbsentError, DamagedError, DockercError, RefusedError, UsageError
from toolkit.files import disk_space
from toolkit.images.auth.access import Credentials
from toolkit.images.reference import parse_reference
from toolkit.images.transports import docker_engine, tarball
from toolkit.images.transports.docker_engine import Engine, EngineAddress, read_message
from toolkit.images.transports.registry import retry
from toolkit.images.transports.registry.challenge import parse_challenge
from toolkit.images.transports.registry.retry import Attempts
from toolkit.images.transports.tarball import Tarball, open_tarball

DATA = bytes(range(256)) * 4


def opened(*made: Any) -> Tarball:
    return Tarball(io.BytesIO(tar_of(*made)), "it")


def is_taken(*made: Any) -> bool:
    try:
        opened(*made)
    except RefusedError:
        return False
    return True


def test_members_and_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [file("aa"), symlink("bb", "target"), hard_link("cc", "aa")]
    monkeypatch.setattr(tarball, "_MEMBER_LIMIT", 3)
    assert is_taken(*made) and not is_taken(*made, file("d"))
    monkeypatch.setattr(tarball, "_MEMBER_LIMIT", 9)
    monkeypatch.setattr(tarball, "_NAMES_LIMIT", len("aabbtargetccaa"))
    assert is_taken(*made) and not is_taken(*made, file("d"))


def test_links_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "_LINK_LIMIT", 3)
    archive = opened(
        file("d/f", b"data"), symlink("2", "d/f"), symlink("1", "2"), symlink("0", "1"),
        hard_link("e/hard", "d/f"), symlink("d/up", "../e/./hard"), symlink("loop", "loop"),
    )  # fmt: skip
    for name in ("d/f", "2", "1", "e/hard", "d/up", "./d//f"):
        assert archive.read(name) == b"data" and archive.size(name) == 4
    for name in ("0", "loop", "none", "d"):
        assert archive.size(name) is None
        with pytest.raises(AbsentError, match=f"it lacks '{name}'"):
            archive.open(name)


def test_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarball, "MAX_DOCUMENT", 10)
    archive = opened(file("fits", b"x" * 10), file("large", b"x" * 11))
    assert archive.read("fits") == b"x" * 10
    with pytest.raises(RefusedError, match="has 11 bytes"):
        archive.read("large")
    with archive.open("large") as member:
        assert member.read() == b"x" * 11


def test_members_are_read_at_random_and_by_many() -> None:
    archive = opened(file("a", DATA), file("b", DATA[::-1]), file("c", b""))
    with archive.open("a") as first, archive.open("b") as second, archive.open("c") as third:
        assert (first.read(3), second.read(3), first.read(2)) == (DATA[:3], DATA[:-4:-1], DATA[3:5])
        assert first.read() == DATA[5:] and first.read(1) == b"" and third.read() == b""
        assert second.readable() and len(second.read(5000)) == len(DATA) - 3


@pytest.mark.parametrize("cut", [1, 511, 513])
def test_archives_that_are_cut(cut: int) -> None:
    data = tar_of(file("a", DATA), file("b", b"x" * 512))
    whole = len(DATA) + 3 * 512
    assert Tarball(io.BytesIO(data[:whole]), "it").size("b") == 512
    with pytest.raises(DamagedError, match=r"truncated: 'b' ends|in the middle of an entry"):
        Tarball(io.BytesIO(data[: whole - cut]), "it")
    with pytest.raises(DamagedError):
        Tarball(io.BytesIO(b""), "it")


def test_devices_and_directories_are_no_files() -> None:
    archive = opened(entry("d", b"5"), entry("p", b"6"))
    assert archive.size("d") is None and archive.size("p") is None


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress,
    "two xz": lambda data: lzma.compress(data[:999]) + bytes(8) + lzma.compress(data[999:]),
    "two gzip": lambda data: gzip.compress(data[:999]) + gzip.compress(data[999:]),
}  # fmt: skip


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("piece", [7, 1 << 20])
def test_every_compression_and_pipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packer: str, piped: bool, piece: int
) -> None:
    monkeypatch.setattr(tarball, "_PIECE", piece)
    path = tmp_path / "archive"
    data = PACKERS[packer](tar_of(file("a", DATA)))
    if not piped:
        path.write_bytes(data)
        with open_tarball(str(path)) as archive:
            assert archive.read("a") == DATA
        return
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    with open_tarball(str(path)) as archive:
        assert archive.read("a") == DATA
    writer.join()


@pytest.mark.parametrize("packer", ["gzip", "bzip2", "xz"])
def test_compressed_archives_that_are_cut(tmp_path: Path, packer: str) -> None:
    data = PACKERS[packer](tar_of(file("a", os.urandom(5000))))
    (tmp_path / "a").write_bytes(data[:-20])
    with pytest.raises(DockercError, match="cannot read"), open_tarball(str(tmp_path / "a")):
        raise AssertionError


def test_what_an_archive_may_expand_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar_of(file("a", bytes(20_000)))
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(data))
    monkeypatch.setattr(tarball, "_MAX_RATIO", 0)
    for free, is_read in ((len(data), True), (len(data) - 1, False)):
        monkeypatch.setattr(tarball, "_FREE_SIZE", free)
        if is_read:
            with open_tarball(str(path)) as archive:
                assert archive.size("a") == 20_000
        else:
            with pytest.raises(RefusedError, match="for an attack"), open_tarball(str(path)):
                raise AssertionError
    # Each byte that is stored allows for so many more.
    monkeypatch.setattr(tarball, "_FREE_SIZE", 0)
    monkeypatch.setattr(tarball, "_MAX_RATIO", -(-len(data) // path.stat().st_size))
    with open_tarball(str(path)) as archive:
        assert archive.size("a") == 20_000


def test_room_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tar_of(file("a", bytes(20_000)))
    (tmp_path / "a").write_bytes(gzip.compress(data))
    usage = disk_space.shutil.disk_usage(tmp_path)
    for free, fits in ((len(data), True), (len(data) - 1, False)):
        left = usage._replace(free=free + tarball._SPARE_ROOM)
        monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _, left=left: left)
        if fits:
            with open_tarball(str(tmp_path / "a")) as archive:
                assert archive.size("a") == 20_000
        else:
            with (
                pytest.raises(RefusedError, match="no room to unpack"),
                open_tarball(str(tmp_path / "a")),
            ):
                raise AssertionError


# Engines


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("tcp://h", "h", 2375), ("http://h", "h", 2375), ("https://h", "h", 2376),
        ("tcp://h:99", "h", 99), ("https://h:99", "h", 99), ("tcp://[::1]", "::1", 2375),
    ],
)  # fmt: skip
def test_ports_of_engines(url: str, host: str, port: int) -> None:
    connection = docker_engine._connection(EngineAddress(url, None))
    assert (connection.host, connection.port, connection.timeout) == (host, port, 15)
    assert isinstance(connection, http.client.HTTPSConnection) is url.startswith("https")


@pytest.mark.parametrize("url", ["tcp://", "ssh://", "ftp://h", "h", "tcp://h:x", "", "https://"])
def test_addresses_of_engines_that_cannot_be_used(url: str) -> None:
    with pytest.raises(DockercError, match="is not one that dockerc can use"):
        docker_engine._connection(EngineAddress(url, None))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://h", ["--", "h", "docker"]),
        ("ssh://u@h", ["-l", "u", "--", "h", "docker"]),
        ("ssh://u@h:22/", ["-l", "u", "-p", "22", "--", "h", "docker"]),
        ("ssh://h/run/s", ["--", "h", "docker", "--host", "unix:///run/s"]),
    ],
)
def test_engines_by_ssh(url: str, words: list[str]) -> None:
    connection = docker_engine._connection(EngineAddress(url, None))
    command = ["ssh", "-T", "-o", "ConnectTimeout=30", *words, "system", "dial-stdio"]
    assert connection._command == command  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["ca.pem", "cert.pem", "key.pem"])
def test_certificates_for_an_engine(tmp_path: Path, authority: Authority, missing: str) -> None:
    certificate, key = authority.issue("client", "rsa")
    made = {"ca.pem": authority.certificate, "cert.pem": certificate, "key.pem": key}
    for name, source in made.items():
        (tmp_path / name).write_bytes(Path(source).read_bytes())
    assert docker_engine._connection(EngineAddress("tcp://h", tmp_path)).port == 2376
    (tmp_path / missing).unlink()
    with pytest.raises(DockercError, match="cannot use ca"):
        docker_engine._connection(EngineAddress("tcp://h", tmp_path))


def test_an_engine_s_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    monkeypatch.setattr(http.client.HTTPConnection, "close", lambda self: closed.append(self))
    with Engine(EngineAddress("unix:///x", None)) as engine:
        assert closed == []
    assert closed == [engine._connection]


def test_what_an_engine_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "_MESSAGE_LIMIT", 20)
    for body, told in (
        (b'{"message": "no such\\nimage\\u001b"}', "no such image"),
        (b'{"message": "%s"}' % (b"x" * 30), "x" * 20), (b"{}", "418 I'm a Teapot"),
        (b"<html>", "418 I'm a Teapot"), (b"[]", "418 I'm a Teapot"),
    ):  # fmt: skip
        path = tmp_path / "s"
        address = EngineAddress(f"unix://{path}", None)
        with serving_socket(answer(418, body), path), Engine(address) as engine:
            assert read_message(engine.get("/x", {})) == told
        path.unlink()


# Attempts and challenges


class Stopped:
    """An event that is waited for in no time; `waits` are the seconds."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.is_set = False

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return self.is_set


def test_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: 1)
    stopped = Stopped()
    attempts = Attempts(stopped)  # type: ignore[arg-type]
    assert [attempts.again() for _ in range(5)] == [True] * 4 + [False]
    assert stopped.waits == [0.5, 1, 2, 4]
    attempts.renew()
    assert [attempts.again(cost=2) for _ in range(3)] == [True, True, False]
    assert stopped.waits[4:] == [0.5, 2]
    attempts.renew()
    longest = retry.LONGEST_PAUSE
    assert attempts.again("60") and not attempts.again(f"{longest + 1:.0f}")
    assert stopped.waits[6:] == [60]
    for after in ("", "-5", "x", "1.5", "٣", "Thu, 01 Jan 1970 00:00:00 GMT"):
        attempts.renew()
        assert attempts.again(after) and stopped.waits[-1] == 0.5
    assert not attempts.again("9" * 5000)
    attempts.renew()
    stopped.is_set = True
    assert not attempts.again()


@pytest.mark.parametrize(
    ("header", "scheme", "parameters"),
    [
        ('Bearer realm="https://a/b",service="s"', "bearer",
         {"realm": "https://a/b", "service": "s"}),
        ('  BASIC REALM = "a\\"b" , x=y', "basic", {"realm": 'a"b', "x": "y"}),
        ('Bearer a="", b=c d=e', "bearer", {"a": ""}),
        ("Negotiate", "negotiate", {}), ("", "", {}), ("Bearer =x", "bearer", {}),
    ],
)  # fmt: skip
def test_challenges(header: str, scheme: str, parameters: dict[str, str]) -> None:
    found = parse_challenge(header)
    assert (found.scheme, found.parameters) == (scheme, parameters)


def test_a_challenge_is_not_read_without_end() -> None:
    start = 'Bearer realm="'
    for length, is_read in ((8192, True), (8193, False)):
        header = start + "r" * (length - len(start) - 1) + '"'
        assert ("realm" in parse_challenge(header).parameters) is is_read


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("user", "secret"))


def test_the_longest_names() -> None:
    """255 bytes of name (distribution/reference), 128 of tag."""
    name = "r.example/" + "a" * (255 - len("r.example/"))
    assert parse_reference(f"{name}:{'t' * 128}")
    for wrong in (f"{name}a:t", f"{name}:{'t' * 129}"):
        with pytest.raises(UsageError):
            parse_reference(wrong)
