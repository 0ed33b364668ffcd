"""What is written is read back: the root's own entry, the depth of a tree, where space goes."""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from layout import directory, entry, file, noise, tar_of
from support import need
from tree_support import write_image

from toolkit.errors import AbsentError, RefusedError
from toolkit.layers.data_map import DataMap
from toolkit.layers.pack import pack_file
from toolkit.limits import MAX_DEPTH
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.read import filesystem as filesystem_module
from toolkit.squashfs.read import space_usage
from toolkit.squashfs.read.filesystem import Filesystem
from toolkit.squashfs.read.space_usage import space_of
from toolkit.squashfs.structs import COMPRESSION_NAMES, SUPERBLOCK_SIZE, InodeType, Superblock
from toolkit.squashfs.tree import Inode, new_directory
from toolkit.squashfs.write.image import write_squashfs
from toolkit.squashfs.write.rewrite import rewrite_file


@contextmanager
def image_of(place: Path, *layers: bytes) -> Iterator[Filesystem]:
    """The squashfs of these layers, in the directory rootfs."""
    write_image(list(layers), place / "image")
    with (place / "image").open("rb") as source:
        superblock = Superblock.decode(source.read(SUPERBLOCK_SIZE))
        yield Filesystem(source, 0, superblock)


def test_the_root_is_as_the_last_layer_describes_it(tmp_path: Path) -> None:
    first = tar_of(entry("./", tarfile.DIRTYPE, mode=0o711), file("a", b"a"))
    last = tar_of(entry("./", tarfile.DIRTYPE, mode=0o700, uid=5, gid=6, mtime=7))
    with image_of(tmp_path, first, last) as filesystem:
        root = filesystem.find(b"rootfs")
        assert root is not None
        assert (root.mode & 0o7777, root.uid, root.gid, root.mtime) == (0o700, 5, 6, 7)


def test_the_deepest_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_usage, "MAX_DEPTH", 4)
    assert MAX_DEPTH + len(["rootfs"]) == filesystem_module._MAX_DEPTH
    monkeypatch.setattr(filesystem_module, "_MAX_DEPTH", 4 + len(["rootfs"]))
    for depth, fits in ((4, True), (5, False)):
        layer = tar_of(directory("/".join("abcdefg"[:depth])))
        with image_of(tmp_path, layer) as filesystem:
            for read in (space_of, lambda image: list(image.walk(image.root))):
                if fits:
                    read(filesystem)
                else:
                    with pytest.raises(RefusedError, match="directories deep"):
                        read(filesystem)


def test_where_space_goes(tmp_path: Path) -> None:
    block = 1 << 16
    contents = {
        "top": noise(10, 1), "a/one": noise(block, 2), "a/b/two": noise(2 * block + 9, 3),
        "c/hole": bytes(3 * block) + b"x",
    }  # fmt: skip
    layer = tar_of(*(file(name, data) for name, data in contents.items()))
    with image_of(tmp_path, layer) as filesystem:
        space = space_of(filesystem)
    sizes = {f"/rootfs/{name}".encode(): len(data) for name, data in contents.items()}
    assert {share.path: share.size for share in space.largest} == sizes
    assert (space.total.files, space.total.size) == (4, sum(sizes.values()))
    assert space.holes == 3 * block
    assert {share.path: (share.files, share.size) for share in space.directories} == {
        b"/": (1, 10), b"/rootfs/a": (2, 3 * block + 9), b"/rootfs/c": (1, 3 * block + 1),
    }  # fmt: skip
    # Random bytes do not compress: each block is stored as it is.
    assert block * 3 < sum(share.stored for share in space.directories) == space.total.stored
    assert space.total.stored < block * 3 + 1000


BLOCK = 1 << 16


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_file_that_is_rewritten(tmp_path: Path, size: int) -> None:
    contents, new = {b"kept": noise(70_000, 6), b"name": b"old"}, noise(size, 5)
    root = new_directory()
    root.children, packs = {}, []
    with (
        Compressor(1) as compressor,
        (tmp_path / "image").open("w+b") as image,
        (tmp_path / "new").open("w+b") as out,
        contextlib.ExitStack() as stack,
    ):
        for number, (name, data) in enumerate(contents.items()):
            scratch = stack.enter_context((tmp_path / f"{number}").open("w+b"))
            pack, content = pack_file(data, number, scratch, compressor, BLOCK)
            root.children[name] = Inode(InodeType.FILE, 0o644, content=content)
            packs.append(pack)
        old = write_squashfs(
            image, root, DataMap(packs, BLOCK), block_size=BLOCK, level=1, mkfs_time=9
        )
        filesystem = Filesystem(image, 0, old)
        with pytest.raises(AbsentError, match="has no file absent"):
            rewrite_file(filesystem, image, 0, b"absent", new, out)
        out.write(b"before it")
        superblock = rewrite_file(filesystem, image, 0, b"name", new, out)
        assert out.tell() == len(b"before it") + superblock.bytes_used
        out.seek(len(b"before it"))
        assert Superblock.decode(out.read(SUPERBLOCK_SIZE)) == superblock
        assert (superblock.mkfs_time, superblock.block_size) == (9, BLOCK)
        rewritten = Filesystem(out, len(b"before it"), superblock)
        for name, data in {**contents, b"name": new}.items():
            node = rewritten.find(name)
            assert node is not None and rewritten.read(node, len(data)) == data


@pytest.mark.parametrize("size", ["4K", "1M"])
@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd"])
def test_what_mksquashfs_writes(tmp_path: Path, compression: str, size: str) -> None:
    need("mksquashfs")
    data = b"".join(b"%d\n" % n for n in range(300_000))
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(data)
    words = ["mksquashfs", tmp_path / "tree", tmp_path / "image", "-quiet", "-no-progress"]
    subprocess.run([*words, "-comp", compression, "-b", size], check=True)
    with (tmp_path / "image").open("rb") as source:
        superblock = Superblock.decode(source.read(SUPERBLOCK_SIZE))
        filesystem = Filesystem(source, 0, superblock)
        node = filesystem.find(b"file")
        assert node is not None and filesystem.read(node, len(data)) == data
    assert COMPRESSION_NAMES[superblock.compression] == compression


def test_extended_attributes(tmp_path: Path) -> None:
    given = {"user.a": "1", "user.long": "v" * 5000, "security.b": "", "trusted.c": "3"}
    layer = tar_of(
        file("few", b"", pax_headers={"SCHILY.xattr.user.a": "1"}),
        file("many", b"", pax_headers={f"SCHILY.xattr.{k}": v for k, v in given.items()}),
        file("none", b""),
    )
    with image_of(tmp_path, layer) as filesystem:
        for name, expected in (("few", {"user.a": "1"}), ("many", given), ("none", {})):
            node = filesystem.find(f"rootfs/{name}".encode())
            assert node is not None
            found = {key.decode(): value.decode() for key, value in filesystem.xattrs(node)}
            assert found == expected
