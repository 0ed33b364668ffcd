"""inspect: every field of docs/inspect.md, templates, and what it may cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from layout import directory, file, hard_link, noise, tar_of, write_layout
from support import TESTS, dockerc, failed, need

from toolkit.executable.elf import ElfFacts, ElfProbe
from toolkit.executable.executable import FooterFields, open_executable, write_executable
from toolkit.executable.stub import read_stub
from toolkit.layers.data_map import DataMap
from toolkit.layers.pack import Pack, pack_file
from toolkit.services.inspect import inspection
from toolkit.services.sign import sign
from toolkit.squashfs.compress import Compressor
from toolkit.squashfs.structs import DATA_UNCOMPRESSED, InodeType
from toolkit.squashfs.tree import Content, Inode, new_directory
from toolkit.squashfs.write.image import write_squashfs

BLOCK = 1 << 17
DOCUMENT = TESTS.parent / "docs" / "inspect.md"
SETTINGS = {
    "Entrypoint": ["/bin/e"], "Cmd": ["a"], "Env": ["A=1"], "WorkingDir": "/w", "User": "5:6",
    "Labels": {"org.example.l": "v"}, "Volumes": {"/data": {}},
}  # fmt: skip


@pytest.fixture(scope="module")
def app(place: Path) -> Path:
    layers = [
        tar_of(directory("usr"), file("usr/large", bytes(range(256)) * 4096), file("usr/gone")),
        tar_of(
            directory("etc"),
            hard_link("usr/zlink", "usr/large"),
            file("etc/b", b"b" * 2000),
            file("usr/.wh.gone"),
        ),
    ]
    layout = write_layout(place / "inspected.layout", layers, SETTINGS)
    made = place / "inspected"
    profile = place / "inspected.profile"
    lines = "# dockerc profile 1\nstart /usr/large\nname /usr\nlist /etc\nread 0+4097 /etc/b\n"
    profile.write_text(lines)
    dockerc("build", f"oci:{layout}", "-o", made, "-v", "./here:/there:ro", "--profile", profile)
    sign(made, made, Ed25519PrivateKey.generate())
    return made


@pytest.fixture(scope="module")
def told(app: Path) -> dict[str, Any]:
    return json.loads(dockerc("inspect", "--json", app).stdout)  # type: ignore[no-any-return]


def test_the_fields_are_those_of_the_document(told: dict[str, Any]) -> None:
    """The schema is a promise: what is printed and what is documented are the same names."""
    document = DOCUMENT.read_text().partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([a-z_0-9.\[\]]+)` \|", document, re.MULTILINE))
    printed = set()

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict) and value and name not in ("config", "image.labels"):
            for key, member in value.items():
                collect(member, f"{name}.{key}" if name else key)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            collect(value[0], f"{name}[]")
        else:
            printed.add(name)

    collect(told, "")
    assert printed == documented


def test_footer_stub_and_squashfs(app: Path, told: dict[str, Any]) -> None:
    data = app.read_bytes()
    offset = told["footer"]["offset"]
    assert data[offset : offset + 4] == b"hsqs" and told["stub"]["size"] == offset
    assert told["footer"] == {
        "generation": 2, "size": 16, "offset": offset, "require_mapped_uids": True, "padding": 4144
    }  # fmt: skip
    stub = {"architecture": "x86_64", "linkage": "static", "current": True}
    assert {key: told["stub"][key] for key in stub} == stub
    assert told["squashfs"]["compression"] == "zstd"
    assert told["squashfs"]["bytes_used"] == len(data) - offset - 4096 - 48 - 16


def test_image(told: dict[str, Any]) -> None:
    image = told["image"]
    assert image["reference"].startswith("oci:") and image["digest"].startswith("sha256:")
    assert (image["os"], image["architecture"]) == ("linux", "amd64")
    assert (image["entrypoint"], image["cmd"]) == (["/bin/e"], ["a"])
    assert image["args"] == ["/bin/e", "a"] and image["workdir"] == "/w"
    assert image["user"] == {"uid": 5, "gid": 6, "additional_gids": []}
    assert image["labels"] == {"org.example.l": "v"}
    assert (image["volumes"], image["baked_volumes"]) == (["/data"], ["./here:/there:ro"])
    assert "A=1" in image["env"] and image["built_by"] == told["stub"]["version"]


def test_what_starts_it_is_prepared_for(told: dict[str, Any]) -> None:
    start = {"program": "/usr/large", "names": 2, "files": 1, "bytes": 4096}
    assert told["profile"]["starts"] == [start]
    assert re.fullmatch("sha256:[0-9a-f]{64}", told["profile"]["digest"])


def test_where_the_space_goes(told: dict[str, Any]) -> None:
    space = told["space"]
    assert [(layer["files"], layer["bytes"]) for layer in space["layers"]] == [
        (1, 256 * 4096), (1, 2000)
    ]  # fmt: skip
    shares = {share["path"]: (share["files"], share["size"]) for share in space["directories"]}
    assert shares["/usr"] == (1, 256 * 4096) and shares["/etc"] == (1, 2000)
    assert [share["path"] for share in space["largest"][:2]] == [
        "/usr/large",
        "config.json",
    ]
    assert 0 < space["stored"] < 20_000 < space["size"]
    table = dockerc("inspect", Path(told["image"]["reference"][4:]).parent / "inspected").stdout
    assert "/usr/large" in table and "org.example.l" in table


def test_lief_says_of_our_stubs_what_we_say(app: Path) -> None:
    for machine in ("x86_64", "aarch64"):
        facts = ElfProbe(read_stub(machine)).result()
        assert facts == ElfFacts(machine, is_static=True, is_executable=True)
    program = ElfProbe(Path(sys.executable).read_bytes()).result()
    assert program is not None and program.is_executable


def test_config_is_verbatim(app: Path, told: dict[str, Any]) -> None:
    printed = dockerc("inspect", "--config", app).stdout
    assert json.loads(printed) == told["config"]
    assert printed.startswith('{\n "ociVersion"')


def test_templates(app: Path, told: dict[str, Any]) -> None:
    def formatted(template: str) -> str:
        return str(dockerc("inspect", "--format", template, app).stdout).rstrip("\n")

    assert formatted("{{.Footer.Offset}}") == str(told["footer"]["offset"])
    assert formatted("{{.Footer.RequireMappedUids}} {{ .Stub.Architecture }}!") == "true x86_64!"
    assert formatted("{{json .Image.Cmd}}") == '["a"]'
    assert formatted('{{index .Image.Labels "org.example.l"}}') == "v"
    assert json.loads(formatted("{{json .}}")) == told
    for wrong in ("{{.Nope}}", "{{.Footer.Nope}}", "{{.Footer"):
        assert "--format" in failed("inspect", "-f", wrong, app, status=2)
    assert "choose one" in failed("inspect", "--json", "--config", app, status=2)


def lines_of(name: str | Path, columns: int = 80) -> list[str]:
    """What is printed for a person; nothing is wider than so many columns."""
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    lines = dockerc("inspect", name, env=environment).stdout.splitlines()
    assert max(map(len, lines)) <= max(columns, 60), max(lines, key=len)
    return lines  # type: ignore[no-any-return]


def test_the_most_important_comes_first_and_fits(app: Path, told: dict[str, Any]) -> None:
    lines = lines_of(app)
    assert [line.split()[0] for line in lines[:5]] == [
        "digest", "image", "command", "size", "platform"
    ]  # fmt: skip
    assert lines[0] == f"digest   {told['image']['digest']}"
    assert "linux/amd64" in "\n".join(lines[:8]) and "command  /bin/e a" in lines
    image = lines_of(told["image"]["reference"])
    assert image[0] == lines[0] and "layer         compressed  created by" in image
    for columns in (1, 61, 300):
        lines_of(app, columns)


def test_the_tree(app: Path, told: dict[str, Any]) -> None:
    """Each directory counts what is below it; `stored` is compressed, everywhere."""
    tree = told["space"]["tree"]
    assert [share["path"] for share in tree[:1]] == ["/usr"]
    assert all(share["stored"] > told["space"]["stored"] // 100 for share in tree)
    lines = lines_of(app)
    at = next(number for number, line in enumerate(lines) if line.endswith("directory"))
    share = tree[0]
    row = lines[at + 1].split()
    assert row[:2] == ["1.0", "MB"] and row[-1] == "/usr" and row[-2] == "1"
    part = share["stored"] / told["space"]["stored"]
    assert f"{100 * part:.0f}%" in row and "█" * round(10 * part) in lines[at + 1]
    assert "#" in dockerc(
        "inspect", app, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    ).stdout  # fmt: skip


def test_deeper_levels_count_once(tmp_path: Path) -> None:
    files = [file(f"a/{name}/c/d/f", noise(9000, number)) for number, name in enumerate("xyz")]
    layout = write_layout(tmp_path / "layout", [tar_of(*files, file("b/f", noise(5000, 9)))])
    dockerc("build", f"oci:{layout}", "-o", tmp_path / "app")
    space = json.loads(dockerc("inspect", "--json", tmp_path / "app").stdout)["space"]
    found = [(share["path"], share["files"], share["size"]) for share in space["tree"]]
    inner = [(f"/a/{name}{more}", 1, 9000) for name in "xyz" for more in ("", "/c")]
    assert found == [("/a", 3, 27000), *inner, ("/b", 1, 5000)]
    assert [(share["path"], share["size"]) for share in space["directories"][:2]] == [
        ("/a", 27000), ("/b", 5000)
    ]  # fmt: skip


def test_formats_for_programs(app: Path, told: dict[str, Any]) -> None:
    assert json.loads(dockerc("inspect", "--format", "json", app).stdout) == told
    image = told["image"]["reference"]
    as_json = dockerc("inspect", "--json", image).stdout
    assert dockerc("inspect", "-f", "json", image).stdout == as_json
    for name in (app, image):
        found = dockerc("inspect", "-f", "{{json .Config.Cmd}} {{.Config.WorkingDir}}", name)
        assert found.stdout == '["a"] /w\n'


def executable(place: Path, megabytes: int, files: int) -> Path:
    """Of a file of so many megabytes, which are a hole on the disk, and so many small files."""
    root, top = new_directory(), new_directory()
    assert root.children is not None and top.children is not None
    with (
        (place / "pack").open("w+b") as scratch,
        (place / "data").open("w+b") as data,
        Compressor(3) as compressor,
    ):
        pack, config = pack_file(b'{"process": {}}', 0, scratch, compressor, BLOCK)
        root.children[b"rootfs"] = top
        root.children[b"config.json"] = Inode(InodeType.FILE, 0o644, content=config)
        count = megabytes * 1_000_000 // BLOCK
        data.truncate(count * BLOCK)
        stored = Pack(data, BLOCK, sizes=array("I", [BLOCK | DATA_UNCOMPRESSED]) * count)
        large = Content(count * BLOCK, b"large", 1, 0, count, -1, 0)
        top.children[b"large"] = Inode(InodeType.FILE, 0o644, content=large)
        for number in range(files // 100):
            below = top.children[b"d%d" % number] = new_directory()
            assert below.children is not None
            for name in range(100):
                below.children[b"f%d" % name] = Inode(InodeType.FILE, 0o644, content=config)

        def payload(target: Any) -> FooterFields:
            data = DataMap([pack, stored], BLOCK)
            write_squashfs(target, root, data, block_size=BLOCK, level=3, mkfs_time=0)
            return FooterFields(False, None)

        write_executable(place / "app", read_stub("x86_64"), payload)
    return place / "app"


COUNTING = """
import re, sys
from toolkit.cli import main
lines = 0
def trace(frame, event, argument):
    global lines
    lines += event == "line"
    return trace if "/toolkit/" in frame.f_code.co_filename else None
def count(file, name):
    return int(re.search(name + r":\\s+(\\d+)", open(f"/proc/self/{file}").read())[1])
def inspect(tracer):
    before = count("io", "rchar")
    sys.settrace(tracer)
    try: main()
    except SystemExit: pass
    sys.settrace(None)
    return count("io", "rchar") - before
traced, app = sys.argv[1:]
sys.argv = ["dockerc", "inspect", "-f", "{{.Space.Files}} {{.Space.Size}}", app]
inspect(None)  # imports
# getrusage(2) would count what the tests' own process was before this program began.
print(inspect(trace if traced == "yes" else None), lines, count("status", "VmHWM"))
"""
"""Prints the bytes read by `inspect`, the lines of ours that it ran, and the kilobytes it had."""


def cost(app: Path, traced: bool) -> tuple[list[int], list[int]]:
    """What `inspect` says of files and size, and what that cost (see COUNTING)."""
    command = [sys.executable, "-c", COUNTING, "yes" if traced else "no", app]
    done = subprocess.run(command, capture_output=True, check=True)
    told, costs = (list(map(int, line.split())) for line in done.stdout.splitlines()[-2:])
    return told, costs


@pytest.mark.parametrize(
    ("megabytes", "files"),
    [(1, 0), (200, 0), (2000, 0), pytest.param(1, 200_000, marks=pytest.mark.slow)],
    ids=str,
)
def test_what_it_costs(tmp_path: Path, megabytes: int, files: int) -> None:
    """80 MB is the promise, and that the data is not read."""
    app = executable(tmp_path, megabytes, files)
    assert app.stat().st_size > 0.9e6 * megabytes
    told, (read, _, memory) = cost(app, traced=False)
    assert told[0] == files + 2 and told[1] > 0.9e6 * megabytes
    # Its stub is compared with ours.
    stubs = 2 * len(read_stub("x86_64"))
    assert read < stubs + 1_150_000 and memory < 80_000


def test_what_a_file_and_a_block_cost(tmp_path: Path) -> None:
    """Lines that are run: the processor's time would be that of others at work here, too."""
    lines = {}
    for megabytes, files in ((1, 0), (501, 0), (1, 10_000)):
        (tmp_path / str(megabytes + files)).mkdir()
        app = executable(tmp_path / str(megabytes + files), megabytes, files)
        lines[megabytes, files] = cost(app, traced=True)[1][1]
    assert lines[1, 0] < 5_000
    assert lines[1, 10_000] - lines[1, 0] < 60 * 10_000
    assert lines[501, 0] - lines[1, 0] < 5 * 500e6 / BLOCK


def test_lief_is_given_the_stub_alone(
    tmp_path: Path, hello: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub that is not ours is looked at, and nothing behind it."""
    given = []

    class Probe(ElfProbe):
        def __init__(self, data: bytes) -> None:
            given.append(data)
            super().__init__(data)

    monkeypatch.setattr("toolkit.services.inspect.ElfProbe", Probe)
    data = bytearray(hello.read_bytes())
    data[4095] ^= 1
    (tmp_path / "app").write_bytes(data)
    for app, looked_at in ((tmp_path / "app", True), (hello, False)):
        with open_executable(app) as opened:
            offset = opened.footer.offset
            stub = inspection(opened)["stub"]
        assert (stub["linkage"], stub["current"]) == ("static", not looked_at)
        assert given.pop() == (bytes(data[:offset]) if looked_at else b"")


def test_only_a_stub_that_is_not_ours_needs_lief(tmp_path: Path, hello: Path) -> None:
    data = bytearray(hello.read_bytes())
    data[4095] ^= 1
    (tmp_path / "old").write_bytes(data)
    packages = tmp_path / "packages"
    packages.mkdir()
    import lief

    for package in Path(lief.__file__).parents[1].iterdir():
        if not package.name.startswith("lief"):
            (packages / package.name).symlink_to(package)
    path = [str(TESTS.parent), str(packages), *(p for p in sys.path if not p.endswith("-packages"))]
    code = f"import sys; sys.path[:] = {path}; from toolkit.cli import main; main()"

    def without_lief(*words: str | Path) -> Any:
        command = [sys.executable, "-I", "-S", "-c", code, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True)

    done = without_lief("inspect", "--json", hello)
    assert (done.returncode, done.stderr) == (0, "")
    done = without_lief("inspect", "--json", tmp_path / "old")
    assert done.returncode == 0 and "lief is not installed" in done.stderr
    assert json.loads(done.stdout)["stub"]["architecture"]
    done = without_lief("replace", tmp_path / "old", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    done = without_lief("replace", "--runtime", sys.executable, hello, tmp_path / "new")
    assert done.returncode == 1 and "lief is not installed" in done.stderr


def test_the_superblock_is_told_as_others_read_it(app: Path, told: dict[str, Any]) -> None:
    need("unsquashfs")
    command = ["unsquashfs", "-s", "-offset", str(told["footer"]["offset"]), app]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    squashfs = told["squashfs"]
    assert f"Block size {squashfs['block_size']}\n" in theirs
    assert f"Number of inodes {squashfs['inodes']}\n" in theirs
    assert f"Number of fragments {squashfs['fragments']}\n" in theirs
    assert f"Compression {squashfs['compression']}\n" in theirs
    assert f"Filesystem size {squashfs['bytes_used']} bytes" in theirs
    shown = dockerc("inspect", app).stdout
    assert time.strftime("%F %T UTC", time.gmtime(squashfs["created"])) in shown
