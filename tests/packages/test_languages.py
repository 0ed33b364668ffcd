"""What languages install: Python, npm, Java, and programs of Go and Rust."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
from packages_support import Tree, archive, elf, go_info, purls, source
from support import need

from toolkit.packages import go, java, npm, python, rust
from toolkit.packages import source as sources

METADATA = b"""\
Metadata-Version: 2.1
Name: Ruamel.YAML_x
Version: 0.18
License: MIT license
Classifier: License :: OSI Approved :: MIT License

Name: described
"""


@pytest.mark.parametrize(
    "path",
    [
        "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
        "usr/lib/python3/dist-packages/a-1.egg-info/PKG-INFO",
        "usr/lib/python3/dist-packages/a-1.egg-info",
        "opt/a.egg/EGG-INFO/PKG-INFO",
    ],
)
def test_python(path: str) -> None:
    (package,) = Tree({path: METADATA}).inventory().packages
    assert package.purl == "pkg:pypi/ruamel-yaml-x@0.18"
    assert (package.name, package.licenses) == ("Ruamel.YAML_x", ("MIT license",))
    assert purls({path + "x": METADATA, "a/METADATA": METADATA}) == []


def test_licences_of_python() -> None:
    def licenses(text: str) -> tuple[str, ...]:
        data = f"Name: a\nVersion: 1\n{text}\n".encode()
        (package,) = Tree({"a.dist-info/METADATA": data}).inventory().packages
        return package.licenses

    classifier = "Classifier: License :: OSI Approved :: BSD License\nClassifier: Topic :: X"
    assert licenses(f"License-Expression: MIT OR ISC\nLicense: x\n{classifier}") == ("MIT OR ISC",)
    assert licenses(f"License: UNKNOWN\n{classifier}") == ("BSD License",)
    assert licenses(f"License: the whole\n  text\n{classifier}") == ("BSD License",)
    assert licenses("Classifier: License :: OSI Approved") == ()


def test_npm() -> None:
    def told(**members: object) -> bytes:
        return json.dumps(members).encode()

    files = {
        "app/node_modules/a/package.json": told(name="a", version="1.0", license="ISC"),
        "app/node_modules/a/node_modules/@s/b/package.json": told(
            name="@s/b", version="2.0", licenses=[{"type": "MIT"}, {"type": "X11"}]
        ),
        "usr/share/nodejs/c/package.json": told(name="c", version="3", license={"type": "MIT"}),
        "app/node_modules/a/lib/package.json": told(name="inner", version="1"),
        "app/package.json": told(name="app", version="1"),
        "app/node_modules/d/package.json": told(type="module"),
    }
    found = Tree(files).inventory()
    assert found.notes == []
    assert [(package.purl, package.licenses) for package in found.packages] == [
        ("pkg:npm/%40s/b@2.0", ("MIT", "X11")),
        ("pkg:npm/a@1.0", ("ISC",)),
        ("pkg:npm/app@1", ()),
        ("pkg:npm/c@3", ("MIT",)),
    ]


MODULES = """\
path\texample.org/cmd/tool
mod\texample.org/tool\t(devel)\t
dep\tgithub.com/a/b/v2\tv2.1.0\th1:x=
dep\tgithub.com/old/c\tv1.0.0
=>\tgithub.com/new/c\tv1.0.1\th1:y=
build\t-compiler=gc
"""
OF_MODULES = [
    "pkg:golang/github.com/a/b/v2@v2.1.0",
    "pkg:golang/github.com/new/c@v1.0.1",
    "pkg:golang/stdlib@1.22.3",
    "pkg:golang/example.org/tool",
]


def test_go() -> None:
    program = elf({b".go.buildinfo": go_info("go1.22.3 X:loopvar", MODULES)})
    assert sorted(purls({"usr/bin/tool": program})) == sorted(OF_MODULES)
    assert purls({"usr/lib/tool.so.1": program}) == []
    without = elf({b".go.buildinfo": go_info("go1.19", "path\te.org/x/cmd/y\nbuild\tA=b\n")})
    assert purls({"bin/y": without}) == ["pkg:golang/e.org/x/cmd/y", "pkg:golang/stdlib@1.19"]
    of_a_file = elf({b".go.buildinfo": go_info("go1.19", "path\tcommand-line-arguments\n")})
    assert purls({"bin/y": of_a_file}) == ["pkg:golang/stdlib@1.19"]


@pytest.mark.parametrize(("order", "wide"), [("<", True), (">", True), ("<", False), (">", False)])
def test_go_before_1_18(order: str, wide: bool) -> None:
    """Two pointers to headers of strings, each of which is a pointer and a length."""
    name = "little" if order == "<" else "big"
    word, text = 8 if wide else 4, b"0" * 16 + MODULES.encode() + b"1" * 16
    version = b"go1.22.3"
    at = 0x1000 + 64  # where .data begins

    def number(value: int) -> bytes:
        return value.to_bytes(word, name)  # type: ignore[arg-type]

    strings = at + 4 * word
    data = number(strings) + number(len(version))
    data += number(strings + len(version)) + number(len(text)) + version + text
    info = b"\xff Go buildinf:" + bytes([word, order == ">"]) + number(at) + number(at + 2 * word)
    program = elf({b".data": data, b".go.buildinfo": info.ljust(32, b"\0")}, order, wide)
    assert sorted(purls({"usr/bin/tool": program})) == sorted(OF_MODULES)


@pytest.mark.parametrize("name", ["skopeo", "podman"])
def test_go_of_debian(name: str) -> None:
    """The lines stand in the file as they are, so that a look at all of it judges."""
    need(name)
    data = Path(str(shutil.which(name))).resolve().read_bytes()
    theirs = set(re.findall(rb"\n(?:mod|dep)\t([^\t\n]+)\t([^\t\n]*)", data))
    # Debian builds without modules: there is only the path of the program.
    theirs = theirs or {(path, b"") for path in re.findall(rb"path\t([^\t\n]+)\nbuild\t", data)}
    assert theirs
    (release,) = set(re.findall(rb"\xff Go buildinf:.{18}\x08go([\d.]+)", data, re.DOTALL))
    found = {(f"{p.name}", p.version) for p in Tree({"bin/x": data}).inventory().packages}
    assert ("stdlib", release.decode()) in found
    ours = {(path.decode(), version.decode().replace("(devel)", "")) for path, version in theirs}
    assert found - {("stdlib", release.decode())} == ours


def test_rust(tmp_path: Path) -> None:
    """objcopy puts the section into a program as cargo-auditable's linker does."""
    need("objcopy")
    crates = {"packages": [
        {"name": "adler", "version": "1.0.2", "source": "registry"},
        {"name": "cc", "version": "1.0", "source": "crates.io", "kind": "build"},
        {"name": "hello", "version": "0.1.0", "source": "local", "root": True},
        {"name": "miniz", "version": "0.7", "source": "crates.io", "dependencies": [0]},
    ]}  # fmt: skip
    (tmp_path / "data").write_bytes(zlib.compress(json.dumps(crates).encode()))
    program = tmp_path / "program"
    command = ["objcopy", f"--add-section=.dep-v0={tmp_path}/data", "/bin/sh", program]
    subprocess.run(command, check=True)
    assert purls({"usr/bin/hello": program.read_bytes()}) == [
        "pkg:cargo/adler@1.0.2?source=registry",
        "pkg:cargo/hello@0.1.0",
        "pkg:cargo/miniz@0.7",
    ]


def test_java() -> None:
    pom = b"#made\r\nversion=1.2\r\ngroupId=org.example\r\nartifactId=lib\r\n"
    manifest = (
        b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.long.na\r\n me;singleton:=true\r\n"
        b"Bundle-Version: 4.5.6\r\nBundle-License: https://example.org\r\n\r\nName: x\r\n"
    )
    inner = archive({"META-INF/maven/org.example/lib/pom.properties": pom})
    files = {
        "opt/lib.jar": inner,
        "opt/bundle.jar": archive({"META-INF/MANIFEST.MF": manifest}),
        "opt/commons-io-2.11.0.jar": archive({"A.class": b""}),
        "opt/unknown.jar": archive({"A.class": b""}),
        "opt/app.WAR": archive({"WEB-INF/lib/inner.jar": inner}),
    }
    found = Tree(files).inventory()
    assert found.notes == []
    assert [(p.purl, p.licenses) for p in found.packages] == [
        ("pkg:maven/app/app", ()),
        ("pkg:maven/commons-io/commons-io@2.11.0", ()),
        ("pkg:maven/org.example/lib@1.2", ()),
        ("pkg:maven/org.long.name/bundle@4.5.6", ("https://example.org",)),
        ("pkg:maven/unknown/unknown", ()),
    ]
    assert found.packages[2].paths == ("/opt/lib.jar", "/opt/app.WAR!/WEB-INF/lib/inner.jar")


@pytest.mark.parametrize(
    ("name", "fields", "group"),
    [
        (
            "commons-io-2.11.0",
            {"Bundle-SymbolicName": "org.apache.commons.io"},
            "org.apache.commons",
        ),
        ("objenesis-3.4", {"Bundle-SymbolicName": "org.objenesis"}, "org.objenesis"),
        (
            "protobuf-java-4.29",
            {"Bundle-SymbolicName": "com.google.protobuf"},
            "com.google.protobuf",
        ),
        ("x-1", {"Bundle-SymbolicName": "x", "Automatic-Module-Name": "org.y.x"}, "org.y"),
        ("x-a-b-1", {"Automatic-Module-Name": "io.x.a.b"}, "io.x"),
        ("x-1", {"Implementation-Vendor-Id": "com.v", "Bundle-SymbolicName": "org.y.x"}, "com.v"),
        ("x-1", {}, "x"),
    ],
)
def test_groups_of_java(name: str, fields: dict[str, str], group: str) -> None:
    lines = "".join(f"{key}: {value}\n" for key, value in fields.items())
    data = archive({"META-INF/MANIFEST.MF": lines.encode()})
    named, _, version = name.rpartition("-")
    assert purls({f"opt/{name}.jar": data}) == [f"pkg:maven/{group}/{named}@{version}"]


def test_java_that_others_were_copied_into() -> None:
    """It is one more package, unless what Maven says of one of them fits the archive."""

    def pom(group: str, name: str, version: str) -> dict[str, bytes]:
        text = f"groupId={group}\nartifactId={name}\nversion={version}\n".encode()
        return {f"META-INF/maven/{group}/{name}/pom.properties": text}

    others = pom("g", "a", "1") | pom("g", "b", "2.0")
    listed = ["pkg:maven/g/a@1", "pkg:maven/g/b@2.0"]
    assert purls({"c-3.jar": archive(others)}) == ["pkg:maven/c/c@3", *listed]
    # Named otherwise, without a version of its own, or as it is.
    for name in ("other-2.0", "other", "b-3", "a_1"):
        assert purls({f"{name}.jar": archive(others)}) == listed, name
    manifest = {"META-INF/MANIFEST.MF": b"Implementation-Version: 2.0\n"}
    assert purls({"other.jar": archive(others | manifest)}) == listed


def noted(files: dict[str, bytes]) -> str:
    """The one note that these files lead to."""
    (note,) = Tree(files).inventory().notes
    return note


def test_archives_that_are_bombs(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = archive({"META-INF/MANIFEST.MF": bytes(2 << 20)})
    assert "at most 1048576 are read" in noted({"a-1.jar": zeros})
    monkeypatch.setattr(java, "_MAX_INNER", 1000)
    assert "at most 1000 are read" in noted({"a.jar": archive({"b.jar": bytes(2000)})})
    monkeypatch.setattr(java, "_MAX_INNER_IN_ALL", 900)
    inner = archive({"A.class": b""})
    many = archive({f"{number}.jar": inner for number in range(9)})
    assert "bytes; at most" in noted({"a.jar": many})
    monkeypatch.setattr(java, "_MAX_MEMBERS", 3)
    assert "more than 3 members" in noted({"a.jar": many})


def test_archives_in_one_another() -> None:
    """Beyond the bound they are not looked into."""
    data = archive({"META-INF/maven/g/a/pom.properties": b"artifactId=deep\nversion=1\n"})
    for depth in range(6):
        found = purls({"a.jar": data})
        assert ("pkg:maven/deep@1" in found) == (depth <= java._MAX_DEPTH), depth
        data = archive({"inner.jar": data})


def test_a_directory_of_an_archive_that_is_too_large() -> None:
    """zipfile would read what the end of the archive claims."""
    data = archive({f"{number}.class": b"" for number in range(100)})
    whole = source("a.jar", data)
    assert sources.LARGEST_PIECE == 8 << 20
    end = data.rfind(b"PK\5\6")
    large = bytes(9 << 20)
    forged = bytearray(data[:end] + large + data[end:])
    forged[-10:-6] = (len(large)).to_bytes(4, "little")
    assert "at most 8388608 are read" in noted({"a.jar": bytes(forged)})
    assert whole.size == len(data)


def test_damage_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    good = go_info("go1.22", MODULES)
    assert "points out" in noted(
        {"a": elf({b".go.buildinfo": b"\xff Go buildinf:\x08\0".ljust(40)})}
    )
    assert "is damaged" in noted({"a": elf({b".go.buildinfo": b"\0" * 40})})
    assert "is cut short" in noted({"a": elf({b".go.buildinfo": good[:60]})})
    assert "is damaged" in noted({"a": elf({b".dep-v0": b"not zlib"})})
    assert "cut short" in noted({"a": elf({b".dep-v0": zlib.compress(b"{}")[:-1]})})
    assert "not valid JSON" in noted({"a": elf({b".dep-v0": zlib.compress(b"{")})})
    monkeypatch.setattr(rust, "_MAX_DATA", 1000)
    assert "over 1000" in noted({"a": elf({b".dep-v0": zlib.compress(bytes(2000))})})
    monkeypatch.setattr(go, "_MAX_INFO", 60)
    assert "cut short" in noted({"a": elf({b".go.buildinfo": good})})
    monkeypatch.setattr(npm, "_MAX_PACKAGE_JSON", 10)
    assert "at most 10" in noted({"node_modules/a/package.json": b'{"name": "a"}'})
    monkeypatch.setattr(python, "_MAX_HEADERS", 10)
    assert purls({"a.dist-info/METADATA": METADATA}) == []
    program = bytearray(elf({}))
    program[60:62] = b"\xff\xff"
    assert "section headers are malformed" in noted({"a": bytes(program)})
