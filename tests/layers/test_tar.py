"""The tar reader, judged by GNU tar and Python's tarfile as writers."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from layout import directory, entry, file, symlink, tar_of
from support import need

from toolkit.errors import DockercError
from toolkit.layers.tar import TarEntry, TarReader


class Bytes:
    """A stream over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise DockercError("cut short")
        return data

    def skip(self, size: int) -> None:
        self.read(size)

    def discard(self, size: int) -> None:
        self._file.read(size)

    def at_end(self) -> bool:
        return self.stored == len(self._file.getbuffer())

    @property
    def stored(self) -> int:
        return self._file.tell()


def read(data: bytes, block: int = 4096) -> Iterator[tuple[TarEntry, bytes]]:
    reader = TarReader(Bytes(data))
    for item in reader:
        if item.type != tarfile.REGTYPE[0]:
            yield item, b""
            continue
        content = bytearray()
        for piece in reader.blocks(item, block):
            hole = piece * block if isinstance(piece, int) else 0
            content += bytes(min(hole, item.size - len(content))) if hole else piece
        yield item, bytes(content)


names = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(names.map(lambda name: name[:250]), min_size=1, max_size=5),
    st.binary(max_size=2000),
    st.integers(0, 1 << 40),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_names_contents_and_numbers_come_back(
    parts: list[str], data: bytes, number: int, form: int
) -> None:
    name = "/".join(parts)
    info = entry(name, uid=number, gid=number, mtime=number, mode=0o4751)
    info.size = len(data)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        archive.addfile(info, io.BytesIO(data))
    ((item, content),) = read(buffer.getvalue())
    assert (item.name, content) == (name.encode("utf-8", "surrogateescape"), data)
    assert (item.uid, item.gid, item.mtime, item.mode) == (number, number, number, 0o4751)


SPARSE = {
    "gnu": ["--format=gnu"],
    "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "--sparse-version=1.0"],
}


@pytest.mark.parametrize("form", SPARSE)
@pytest.mark.parametrize("segments", [1, 3, 4, 5, 26, 60])
def test_sparse_files_of_gnu_tar(tmp_path: Path, form: str, segments: int) -> None:
    need("tar")
    path = tmp_path / "sparse"
    with path.open("wb") as sparse:
        for number in range(segments):
            sparse.seek(number * 100_000 + 4096)
            sparse.write(b"%d" % number * 1000)
        sparse.truncate(segments * 100_000 + 12_345)
    tar = ["tar", "-C", tmp_path, "-cS", *SPARSE[form], "sparse"]
    data = subprocess.run(tar, check=True, capture_output=True).stdout
    assert len(data) < path.stat().st_size, "GNU tar did not store it sparsely"
    for block in (4096, 131072):
        ((item, content),) = read(data, block)
        assert item.name == b"sparse"
        assert content == path.read_bytes()


def test_a_sparse_file_of_many_gigabytes_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as sparse:
        sparse.truncate(5 << 30)
    tar = ["tar", "-C", tmp_path, "-cS", "--format=posix", "huge"]
    data = subprocess.run(tar, check=True, capture_output=True).stdout
    reader = TarReader(Bytes(data))
    (item,) = [
        item for item in reader if all(isinstance(b, int) for b in reader.blocks(item, 1 << 20))
    ]
    assert item.size == 5 << 30


def test_gnu_tar_and_names_in_latin_1(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9-" + b"x" * 150
    with open(path, "wb") as latin:
        latin.write(b"data")
    for form in ("gnu", "posix"):
        tar = ["tar", "-C", tmp_path, "-c", f"--format={form}", "."]
        data = subprocess.run(tar, check=True, capture_output=True).stdout
        found = {item.name: content for item, content in read(data)}
        assert found[b"./caf\xe9-" + b"x" * 150] == b"data"


def test_an_empty_tar_and_one_cut_short() -> None:
    assert list(read(bytes(1024))) == list(read(b"")) == []
    data = tar_of(file("a", b"x" * 1000))
    for end in range(100, 1536, 100):
        with pytest.raises(DockercError):
            list(read(data[:end]))


@pytest.mark.parametrize("end", [1512, 1530, 1536, 2048, 2560])
def test_the_end_of_a_tar_may_be_missing(end: int) -> None:
    # Without its last padding, a part of that, both blocks of zeros, one of them.
    data = tar_of(file("a", b"x" * 1000))
    assert [content for _, content in read(data[:end])] == [b"x" * 1000]


def test_what_only_looks_like_an_end_is_none() -> None:
    data = tar_of(file("a", b"x"))
    with pytest.raises(DockercError, match="lone block"):
        list(read(data[:1024] + bytes(512) + data[:1024]))


def test_an_empty_pax_value_takes_back_what_was_said() -> None:
    records = b"8 uid=5\n7 uid=\n"
    ((item, _),) = read(tar_of((entry("pax", b"x"), records), entry("a", uid=7)))
    assert item.uid == 7


def test_a_wrong_checksum_is_told() -> None:
    data = bytearray(tar_of(file("a", b"x")))
    data[10] ^= 1
    with pytest.raises(DockercError, match="checksum"):
        list(read(bytes(data)))


def test_a_sparse_claim_of_ten_terabytes_is_refused() -> None:
    info = entry("bomb", pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(10 << 40)})
    with pytest.raises(DockercError, match="sparse"):
        list(read(tar_of(info)))


SEED = tar_of(
    directory("dir"),
    file("dir/file", b"content" * 100, pax_headers={"SCHILY.xattr.user.a": "b"}),
    symlink("link", "dir/" + "long" * 40),
    entry("sparse", pax_headers={"GNU.sparse.map": "0,0,512,0", "GNU.sparse.size": "1024"}),
)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), max_size=6))
@example([(512 + 124, 192)])  # an extended header of fewer than no bytes
def test_a_mutated_tar_is_read_or_refused_with_a_sentence(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SEED)
    for position, value in changes:
        data[position] = value
    for start in range(0, len(data), 512):  # right checksums, so that the rest is reached
        header = data[start : start + 512]
        if header[257:262] == b"ustar":
            header[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    try:
        total = sum(len(content) for _, content in read(bytes(data), 1 << 20))
    except DockercError:
        return
    assert total <= 1 << 24
