"""Databases of distributions' packages: dpkg, apk and RPM, each by its documented format."""

from __future__ import annotations

import random
import sqlite3
import subprocess
from pathlib import Path

import pytest
from packages_support import Tree, mutant, ndb, purls, rpm_header, source
from support import need

from toolkit.errors import DamagedError, RefusedError
from toolkit.packages import apk, distribution, dpkg, inventory
from toolkit.packages.rpm import bdb, header, sqlite

OS_RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
STATUS = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b2
Description: shell
 with a long text
 Package: not-this

Package: gone
Status: deinstall ok config-files
Version: 1

Package: held
Status: hold ok installed
Source: other (3:1.0)
Architecture: all
Version: 3:2.0~rc1
"""


def test_dpkg() -> None:
    copyright = b"Format: https://x\n\nFiles: *\nLicense: GPL-3+\n text\n\nLicense: Expat\n"
    old = b"see /usr/share/common-licenses/GPL-2.\n"
    files = {
        "etc/os-release": OS_RELEASE,
        "var/lib/dpkg/status": STATUS.encode(),
        "var/lib/dpkg/info/bash.list": b"/.\n",
        "var/lib/dpkg/info/held:all.list": b"/.\n",
        "usr/share/doc/bash/copyright": copyright,
        "usr/share/doc/held/copyright": old,
    }
    layers = {"var/lib/dpkg/status": 2, "var/lib/dpkg/info/bash.list": 0,
              "var/lib/dpkg/info/held:all.list": 1}  # fmt: skip
    found = Tree(files, layers).inventory()
    assert found.notes == [] and found.distribution.name == "Debian GNU/Linux 12 (bookworm)"
    bash, held = found.packages
    assert bash.purl == "pkg:deb/debian/bash@5.2.15-2%2Bb2?arch=amd64&distro=debian-12"
    assert (bash.layer, bash.licenses) == (0, ("Expat", "GPL-3+"))
    assert held.purl == (
        "pkg:deb/debian/held@3:2.0~rc1?arch=all&distro=debian-12&upstream=other%403:1.0"
    )
    assert (held.layer, held.licenses, held.version) == (1, ("GPL-2",), "3:2.0~rc1")
    assert held.paths == ("/var/lib/dpkg/status",)


def test_status_d_of_distroless_images() -> None:
    one = b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n"
    files = {"var/lib/dpkg/status.d/tzdata": one, "var/lib/dpkg/status.d/tzdata.md5sums": one}
    (package,) = Tree(files, dict.fromkeys(files, 3)).inventory().packages
    assert (package.purl, package.layer) == ("pkg:deb/debian/tzdata@2024a?arch=all", 3)


INSTALLED = """\
C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
L:MIT
o:musl
F:lib
R:ld-musl-x86_64.so.1
Z:Q1abc=

P:libcrypto3
V:3.1.4-r0
A:x86_64
L:Apache-2.0
o:openssl
F:etc
F:lib
R:libcrypto.so.3

"""


def test_apk() -> None:
    files = {
        "etc/os-release": b"ID=alpine\nVERSION_ID=3.19.1\n",
        "lib/apk/db/installed": INSTALLED.encode(),
        "lib/libcrypto.so.3": b"x",
    }
    layers = {"lib/apk/db/installed": 1, "lib/libcrypto.so.3": 0}
    crypto, musl = Tree(files, layers).inventory().packages
    assert crypto.purl == (
        "pkg:apk/alpine/libcrypto3@3.1.4-r0?arch=x86_64&distro=alpine-3.19.1&upstream=openssl"
    )
    assert (crypto.licenses, crypto.layer) == (("Apache-2.0",), 0)
    assert musl.purl == "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19.1"
    assert (musl.licenses, musl.layer) == (("MIT",), 1)


SPEC = """\
Name: {name}
Version: {version}
Release: 1
Epoch: {epoch}
Summary: text
License: GPLv2+
BuildArch: noarch
%description
text
%install
mkdir -p %{{buildroot}}/opt/{name}
for number in $(seq {epoch}00); do echo x >%{{buildroot}}/opt/{name}/file$number; done
echo x >%{{buildroot}}/opt/{name}/file
%files
/opt/{name}
"""
QUERY = "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{ARCH} %{LICENSE}\n"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rpmdb.sqlite with packages that rpmbuild made; the header of one takes more than a page."""
    need("rpmbuild")
    place = tmp_path_factory.mktemp("rpmbuild")
    for name, version, epoch in (("one", "1.0~rc1", 0), ("two", "2", 3), ("three", "3^git", 1)):
        (place / "spec").write_text(SPEC.format(name=name, version=version, epoch=epoch))
        command = ["rpmbuild", "-bb", "--define", f"_topdir {place}", place / "spec"]
        subprocess.run(command, check=True, capture_output=True)
    directory = place / "root/var/lib/rpm"
    directory.mkdir(parents=True)
    options = ["-i", "--justdb", "--nodeps", "--nosignature", *place.rglob("*.rpm")]
    subprocess.run([*rpm(place / "root", "sqlite"), *options], check=True, capture_output=True)
    return directory / "rpmdb.sqlite"


def rpm(root: Path, backend: str) -> list[str]:
    return ["rpm", f"--root={root}", "--dbpath=/var/lib/rpm", f"--define=_db_backend {backend}"]


def theirs(root: Path, backend: str) -> list[str]:
    """What rpm says is in a database."""
    command = [*rpm(root, backend), "-qa", "--qf", QUERY]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(listed.splitlines())


def ours(path: Path) -> list[str]:
    name = f"var/lib/rpm/{path.name}"
    files = {"etc/os-release": b"ID=fedora\nVERSION_ID=39\n", name: path.read_bytes(),
             "opt/one": b"x\n"}  # fmt: skip
    found = Tree(files, {name: 5, "opt/one": 4}).inventory()
    assert found.notes == []
    assert {each.name: each.layer for each in found.packages} == {"one": 4, "two": 5, "three": 5}
    assert all("distro=fedora-39" in package.purl for package in found.packages)
    return sorted(
        f"{p.name} {p.version} {p.purl.partition('arch=')[2].partition('&')[0]} {p.licenses[0]}"
        for p in found.packages
    )


def headers_of(database: Path) -> list[bytes]:
    return list(sqlite.headers(source("rpmdb.sqlite", database.read_bytes())))


def test_rpm_as_rpm_says(database: Path) -> None:
    told = theirs(database.parents[3], "sqlite")
    assert len(told) == 3 and "two 3:2-1 noarch GPLv2+" in told
    assert ours(database) == told


def test_rpm_in_berkeley_db_as_rpm_says(database: Path, tmp_path: Path) -> None:
    """The same headers in a hash that Berkeley DB's own tool makes."""
    need("db5.3_load")
    headers = headers_of(database)
    assert {len(data) > 4096 for data in headers} == {True, False}
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "db_pagesize=4096", "HEADER=END"]
    for number, data in enumerate([b"\x04\0\0\0", *headers]):
        lines += [f" {number.to_bytes(4, 'little').hex()}", f" {data.hex()}"]
    text = "\n".join([*lines, "DATA=END", ""])
    made = tmp_path / "var/lib/rpm/Packages"
    made.parent.mkdir(parents=True)
    subprocess.run(["db5.3_load", made], input=text.encode(), check=True)
    assert ours(made) == theirs(tmp_path, "bdb_ro") == theirs(database.parents[3], "sqlite")
    whole, chance, noted = made.read_bytes(), random.Random(1), 0
    for _ in range(200):
        files = {"var/lib/rpm/Packages": mutant(whole, chance)}
        noted += len(Tree(files).inventory().notes)
    assert noted > 50


def test_rpm_in_its_own_format(database: Path, tmp_path: Path) -> None:
    """No package of Debian's writes it: this one is by RPM's lib/backend/ndb/rpmpkg.c."""
    (tmp_path / "Packages.db").write_bytes(ndb(headers_of(database)))
    assert ours(tmp_path / "Packages.db") == theirs(database.parents[3], "sqlite")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW Packages AS WITH RECURSIVE c(hnum, blob) AS (VALUES (1, x'00') UNION ALL"
        " SELECT hnum + 1, blob FROM c) SELECT * FROM c",
        "CREATE TABLE Packages (hnum, blob AS (zeroblob(100000000)) STORED)",
        "CREATE TABLE Packages (hnum, blob); INSERT INTO Packages VALUES (1, 'text')",
        "CREATE TABLE Packages (hnum)",
        "CREATE TABLE Others (hnum, blob)",
    ],
)
def test_schemas_that_are_programs(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "rpmdb.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(statement)
    if "zeroblob" in statement:
        connection.execute("INSERT INTO Packages (hnum) VALUES (1)")
    connection.commit()
    connection.close()
    found = Tree({"var/lib/rpm/rpmdb.sqlite": path.read_bytes()}).inventory()
    assert found.packages == [] and len(found.notes) == 1, found
    assert ("it has no table Packages" in found.notes[0]) == (
        "CREATE TABLE Packages" not in statement
    )


def test_a_query_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rpmdb.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(b"",)] * 20_000)
    connection.commit()
    connection.close()
    monkeypatch.setattr(sqlite, "_MAX_CALLS", 2)
    with pytest.raises(DamagedError, match="interrupted"):
        list(sqlite.headers(source("rpmdb.sqlite", path.read_bytes())))
    monkeypatch.setattr(sqlite, "_MAX_DATABASE", 1000)
    with pytest.raises(RefusedError, match="at most 1000"):
        list(sqlite.headers(source("rpmdb.sqlite", path.read_bytes())))


def test_keys_are_no_packages() -> None:
    blobs = [
        rpm_header({1000: "gpg-pubkey", 1001: "1", 1002: "2"}),
        rpm_header({1000: "bash", 1001: "5", 1002: "1", 1022: "x86_64", 1014: "GPL"}, epoch=0),
    ]
    files = {"usr/lib/sysimage/rpm/Packages.db": ndb(blobs)}
    assert purls(files) == ["pkg:rpm/bash@5-1?arch=x86_64&epoch=0"]


def test_databases_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkg, "_MAX_STATUS", 1000)
    monkeypatch.setattr(apk, "_MAX_INSTALLED", 1000)
    monkeypatch.setattr(header, "_MAX_ENTRIES", 3)
    monkeypatch.setattr(bdb, "_MAX_PAGES", 1)
    long = b"Package: a\nVersion: 1\n\n" * 50
    files = {
        "var/lib/dpkg/status": long,
        "lib/apk/db/installed": long,
        "var/lib/rpm/Packages.db": ndb([rpm_header(dict.fromkeys(range(1000, 1004), "x"))]),
    }
    found = Tree(files).inventory()
    assert found.packages == [] and len(found.notes) == 3
    assert "/var/lib/dpkg/status was not read to its end" in found.notes[0]


def test_packages_paths_and_notes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "MAX_PACKAGES", 3)
    monkeypatch.setattr(inventory, "MAX_PATHS", 2)
    monkeypatch.setattr(inventory, "MAX_NOTES", 1)
    status = "".join(f"Package: p{number}\nVersion: 1\n\n" for number in range(9)).encode()
    found = Tree({"var/lib/dpkg/status": status}).inventory()
    assert len(found.packages) == 3 and "more than 3 packages" in found.notes[0]
    same = b"Metadata-Version: 2.1\nName: a\nVersion: 1\n"
    found = Tree({f"{n}/a.dist-info/METADATA": same for n in range(5)}).inventory()
    (package,) = found.packages
    assert package.paths == ("/0/a.dist-info/METADATA", "/1/a.dist-info/METADATA")
    wrong = {f"{n}/node_modules/a/package.json": b"{" for n in range(5)}
    assert Tree(wrong).inventory().notes[1:] == ["4 more files were not read to their end"]


def test_licenses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "".join(f"License: L-{number:03}\n" for number in range(200))
    copyright = f"Format: x\n{names}License: {'x' * 900}\n".encode()
    files = {
        "etc/os-release": OS_RELEASE,
        "var/lib/dpkg/status": b"Package: a\nVersion: 1\n",
        "usr/share/doc/a/copyright": copyright,
    }
    (package,) = Tree(files).inventory().packages
    assert len(package.licenses) == 50 and "distro=debian-12" in package.purl
    short = {**files, "usr/share/doc/a/copyright": b"Format: x\nLicense: " + b"x" * 900}
    (package,) = Tree(short).inventory().packages
    assert package.licenses == ("x" * 500,)
    monkeypatch.setattr(dpkg, "_MAX_COPYRIGHT", 1000)
    monkeypatch.setattr(distribution, "_MAX_OS_RELEASE", 10)
    (package,) = Tree(files).inventory().packages
    assert package.licenses == () and package.purl == "pkg:deb/debian/a@1"


@pytest.mark.parametrize("text", ["Package: a\tb\nVersion: 1\n", f"Package: {'a' * 501}\n"])
def test_names_that_are_none(text: str) -> None:
    found = Tree({"var/lib/dpkg/status": text.encode()}).inventory()
    assert found.packages == [] and "a name or version in it is none" in found.notes[0]


def test_what_is_at_another_place_is_no_database() -> None:
    for path in ("root/var/lib/dpkg/status", "var/lib/dpkg/status-old", "apk/db/installed"):
        assert purls({path: STATUS.encode()}) == []
