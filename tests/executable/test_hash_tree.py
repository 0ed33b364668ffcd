"""The hash tree: dm-verity's own tool finds it right, and every changed byte is found."""

from __future__ import annotations

import hashlib
import io
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import need

from toolkit.executable.executable import open_executable
from toolkit.executable.hash_tree import (
    BLOCK,
    Difference,
    check_hash_tree,
    shape_of,
    write_hash_tree,
)

SALT = bytes(range(32))


def veritysetup(data: Path, tree: Path, blocks: int, salt: bytes, root: bytes) -> int:
    """The status of cryptsetup's own check."""
    need("veritysetup")
    command = [
        "veritysetup", "verify", "--no-superblock", "--format=1", "--hash=sha256",
        "--data-block-size=4096", "--hash-block-size=4096", f"--data-blocks={blocks}",
        f"--salt={salt.hex()}", data, tree, root.hex(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True).returncode


@pytest.mark.parametrize("size", [1, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 128 * 128 * 4096 + 9])
def test_veritysetup_agrees(tmp_path: Path, size: int) -> None:
    """From one block, which needs no tree, to three levels."""
    shape = shape_of(size)
    content = hashlib.shake_128(b"x").digest(min(size, 70_000))
    with (tmp_path / "app").open("w+b") as file:
        file.write(bytes(8192) + content)
        file.truncate(8192 + shape.blocks * BLOCK)
        hashed = write_hash_tree(file, 8192, size, SALT)
        assert file.tell() == 8192 + shape.blocks * BLOCK + shape.size
        file.seek(8192)
        payload = file.read(shape.blocks * BLOCK)
        tree = file.read()
    assert len(tree) == shape.size and hashed.digest == hashlib.sha256(payload[:size]).digest()
    (tmp_path / "data").write_bytes(payload)
    (tmp_path / "tree").write_bytes(tree)
    place = (tmp_path / "data", tmp_path / "tree", shape.blocks, SALT)
    assert veritysetup(*place, hashed.root) == 0
    assert veritysetup(*place, bytes(32)) != 0


def test_veritysetup_agrees_about_an_executable(hello: Path, tmp_path: Path) -> None:
    with open_executable(hello) as executable:
        part = executable.signed_block
        assert part is not None
        data = hello.read_bytes()
        start, tree, end = executable.footer.offset, executable.tree_offset, executable.block_offset
    (tmp_path / "data").write_bytes(data[start:tree])
    (tmp_path / "tree").write_bytes(data[tree:end])
    place = (tmp_path / "data", tmp_path / "tree", (tree - start) // BLOCK, part.payload.salt)
    assert veritysetup(*place, part.payload.root) == 0


@given(st.integers(1, 300 * BLOCK), st.data())
def test_every_changed_byte_is_found(size: int, data: st.DataObject) -> None:
    shape = shape_of(size)
    whole = bytearray(shape.blocks * BLOCK)
    whole[:size:97] = bytes(index % 251 for index in range(len(whole[:size:97])))
    file = io.BytesIO(whole)
    hashed = write_hash_tree(file, 0, size, SALT)
    *differences, digest = check_hash_tree(file, 0, size, SALT, hashed.root)
    assert not differences and digest == hashlib.sha256(whole[:size]).digest()
    length = shape.blocks * BLOCK + shape.size
    at = data.draw(st.integers(0, length - 1))
    changed = bytearray(file.getvalue())
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    first, *_ = check_hash_tree(io.BytesIO(changed), 0, size, SALT, hashed.root)
    in_tree = at >= shape.blocks * BLOCK
    number = (at - shape.blocks * BLOCK if in_tree else at) // BLOCK
    assert first == Difference(in_tree, number)


def test_a_tree_that_is_cut_short() -> None:
    file = io.BytesIO(bytes(2 * BLOCK))
    with pytest.raises(OSError, match="shorter"):
        list(check_hash_tree(file, 0, 2 * BLOCK, SALT, bytes(32)))
