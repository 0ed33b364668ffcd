"""Images that are awkward to merge, each a list of layers, lowest first."""

from __future__ import annotations

import tarfile

from layout import directory, entry, file, hard_link, symlink, tar_of

GNU = tarfile.GNU_FORMAT
CHAR, BLOCK, FIFO = tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE


def sparse(segments: str) -> dict[str, str]:
    """The headers of a file of three million bytes with data there (GNU's format 0.1)."""
    count = str(len(segments.split(",")) // 2)
    return {"GNU.sparse.size": "3000000", "GNU.sparse.numblocks": count, "GNU.sparse.map": segments}


BASE = tar_of(
    directory("./"),
    directory("etc/"),
    file("etc/a", b"a" * 3000),
    file("etc/b", b"b"),
    directory("dir"),
    file("dir/one", b"1", mode=0o640, uid=5, gid=6),
    file("dir/two", b"2"),
    directory("dir/sub", mode=0o700),
    file("dir/sub/three", b"3"),
    symlink("to-dir", "dir"),
    symlink("to-root", "/dir/sub"),
)

CORPUS: dict[str, list[bytes]] = {
    "types and modes": [
        tar_of(
            directory("d", mode=0o1777),
            file("d/suid", b"x", mode=0o4755),
            file("d/sgid", b"x", mode=0o2755, uid=1000, gid=65534),
            file("d/none", b"x", mode=0),
            entry("d/null", CHAR, devmajor=1, devminor=3, mode=0o666),
            entry("d/disk", BLOCK, devmajor=259, devminor=70000, mode=0o660, gid=6),
            entry("d/fifo", FIFO, mode=0o600),
            symlink("d/dangling", "/nowhere/at/all"),
            file("d/empty"),
        )
    ],
    "times": [
        tar_of(
            directory("d", mtime=1),
            file("d/epoch", mtime=0),
            file("d/fraction", pax_headers={"mtime": "1234567890.987654321"}),
            file("d/late", mtime=4_000_000_000),
        )
    ],
    "extended attributes": [
        tar_of(
            directory("d", pax_headers={"SCHILY.xattr.user.dir": "yes"}),
            file(
                "d/capable",
                b"x",
                pax_headers={
                    "SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0"
                    "\0\0\0\0"
                },
            ),
            file("d/many", pax_headers={f"SCHILY.xattr.user.{n}": "v" * n for n in range(10, 40)}),
            file("d/same", pax_headers={f"SCHILY.xattr.user.{n}": "v" * n for n in range(10, 40)}),
            file("d/large", pax_headers={"SCHILY.xattr.user.large": "v" * 3000}),
        )
    ],
    # Apart from the others because squashfuse 0.1 gives user.2's value for user.29.
    "extended attributes whose names begin alike": [
        tar_of(file("a", pax_headers={f"SCHILY.xattr.user.{n}": "v" * n for n in range(1, 30)}))
    ],
    "names": [
        tar_of(
            directory("./dot"),
            file("./dot/./file", b"1"),
            file("/absolute/file", b"2"),
            file("implicit/parents/of/file", b"3"),
            file("dot/" + "n" * 255, b"4"),
            file("dot/new\nline", b"5"),
            file("/".join(["deep"] * 60), b"6"),
            file("up/../dot/above", b"7"),
        )
    ],
    "names in Latin-1": [
        tar_of(
            directory("d\udce9"), file("d\udce9/caf\udce9", b"1"), symlink("l\udcff", "caf\udce9")
        ),
        tar_of(file("d\udce9/\udcfc", b"2"), hard_link("h\udce9", "d\udce9/caf\udce9"), form=GNU),
    ],
    "headers of GNU tar": [
        tar_of(
            directory("long/" + "d" * 120),
            file("long/" + "d" * 120 + "/" + "f" * 150, b"1"),
            symlink("l", "t" * 300),
            hard_link("h" * 130, "long/" + "d" * 120 + "/" + "f" * 150),
            file("owned by large numbers", uid=3_000_000, gid=2**31 + 5),
            form=GNU,
        )
    ],
    "sparse files": [
        tar_of(
            file("sparse", b"x" * 6000, pax_headers=sparse("8192,4000,2000000,2000")),
            # The same bytes elsewhere: no twins.
            file("early", b"y" * 4000, pax_headers=sparse("524288,4000")),
            file("late", b"y" * 4000, pax_headers=sparse("1048576,4000")),
        )
    ],
    "hard links": [
        tar_of(
            file("a", b"linked" * 1000),
            hard_link("b", "a"),
            directory("d"),
            hard_link("d/c", "./b"),
        ),
        tar_of(hard_link("d/e", "a"), hard_link("f", "d/c")),
        tar_of(entry(".wh.a"), file("b", b"new")),
    ],
    "hard link to a symlink": [tar_of(symlink("s", "a"), hard_link("s2", "s"))],
    "hard link to a later deleted file": [
        tar_of(file("a", b"kept")),
        tar_of(hard_link("b", "a")),
        tar_of(entry(".wh.a")),
    ],
    "whiteouts": [
        BASE,
        tar_of(entry("etc/.wh.a"), entry(".wh.to-dir"), entry(".wh.missing")),
        tar_of(entry(".wh.dir")),
    ],
    "whiteout of what the layer re-creates": [
        BASE,
        tar_of(
            file("dir/one", b"new"),
            entry("dir/.wh.one"),
            entry("dir/.wh.two"),
            file("dir/two", b"new too"),
        ),
    ],
    "whiteout of a directory that the layer re-creates": [
        BASE,
        tar_of(entry(".wh.dir"), directory("dir", mode=0o711), file("dir/new", b"n")),
    ],
    "opaque root": [BASE, tar_of(entry(".wh..wh..opq"), file("new", b"n"))],
    "opaque directory first": [
        BASE,
        tar_of(directory("dir"), entry("dir/.wh..wh..opq"), file("dir/new", b"n")),
    ],
    "opaque directory last": [
        BASE,
        tar_of(directory("dir"), file("dir/new", b"n"), entry("dir/.wh..wh..opq")),
    ],
    "opaque directory of a sub-directory that stays": [
        BASE,
        tar_of(
            directory("dir"),
            entry("dir/.wh..wh..opq"),
            directory("dir/sub", mode=0o711),
            file("dir/sub/four", b"4"),
        ),
    ],
    "directory becomes a file, a symlink, and one again": [
        BASE,
        tar_of(file("dir", b"a file now")),
        tar_of(symlink("dir", "etc")),
        tar_of(directory("dir"), file("dir/new", b"n")),
    ],
    "file becomes a directory": [BASE, tar_of(directory("etc/a"), file("etc/a/b", b"x"))],
    "directory gets other attributes": [BASE, tar_of(directory("dir", mode=0o1711, uid=9, gid=8))],
    "through a symlink to a directory": [
        BASE,
        tar_of(file("to-dir/new", b"n"), file("to-root/deep", b"d"), entry("to-dir/.wh.one")),
    ],
    "through symlinks that start deep down": [
        tar_of(
            directory("etc"),
            directory("a"),
            directory("a/b"),
            symlink("a/b/absolute", "/etc"),
            symlink("a/b/relative", "../../etc/./."),
            symlink("a/b/chain", "absolute"),
        ),
        tar_of(
            file("a/b/absolute/one", b"1"),
            file("a/b/relative/two", b"2"),
            file("a/b/chain/three", b"3"),
        ),
    ],
    "symlink replaced by a directory": [
        BASE,
        tar_of(directory("to-dir"), file("to-dir/new", b"n")),
    ],
    "a name twice in one layer": [tar_of(file("a", b"first"), file("a", b"second", mode=0o600))],
    "the root's own attributes": [tar_of(directory("./", mode=0o711, uid=3, gid=4))],
    "an empty layer between": [BASE, tar_of(), tar_of(file("etc/c", b"c"))],
    "sizes around a block": [
        tar_of(
            *(
                file(f"size-{size}", (b"%d " % size * size)[:size])
                for block in (4096, 1 << 17, 1 << 19, 1 << 20)
                for size in (block - 1, block, block + 1, 2 * block + 17)
            ),
            file("zeros", bytes(3 << 20)),
            file("ends in zeros", b"x" * (1 << 20) + bytes(1 << 20)),
            file("twin of zeros", bytes(3 << 20)),
            file("twin", (b"524288 " * 524288)[:524288]),
        )
    ],
    "nothing but zeros": [tar_of(file("a", bytes(5000)), file("b", bytes(1)), file("c", bytes(1)))],
    "hundreds of names": [
        tar_of(
            directory("d"),
            *(file(f"d/{n:04}-{'x' * (n % 90)}", b"%d" % n) for n in range(3000)),
            *(directory(f"d/z{n:03}") for n in range(300)),
        )
    ],
}
