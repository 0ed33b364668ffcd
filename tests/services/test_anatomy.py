"""What a page of `inspect --html` is made from: owners, waste, equal files, and bounds."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from layout import directory, file, hard_link, noise, tar_of, write_layout
from packages_support import ndb, rpm_header, source
from support import dockerc, failed

from toolkit.errors import RefusedError
from toolkit.executable.executable import open_executable
from toolkit.images.open import open_image
from toolkit.images.source import Platform
from toolkit.packages import owners
from toolkit.packages.rpm import header
from toolkit.services import anatomy as module
from toolkit.services.anatomy import anatomy
from toolkit.services.image_files import executable_files, image_files
from toolkit.services.sbom.bill import bill_of_executable, bill_of_image


class Silent:
    def task(self, name: str, total: int | None) -> Any:
        from contextlib import nullcontext

        return nullcontext(lambda _: None)

    def note(self, text: str) -> None:
        pass


def anatomy_of(layout: Path) -> dict[str, Any]:
    with (
        open_image(f"oci:{layout}", Platform("linux", "amd64")) as image,
        image_files(image, None, Silent()) as files,
    ):
        return anatomy(files, bill_of_image(image, files))


def owners_of(found: dict[str, Any]) -> dict[str, str]:
    """Of each name the package."""
    names = found["names"].split("\n")
    return {
        name: found["ownerNames"][number]
        for name, number in zip(names, found["owners"], strict=True)
        if number >= 0
    }


def test_whose_files_are(tmp_path: Path) -> None:
    # Names of two directories, and of three files with the number of the directory of each.
    texts = {1000: "bash", 1001: "5", 1002: "1"}
    data = bytearray(rpm_header(texts))
    count, _ = struct.unpack_from(">II", data)
    store = bytes(data[8 + 16 * count :])
    lists = {1118: (8, b"/opt/\0/opt/rpm/\0", 2), 1117: (8, b"r0\0r1\0r2\0", 3),
             1116: (4, struct.pack(">III", 0, 1, 1), 3)}  # fmt: skip
    entries = bytes(data[8 : 8 + 16 * count])
    for tag, (kind, words, number) in lists.items():
        store += bytes(-len(store) % 4)
        entries += struct.pack(">IIII", tag, kind, len(store), number)
        store += words
    blob = struct.pack(">II", count + 3, len(store)) + entries + store
    site = "usr/lib/python3/site-packages"
    layer = tar_of(
        file("lib/apk/db/installed", b"P:musl\nV:1\nF:lib\nR:libc\nF:etc\nF:opt\nR:none\n"),
        file("lib/libc", b"1"), file("var/lib/dpkg/info/d:amd64.list", b"/.\n/usr\n/usr/dfile\n"),
        file("usr/dfile", b"2"), file("var/lib/rpm/Packages.db", ndb([blob])),
        *[file(f"opt/{name}", name.encode()) for name in ("r0", "rpm/r1", "rpm/r2")],
        file("app/node_modules/@s/n/package.json", b'{"name": "@s/n", "version": "1"}'),
        file("app/node_modules/@s/n/lib/index.js", b"3"),
        file(f"{site}/py-1.dist-info/METADATA", b"Name: py\nVersion: 1\n"),
        file(f"{site}/py-1.dist-info/RECORD", b'py/a.py,,1\n"py/b,c.py",,\n../../../bin/t,,'),
        file(f"{site}/py/a.py", b"4"), file(f"{site}/py/b,c.py", b"5"), file("usr/bin/t", b"6"),
        file("unowned", b"7"),
    )  # fmt: skip
    found = owners_of(anatomy_of(write_layout(tmp_path / "layout", [layer])))
    assert found.pop("package.json") == found.pop("index.js") == "@s/n"
    assert found == {"libc": "musl", "dfile": "d", "r0": "bash", "r1": "bash", "r2": "bash",
                     "a.py": "py", "b,c.py": "py", "t": "py"}  # fmt: skip


def test_lists_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "var/lib/dpkg/info/a.list"
    listed = [source(name, b"/one\n/two\n/three\n"), source(name.replace("a.l", "b.l"), b"/four\n")]
    assert len(list(owners.owned_files(listed))) == 4
    monkeypatch.setattr(owners, "MAX_OWNED", 2)
    assert len(list(owners.owned_files(listed))) == 2
    monkeypatch.setattr(owners, "_MAX_LIST", 10)
    assert [path for _, path in owners.owned_files(listed)] == [b"four"]
    monkeypatch.setattr(header, "_MAX_FILES", 1)
    blob = struct.pack(">II", 3, 20) + b"".join(
        struct.pack(">IIII", *entry)
        for entry in ((1116, 4, 0, 2), (1117, 8, 8, 2), (1118, 8, 12, 1))
    )  # fmt: skip
    blob += bytes(8) + b"a\0b\0/d/\0".ljust(12, b"\0")
    assert list(header.parse_header(blob).files()) == [b"d/a"]


def test_waste_equal_files_and_what_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_LISTED", 2)
    monkeypatch.setattr(module, "_MAX_NAMED", 2)
    same = [file(f"same{number}", noise(500, 1)) for number in range(4)]
    pairs = [file(f"pair{number}", noise(90, number // 2 + 7)) for number in range(6)]
    gone = [file(f"gone{number}", noise(100 + number, number + 20)) for number in range(3)]
    lower = [*same, *pairs, *gone, directory("d"), file("d/in", b"x" * 50), file("twice", b"1")]
    upper = [*[file(f".wh.{info.name}") for info, _ in gone], file("d/.wh..wh..opq"),
             file("twice", b"2"), file("twice", b"3"), hard_link("link", "same0")]  # fmt: skip
    layout = write_layout(tmp_path / "layout", [tar_of(*lower), tar_of(*upper)])
    found = anatomy_of(layout)
    waste = found["waste"]
    assert (waste["files"], waste["bytes"], waste["byLayer"]) == (5, 303 + 50 + 1, [354, 0])
    assert waste["listed"] == [["/gone2", 102, 0, 1], ["/gone1", 101, 0, 1]]
    duplicates = found["duplicates"]
    assert (duplicates["groups"], duplicates["bytes"]) == (4, 3 * 500 + 3 * 90)
    assert duplicates["listed"][0] == [500, 4, ["/link", "/same1"]]
    assert len(duplicates["listed"]) == 2
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
    with open_executable(tmp_path / "app") as executable:
        files = executable_files(executable)
        of_app = anatomy(files, bill_of_executable(executable, files, "app"))
    assert of_app["waste"] is None and of_app["duplicates"] == duplicates
    same_columns = ("names", "depths", "sizes", "layers", "owners")
    assert [of_app[name] for name in same_columns] == [found[name] for name in same_columns]
    # What contents are said to take is what the blocks of their layers take.
    contents = {inode.content for _, inode in files.inodes() if inode.content.size}
    layers = json.loads(dockerc("inspect", "--json", tmp_path / "app").stdout)["space"]["layers"]
    taken = sum(layer["stored"] for layer in layers)
    assert taken - len(contents) <= sum(map(files.stored, contents)) <= taken


def test_files_of_a_page_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = write_layout(tmp_path / "layout", [tar_of(*[file(str(n), b"") for n in range(6)])])
    monkeypatch.setattr(module, "MAX_FILES", 5)
    with pytest.raises(RefusedError, match="more than 5 files"):
        anatomy_of(layout)


def test_where_it_is_written(tmp_path: Path, hello: Path) -> None:
    output = tmp_path / "page.html"
    assert "choose one" in failed("inspect", "--html", output, "--json", hello, status=2)
    told = failed("inspect", "--html", tmp_path / "none" / "page.html", hello)
    assert "none" in told and str(hello) not in told
    dockerc("inspect", "--html", output, hello)
    first = output.read_bytes()
    dockerc("inspect", "--html", output, hello)
    assert output.read_bytes() == first and output.stat().st_mode & 0o777 == 0o644
